/*
 * The rotation of keys in a two-slot mesh, for spin. What is checked in every state: a packet that any node sends to any other,
 * through the slot that it has chosen, is read by the receiver. And: no state is an end before every rotation is over, so
 * none hangs while the peers live.
 *
 * N nodes rotate ROUNDS times each, starting with any slot. Directory messages come late, are lost (a later one tells more)
 * and overtake each other (an older one is passed over): a reader goes from the version it has seen to any newer one, at any
 * time. Agents crash at any step (CRASHES in all) and know afterwards only the kernel and the directory. Sessions run out
 * where the keys no longer fit, but not while an end that could leave for a fresher slot had no time to (150 s against 180 s).
 *
 * Abstracted: time, MTU, addresses; handshakes are one step, and a packet without a session waits for it (the kernel stages
 * 128). A crashed agent is back at once: no state depends on how long it was away, apart from the wait of others for it.
 *
 * -DFAULT_NO_WAIT    the second slot is rotated although peers have not proven the first
 * -DFAULT_NO_DRAIN   the key is changed before peers said that they left the slot
 * -DFAULT_NO_TURN    a drain begins although a peer is known to drain the other slot
 * -DFAULT_STALE_LIST an agent that starts again acts on an old list of the directory
 * -DFAULT_NO_AGE     nobody leaves a slot whose handshake is old
 */
#ifndef N
#define N 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif

#define LAST (2 * ROUNDS)
#define P(i, j) ((i) * N + (j))
#define T(i, j, s) (((i) * N + (j)) * 2 + (s))

/* Version v of node i's record: odd while it drains; the slot of the k-th rotation, and the key of each slot, follow from v. */
byte version[N];
bit firstSlot[N];
#define SLOT_OF(i, k) ((firstSlot[i] + (k)) % 2)
#define DRAINED(i, v) SLOT_OF(i, (v) / 2)
#define PUBLISHED_KEY(i, v, s) (((v) / 2 + ((s) == firstSlot[i] -> 1 : 0)) / 2)
bit since[N]; /* order of drains; equal: the smaller number of the node */

/* Kernel. */
byte key[N * 2];
bit sends[N * N * 2];   /* i has a session to send with to j */
bit reads[N * N * 2];   /* i can read what j sends with its session */
bit egress[N * N];

/* Agents. */
byte seen[N * N];       /* version of j that i has acted on; what i has installed for j follows from it */
byte heard[N * N];      /* version of j that i was told of inside the tunnel */
bit proven[N * N * 2];
bit stale[N * N * 2];   /* the handshake is older than 150 s */
bit met[N * N];         /* j told i of itself since i's agent started */
byte told[N * N];       /* 1 + egress of j as j told i after it knew of i's drain, 0 for not yet */
byte crashes;

#define INSTALLED(i, j, s) PUBLISHED_KEY(j, seen[P(i, j)], s)
#define FITS(i, j, s) (INSTALLED(i, j, s) == key[(j) * 2 + (s)] && INSTALLED(j, i, s) == key[(i) * 2 + (s)])
#define PASSES(i, j, s) ((sends[T(i, j, s)] && reads[T(j, i, s)]) || (!sends[T(i, j, s)] && FITS(i, j, s)))
#define GOOD(i, j, s) (proven[T(i, j, s)] && !stale[T(i, j, s)])

/* Drain of j as i knows it. */
#define KNOWN(i, j) (heard[P(i, j)] > seen[P(i, j)] -> heard[P(i, j)] : seen[P(i, j)])
#define DRAINS(v) ((v) % 2)
#define OLDER(i, j) (since[i] < since[j] || (since[i] == since[j] && (i) < (j)))
/* 0 or 1: the slot to leave; 2: none. */
#define BANNED(i, j) ((DRAINS(version[i]) && !DRAINS(KNOWN(i, j))) -> DRAINED(i, version[i]) : \
  ((!DRAINS(version[i]) && DRAINS(KNOWN(i, j))) -> DRAINED(j, KNOWN(i, j)) : \
  ((DRAINS(version[i]) && DRAINS(KNOWN(i, j))) -> \
    (OLDER(i, j) -> DRAINED(i, version[i]) : DRAINED(j, KNOWN(i, j))) : 2)))
#define CURRENT(i, j) egress[P(i, j)]
#define OTHER(i, j) (1 - egress[P(i, j)])

#ifdef FAULT_NO_AGE
#define AGED(i, j, s) (proven[T(i, j, s)])
#else
#define AGED(i, j, s) GOOD(i, j, s)
#endif
/* chooseEgress of src/wg/pair.ts. */
#define CHOICE(i, j) \
  ((AGED(i, j, CURRENT(i, j)) && CURRENT(i, j) != BANNED(i, j)) -> CURRENT(i, j) : \
  ((AGED(i, j, OTHER(i, j)) && OTHER(i, j) != BANNED(i, j)) -> OTHER(i, j) : \
  (AGED(i, j, CURRENT(i, j)) -> CURRENT(i, j) : \
  (AGED(i, j, OTHER(i, j)) -> OTHER(i, j) : \
  ((proven[T(i, j, CURRENT(i, j))] && proven[T(i, j, OTHER(i, j))] && CURRENT(i, j) == BANNED(i, j)) -> \
    OTHER(i, j) : CURRENT(i, j))))))

#if N == 2
#define ALL(c) (c(i, (1 - i)))
#define CHECK2(a, b) assert(PASSES(a, b, egress[P(a, b)]) && PASSES(b, a, egress[P(b, a)]))
#define CHECK CHECK2(0, 1)
#define EVERYONE_DONE (version[0] == LAST && version[1] == LAST)
#else
#define ALL(c) (c(i, ((i + 1) % 3)) && c(i, ((i + 2) % 3)))
#define CHECK2(a, b) assert(PASSES(a, b, egress[P(a, b)]) && PASSES(b, a, egress[P(b, a)]))
#define CHECK CHECK2(0, 1); CHECK2(0, 2); CHECK2(1, 2)
#define EVERYONE_DONE (version[0] == LAST && version[1] == LAST && version[2] == LAST)
#endif

#define TURN(i) DRAINED(i, version[i])
#define REKEYED(i) (key[(i) * 2 + TURN(i)] != PUBLISHED_KEY(i, version[i], TURN(i)))
#ifdef FAULT_NO_WAIT
#define PROVEN_OTHER(i, j) true
#else
#define PROVEN_OTHER(i, j) (proven[T(i, j, 1 - TURN(i))])
#endif
#ifdef FAULT_NO_DRAIN
#define LEFT(i, j) true
#else
#define LEFT(i, j) (egress[P(i, j)] != TURN(i) && GOOD(i, j, 1 - TURN(i)) && told[P(i, j)] == 2 - TURN(i))
#endif

/* Who knows that a peer drains the other slot does not begin: so a peer that answered "I left the slot" stays away from it. */
#ifdef FAULT_NO_TURN
#define MAY_BEGIN(i, j) true
#else
#define MAY_BEGIN(i, j) (met[P(i, j)] && !(DRAINS(KNOWN(i, j)) && DRAINED(j, KNOWN(i, j)) != TURN(i)))
#endif

inline forgetOwn(i, j, s) {
  sends[T(i, j, s)] = 0; proven[T(i, j, s)] = 0; stale[T(i, j, s)] = 0
}

inline replacePeer(i, j, s) {
  sends[T(i, j, s)] = 0; reads[T(i, j, s)] = 0; stale[T(i, j, s)] = 0
}

/* A new key of j for a slot: not proven; leave the slot; replace the peer. */
inline take(i, j, v) {
  changed0 = PUBLISHED_KEY(j, v, 0) != PUBLISHED_KEY(j, seen[P(i, j)], 0);
  changed1 = PUBLISHED_KEY(j, v, 1) != PUBLISHED_KEY(j, seen[P(i, j)], 1);
  if :: changed0 -> proven[T(i, j, 0)] = 0 :: else fi;
  if :: changed1 -> proven[T(i, j, 1)] = 0 :: else fi;
  seen[P(i, j)] = v;
  egress[P(i, j)] = CHOICE(i, j);
  if :: changed0 -> replacePeer(i, j, 0) :: else fi;
  if :: changed1 -> replacePeer(i, j, 1) :: else fi;
  changed0 = 0; changed1 = 0
}

#define HANDSHAKE(j, s) \
  :: atomic { (i < j) && FITS(i, j, s) && !(sends[T(i, j, s)] && sends[T(j, i, s)] && reads[T(i, j, s)] && reads[T(j, i, s)] \
       && !stale[T(i, j, s)] && !stale[T(j, i, s)]) -> \
     sends[T(i, j, s)] = 1; sends[T(j, i, s)] = 1; reads[T(i, j, s)] = 1; reads[T(j, i, s)] = 1; \
     stale[T(i, j, s)] = 0; stale[T(j, i, s)] = 0; CHECK }
#define OBSERVE(j, s) \
  :: atomic { (i != j) && sends[T(i, j, s)] && !proven[T(i, j, s)] && !stale[T(i, j, s)] -> proven[T(i, j, s)] = 1; CHECK }
#define AGE(j, s) \
  :: atomic { (i < j) && !FITS(i, j, s) && !(stale[T(i, j, s)] && stale[T(j, i, s)]) -> \
     stale[T(i, j, s)] = 1; stale[T(j, i, s)] = 1 }
/* In the 30 s between stale and dead an agent sees every handshake of its kernel, and handshakes that fit are made. */
#ifdef FAULT_NO_AGE
#define CAN_LEAVE(a, b, s) (egress[P(a, b)] == (s) && CHOICE(a, b) != (s))
#else
#define CAN_LEAVE(a, b, s) (egress[P(a, b)] == (s) && \
  (CHOICE(a, b) != (s) || FITS(a, b, 1 - (s)) || (sends[T(a, b, 1 - (s))] && !stale[T(a, b, 1 - (s))])))
#endif
#define RUN_OUT(j, s) \
  :: atomic { (i < j) && !FITS(i, j, s) && stale[T(i, j, s)] && stale[T(j, i, s)] \
       && (sends[T(i, j, s)] || sends[T(j, i, s)] || reads[T(i, j, s)] || reads[T(j, i, s)]) \
       && !CAN_LEAVE(i, j, s) && !CAN_LEAVE(j, i, s) -> \
     sends[T(i, j, s)] = 0; sends[T(j, i, s)] = 0; reads[T(i, j, s)] = 0; reads[T(j, i, s)] = 0; CHECK }
#define CHOOSE(j) \
  :: atomic { (i != j) && CHOICE(i, j) != egress[P(i, j)] -> egress[P(i, j)] = CHOICE(i, j); CHECK }
#define SEE(j, step) \
  :: atomic { (i != j) && seen[P(i, j)] + step <= version[j] -> take(i, j, seen[P(i, j)] + step); CHECK }
/* A probe and its answer: the peer learns of the drain, chooses, and says what it chose. It may choose again before we act. */
#define PROBE(j) \
  :: atomic { (i != j) && DRAINS(version[i]) && !REKEYED(i) && PASSES(i, j, (1 - TURN(i))) && PASSES(j, i, (1 - TURN(i))) \
       && (heard[P(j, i)] != version[i] || told[P(i, j)] != 1 + egress[P(j, i)]) -> \
     heard[P(j, i)] = version[i]; egress[P(j, i)] = CHOICE(j, i); told[P(i, j)] = 1 + egress[P(j, i)]; \
     if :: DRAINS(version[j]) && !REKEYED(j) -> heard[P(i, j)] = version[j] :: else fi; CHECK }
#define MEET(j) \
  :: atomic { (i != j) && !met[P(i, j)] -> met[P(i, j)] = 1; heard[P(i, j)] = version[j] }
#define EACH(j) \
  MEET(j) \
  HANDSHAKE(j, 0) HANDSHAKE(j, 1) OBSERVE(j, 0) OBSERVE(j, 1) AGE(j, 0) AGE(j, 1) RUN_OUT(j, 0) RUN_OUT(j, 1) \
  CHOOSE(j) SEE(j, 1) SEE(j, 2) SEE(j, 3) SEE(j, 4) PROBE(j)

proctype node(byte i) {
  byte k;
  bit changed0, changed1;
  do
  EACH(0)
  EACH(1)
#if N == 3
  EACH(2)
#endif
  /* Drain: published before anything else happens, because the next step waits for the directory's answer. */
  :: atomic { version[i] < LAST && !DRAINS(version[i]) && ALL(PROVEN_OTHER) && ALL(MAY_BEGIN) ->
       if :: since[i] = 0 :: since[i] = 1 fi;
       for (k : 0 .. N - 1) { told[P(i, k)] = 0 }
       version[i]++; k = 0; CHECK }
  /* The key changes. */
  :: atomic { DRAINS(version[i]) && !REKEYED(i) && ALL(LEFT) && ALL(PROVEN_OTHER) ->
       for (k : 0 .. N - 1) { if :: k != i -> forgetOwn(i, k, TURN(i)) :: else fi; told[P(i, k)] = 0 }
       key[i * 2 + TURN(i)]++; k = 0; CHECK }
  /* New key out, drain over: one write. */
  :: atomic { DRAINS(version[i]) && REKEYED(i) -> version[i]++; CHECK }
  /* The agent dies and is back: what it was told is gone, and it may have to prove everything again. */
  :: atomic { crashes < CRASHES && !EVERYONE_DONE ->
       crashes++;
       for (k : 0 .. N - 1) {
         told[P(i, k)] = 0; heard[P(i, k)] = 0; met[P(i, k)] = 0;
         if :: k != i -> proven[T(i, k, 0)] = 0; proven[T(i, k, 1)] = 0 :: true fi
#ifdef FAULT_STALE_LIST
         ; if :: k != i && seen[P(i, k)] >= 2 ->
                replacePeer(i, k, 0); replacePeer(i, k, 1); seen[P(i, k)] = seen[P(i, k)] - 2
              :: else fi
#endif
       }
       k = 0; CHECK }
  :: EVERYONE_DONE -> break
  od
}

init {
  byte a, b;
  atomic {
    for (a : 0 .. N - 1) {
      if :: firstSlot[a] = 0 :: firstSlot[a] = 1 fi;
      for (b : 0 .. N - 1) {
        if
        :: a != b ->
          sends[T(a, b, 0)] = 1; sends[T(a, b, 1)] = 1; reads[T(a, b, 0)] = 1; reads[T(a, b, 1)] = 1;
          proven[T(a, b, 0)] = 1; proven[T(a, b, 1)] = 1;
          if :: egress[P(a, b)] = 0 :: egress[P(a, b)] = 1 fi
        :: else
        fi
      }
    }
    a = 0; b = 0;
    for (a : 0 .. N - 1) { run node(a) }
  }
}
