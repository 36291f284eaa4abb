/*
 * The rotation of keys in a two-slot mesh, for spin. Checked in every state: a packet that any node sends to any other through
 * the slot that it has chosen is read there, and nobody waits for whom it may not. Checked of every run: it ends, and only when
 * every rotation is over. README.md in this folder says which variable is what in the code, what is assumed, what is left out, and
 * why two nodes are enough for any number.
 *
 * Made for N (2, 3) nodes; of three, with -DSTAR, the pairs of node 0 only. The rest is read from the environment when a search
 * begins, so that one program does for many: the first ROTATORS nodes rotate ROUNDS times each, starting with any slot. CRASHES:
 * deaths of an agent, in all, at any step, or "any" for any number. CUTS: how often a pair loses its path for longer than sessions last (N=2). WHIMS: how
 * often probes are lost in a row or what was announced grows old; any number of times when it is not set. ONE_MAIL=1: one
 * announcement under way in a pair; MAILS=2: two one behind the other in a direction (N=2). FAULT: an error put in on purpose, see README.md.
 */
#ifndef N
#define N 2
#endif

#define NO_DRAIN 1
#define NO_ACK 2
#define NO_WAIT 3
#define NO_ORDER 4
#define YOUNGER 5
#define OPEN_SLOT 6
#define NO_AGE 7
#define REMOVE_FIRST 8
#define NO_ADOPTION 9
#define STALE_LIST 10
#define DEAF 11
#define WORD_AGES 12
#define NO_TURN 13
#define OTHER_ORDER 14
#define MUTE 15
#define COUPLED 16
#define OUT_OF_ORDER 17
c_decl {
  static const char *const faults[] = { "", "NO_DRAIN", "NO_ACK", "NO_WAIT", "NO_ORDER", "YOUNGER", "OPEN_SLOT", "NO_AGE",
    "REMOVE_FIRST", "NO_ADOPTION", "STALE_LIST", "DEAF", "WORD_AGES", "NO_TURN", "OTHER_ORDER", "MUTE", "COUPLED", "OUT_OF_ORDER" };
  static int asGiven(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
  }
  static int anyGiven(const char *name) {
    const char *text = getenv(name);
    return text && !strcmp(text, "any");
  }
  static int faultGiven(void) {
    const char *text = getenv("FAULT");
    for (int i = 0; i < (int)(sizeof faults / sizeof *faults); i++) if (!strcmp(text ? text : "", faults[i])) return i;
    fprintf(stderr, "there is no fault %s\n", text);
    exit(2);
  }
}
/* What is given: no part of the state. */
hidden byte fault, rounds, rotators, oneMail, mails, anyWhims, anyCrashes;

/* Names of steps, for reading a trail. */
#ifdef TRAIL
#define LOG(what, a, b, c) printf(what, a, b, c);
#else
#define LOG(what, a, b, c)
#endif

#define P(i, j) ((i) * N + (j))
#define T(i, j, s) (((i) * N + (j)) * 2 + (s))
#define LAST(i) ((i) < rotators -> 2 * rounds : 0)

/* A node's version is odd while it drains; the slot of its k-th rotation, and both keys, follow from it. */
#define DRAINS(v) ((v) % 2)
#define SLOT_OF(i, v) ((firstSlot[i] + (v) / 2) % 2)
#define KEY_AT(i, v, s) (((v) / 2 + ((s) == firstSlot[i] -> 1 : 0)) / 2)
bit firstSlot[N];
bit since[N];           /* order of drains; equal: the smaller number of the node */

/* Agents: what they decided, and (directory) what they published of it. */
byte own[N];
byte published[N];

/* Kernel. */
byte key[N * 2];
bit sends[N * N * 2];   /* i has a session to send with to j */
bit reads[N * N * 2];   /* i can read what j sends with its session */
bit egress[N * N];

/* Agents: peers. */
byte seen[N * N];       /* version of j's record that i has acted on; what i has installed for j follows from it */
bit proven[N * N * 2];
bit stale[N * N * 2];   /* the handshake is older than 150 s */
bit met[N * N];         /* j announced itself to i since i's agent started: the next four say what */
byte heard[N * N];      /* version of j */
bit heardFresh[N * N];  /* not older than 30 s */
bit saidEgress[N * N];
bit saidAck[N * N];     /* j had heard i in i's present drain and life */
bit knows[N * N];       /* i heard j in j's present drain and life */

/* An announcement under way from i to j. The next one overwrites it: it is lost. With MAILS=2 it stands behind it. */
bit mail[N * N];
byte mailVersion[N * N];
bit mailEgress[N * N];
bit mailAck[N * N];
bit mailCurrent[N * N]; /* sent in i's present drain and life */
#if N == 2
bit next[N * N];        /* the younger of two */
byte nextVersion[N * N];
bit nextEgress[N * N];
bit nextAck[N * N];
bit nextCurrent[N * N];
#endif

bit asked[N];           /* the kernel was asked for a new key of the drained slot */

/* What may still go wrong. */
byte crashes;
byte whims;
#define WHIM_LEFT (anyWhims || whims > 0)
#define COUNT_WHIM whims = (anyWhims -> 0 : whims - 1)
#define CRASH_LEFT (anyCrashes || crashes > 0)
#define COUNT_CRASH crashes = (anyCrashes -> 0 : crashes - 1)
/* With -DENDS a fault is progress: an endless run that is found has no more than finitely many, though any number is allowed. */
#ifdef ENDS
#define FAULT_OVER -> goto progressFault
#else
#define FAULT_OVER
#endif
#if N == 2
byte cuts;
bit cut;
bit healing;            /* from the cut until both directions work again */
#define LINKED (!cut)
#define WORKS(i, j, s) (sends[T(i, j, s)] && reads[T(j, i, s)] && !stale[T(i, j, s)])
#define LOSSLESS (!healing)
#else
#define LINKED true
#define LOSSLESS true
#endif
bit restarted[N];       /* fault NO_ADOPTION only */

/* What the kernels do with a packet. Without a session to send with it waits for a handshake. */
#define INSTALLED(i, j, s) KEY_AT(j, seen[P(i, j)], s)
#define FITS(i, j, s) (INSTALLED(i, j, s) == key[(j) * 2 + (s)] && INSTALLED(j, i, s) == key[(i) * 2 + (s)])
#define PASSES(i, j, s) ((sends[T(i, j, s)] && reads[T(j, i, s)]) || (!sends[T(i, j, s)] && FITS(i, j, s)))
#define BOTH_WAYS(i, j, s) (LINKED && PASSES(i, j, s) && PASSES(j, i, s))
#define ANY_WAY(i, j) (BOTH_WAYS(i, j, 0) || BOTH_WAYS(i, j, 1))

/* src/wg/pair.ts: everProven is proven, fresh is GOOD. */
#define GOOD(i, j, s) (proven[T(i, j, s)] && !stale[T(i, j, s)])
/* A handshake of the present keys that is young, whether or not a probe came back. */
#define SIGN(i, j, s) ((fault == DEAF -> proven[T(i, j, s)] : sends[T(i, j, s)]) && !stale[T(i, j, s)])
#define ALIVE(i, j) (SIGN(i, j, 0) || SIGN(i, j, 1))
#define KNOWN(i, j) ((met[P(i, j)] && heardFresh[P(i, j)]) -> heard[P(i, j)] : seen[P(i, j)])

/* bannedSlot of src/wg/slots.ts. 0 or 1: the slot to leave; 2: none. */
#define FIRST_OF_ALL(i, j) (since[i] < since[j] || (since[i] == since[j] && (i) < (j)))
#define OLDER(i, j) (fault == NO_ORDER || \
  (fault == OTHER_ORDER && since[i] == since[j] -> (i) > (j) : FIRST_OF_ALL(i, j)))
#define BANNED(i, j) (DRAINS(own[i]) -> \
  ((!DRAINS(KNOWN(i, j)) || OLDER(i, j)) -> SLOT_OF(i, own[i]) : SLOT_OF(j, KNOWN(i, j))) : \
  (DRAINS(KNOWN(i, j)) -> SLOT_OF(j, KNOWN(i, j)) : 2))

/* chooseEgress of src/wg/pair.ts, as long as no probes are lost in a row. */
#define CURRENT(i, j) egress[P(i, j)]
#define OTHER(i, j) (1 - egress[P(i, j)])
/* Nobody is sent through a slot whose key is being changed. */
#define CLOSED(i, s) (asked[i] && TURN(i) == (s) && fault != OPEN_SLOT)
#define USABLE(i, j, s) (proven[T(i, j, s)] && (!stale[T(i, j, s)] || fault == NO_AGE) && !CLOSED(i, s))
#define CHOICE(i, j) \
  ((USABLE(i, j, CURRENT(i, j)) && CURRENT(i, j) != BANNED(i, j)) -> CURRENT(i, j) : \
  ((USABLE(i, j, OTHER(i, j)) && OTHER(i, j) != BANNED(i, j)) -> OTHER(i, j) : \
  (USABLE(i, j, CURRENT(i, j)) -> CURRENT(i, j) : \
  (USABLE(i, j, OTHER(i, j)) -> OTHER(i, j) : \
  ((proven[T(i, j, CURRENT(i, j))] && proven[T(i, j, OTHER(i, j))] && !CLOSED(i, OTHER(i, j)) && \
    (CURRENT(i, j) == BANNED(i, j) || CLOSED(i, CURRENT(i, j)))) -> OTHER(i, j) : CURRENT(i, j))))))

/* Every packet arrives; after a long cut, at least there is a slot on which both know each other's key. */
#define SOUND(a, b) ((LOSSLESS && PASSES(a, b, egress[P(a, b)]) && PASSES(b, a, egress[P(b, a)])) || \
  (!LOSSLESS && (FITS(a, b, 0) || FITS(a, b, 1))))
#if N == 2
#define BOTH(c, i, j, k) c(i, j)
#define CHECK assert(SOUND(0, 1))
#define EVERYONE_DONE (published[0] == LAST(0) && published[1] == LAST(1))
#else
#define BOTH(c, i, j, k) (c(i, j) && c(i, k))
#ifdef STAR
#define CHECK assert(SOUND(0, 1) && SOUND(0, 2))
#else
#define CHECK assert(SOUND(0, 1) && SOUND(0, 2) && SOUND(1, 2))
#endif
#define EVERYONE_DONE (published[0] == LAST(0) && published[1] == LAST(1) && published[2] == LAST(2))
#endif

/* src/wg/census.ts and rotation.ts, for one peer. */
#define TURN(i) SLOT_OF(i, own[i])
#define KEY_MADE(i) (key[(i) * 2 + TURN(i)] != KEY_AT(i, own[i], TURN(i)))
#define PROVEN_OTHER(i, j) (proven[T(i, j, 1 - TURN(i))] || fault == NO_WAIT)
#define DRAINS_OTHER(i, j, v) (DRAINS(v) && SLOT_OF(j, v) != TURN(i))
/* The last word of a peer counts, however old: what it was answered, it relies on. */
#define SAID_OTHER(i, j) (fault != WORD_AGES && DRAINS_OTHER(i, j, heard[P(i, j)]))
#define NOT_CONTENDED(i, j) \
  (fault == NO_TURN || !ALIVE(i, j) || (met[P(i, j)] && !DRAINS_OTHER(i, j, KNOWN(i, j)) && !SAID_OTHER(i, j)))
/* Of opposite drains the younger waits. */
#define FIRST(i, j) (fault == YOUNGER || !DRAINS_OTHER(i, j, heard[P(i, j)]) || OLDER(i, j))
#define TOLD(i, j) \
  (fault == NO_ACK || (met[P(i, j)] && saidAck[P(i, j)] && saidEgress[P(i, j)] != TURN(i) && FIRST(i, j)))
#define LEFT(i, j) \
  (fault == NO_DRAIN || !ALIVE(i, j) || (egress[P(i, j)] != TURN(i) && GOOD(i, j, 1 - TURN(i)) && TOLD(i, j)))

#if N == 2
#define NEW_EPOCH_NEXT(i, j) nextCurrent[P(i, j)] = 0; nextAck[P(j, i)] = 0; nextEgress[P(j, i)] = 0
#define LOSE_NEXT(i, j) \
  next[P(i, j)] = 0; nextVersion[P(i, j)] = 0; nextEgress[P(i, j)] = 0; nextAck[P(i, j)] = 0; nextCurrent[P(i, j)] = 0
/* The older is heard: the younger is the only one now. */
#define SHIFT(i, j) \
  mail[P(i, j)] = next[P(i, j)]; mailVersion[P(i, j)] = nextVersion[P(i, j)]; mailEgress[P(i, j)] = nextEgress[P(i, j)]; \
  mailAck[P(i, j)] = nextAck[P(i, j)]; mailCurrent[P(i, j)] = nextCurrent[P(i, j)]; LOSE_NEXT(i, j)
#else
#define NEW_EPOCH_NEXT(i, j) skip
#define LOSE_NEXT(i, j) skip
#define SHIFT(i, j) lose(i, j)
#endif

/* The drain or the life of i is another: nothing that was said before counts as an answer. */
inline newEpoch(i, j) {
  mailCurrent[P(i, j)] = 0; knows[P(j, i)] = 0;
  mailAck[P(j, i)] = 0; mailEgress[P(j, i)] = 0; saidAck[P(i, j)] = 0; saidEgress[P(i, j)] = 0;
  NEW_EPOCH_NEXT(i, j)
}

inline lose(i, j) {
  mail[P(i, j)] = 0; mailVersion[P(i, j)] = 0; mailEgress[P(i, j)] = 0; mailAck[P(i, j)] = 0; mailCurrent[P(i, j)] = 0;
  LOSE_NEXT(i, j)
}

/* takeRecord of src/wg/peer-events.ts: what a key proved is gone; leave the slot; then replace the peer. */
inline take(i, j, v) {
  changed0 = KEY_AT(j, v, 0) != KEY_AT(j, seen[P(i, j)], 0);
  changed1 = KEY_AT(j, v, 1) != KEY_AT(j, seen[P(i, j)], 1);
  if :: changed0 -> proven[T(i, j, 0)] = 0 :: else fi;
  if :: changed1 -> proven[T(i, j, 1)] = 0 :: else fi;
  /* The old peer is gone, the new one is not there: what is sent through the slot has nowhere to go. */
  assert(fault != REMOVE_FIRST || (!(changed0 && egress[P(i, j)] == 0) && !(changed1 && egress[P(i, j)] == 1)));
  seen[P(i, j)] = v;
  egress[P(i, j)] = CHOICE(i, j);
  if :: changed0 -> replace(i, j, 0) :: else fi;
  if :: changed1 -> replace(i, j, 1) :: else fi;
  changed0 = 0; changed1 = 0
}

inline replace(i, j, s) {
  sends[T(i, j, s)] = 0; reads[T(i, j, s)] = 0; stale[T(i, j, s)] = 0
}

/* CAN_: when a step is possible. */
#define CAN_HANDSHAKE(i, j, s) (LINKED && FITS(i, j, s) && !(sends[T(i, j, s)] && sends[T(j, i, s)] && \
  reads[T(i, j, s)] && reads[T(j, i, s)] && !stale[T(i, j, s)] && !stale[T(j, i, s)]))
#define HANDSHAKE(i, j, s) \
  :: d_step { CAN_HANDSHAKE(i, j, s) -> LOG("handshake %d %d %d\n", i, j, s) \
     sends[T(i, j, s)] = 1; sends[T(j, i, s)] = 1; reads[T(i, j, s)] = 1; reads[T(j, i, s)] = 1; \
     stale[T(i, j, s)] = 0; stale[T(j, i, s)] = 0; CHECK }
/* A dump shows a handshake of the present keys, and a probe comes back. */
#define CAN_OBSERVE(i, j, s) (sends[T(i, j, s)] && BOTH_WAYS(i, j, s) && !proven[T(i, j, s)] && !REKEYING(i, s))
#define OBSERVE(i, j, s) \
  :: d_step { CAN_OBSERVE(i, j, s) -> LOG("observe %d %d %d\n", i, j, s) \
     proven[T(i, j, s)] = 1; egress[P(i, j)] = CHOICE(i, j); CHECK }
/* Between the kernel's new key and our hearing of it nothing is proven by what was before. */
#define REKEYING(i, s) (DRAINS(own[i]) && KEY_MADE(i) && TURN(i) == (s))
#define CAN_AGE(i, j, s) (!FITS(i, j, s) && !(stale[T(i, j, s)] && stale[T(j, i, s)]))
#define AGE(i, j, s) \
  :: d_step { CAN_AGE(i, j, s) -> LOG("age %d %d %d\n", i, j, s) \
     stale[T(i, j, s)] = 1; stale[T(j, i, s)] = 1 }
/* In the 30 s between stale and dead an agent sees every handshake of its kernel, and handshakes that fit are made. */
#define CAN_LEAVE(a, b, s) (egress[P(a, b)] == (s) && (CHOICE(a, b) != (s) || \
  (fault != NO_AGE && (FITS(a, b, 1 - (s)) || (sends[T(a, b, 1 - (s))] && !stale[T(a, b, 1 - (s))])))))
#define CAN_RUN_OUT(i, j, s) (!FITS(i, j, s) && stale[T(i, j, s)] && stale[T(j, i, s)] && \
  (sends[T(i, j, s)] || sends[T(j, i, s)] || reads[T(i, j, s)] || reads[T(j, i, s)]) && \
  !CAN_LEAVE(i, j, s) && !CAN_LEAVE(j, i, s))
#define RUN_OUT(i, j, s) \
  :: d_step { CAN_RUN_OUT(i, j, s) -> LOG("run_out %d %d %d\n", i, j, s) \
     sends[T(i, j, s)] = 0; sends[T(j, i, s)] = 0; reads[T(i, j, s)] = 0; reads[T(j, i, s)] = 0; CHECK }
#define CAN_CHOOSE(i, j) (CHOICE(i, j) != egress[P(i, j)])
#define CHOOSE(i, j) \
  :: d_step { CAN_CHOOSE(i, j) -> LOG("choose %d %d %d\n", i, j, egress[P(i, j)]) egress[P(i, j)] = CHOICE(i, j); CHECK }
/* Three probes in a row are lost on the present slot only: the other one it is, drained or not. */
#define SUSPECT(i, j) \
  :: d_step { WHIM_LEFT && USABLE(i, j, 0) && USABLE(i, j, 1) -> LOG("suspect %d %d %d\n", i, j, egress[P(i, j)]) COUNT_WHIM; egress[P(i, j)] = OTHER(i, j); CHECK } FAULT_OVER
#define CAN_SEE(i, j) (seen[P(i, j)] < published[j])
#define SEE(i, j, step) \
  :: d_step { seen[P(i, j)] + step <= published[j] -> LOG("see %d %d %d\n", i, j, seen[P(i, j)] + step) take(i, j, seen[P(i, j)] + step); CHECK }
/* What i would say to j: only what somebody goes by. That is its drain, and, to who drains, that it knows and where it sends. */
#define WORD(i) (DRAINS(own[i]) -> own[i] : 0)
#define ANSWER(i, j) (knows[P(i, j)] && egress[P(i, j)])
/* Said only when it is news, so that a run can end. */
#define NEWS(i, j) (!met[P(j, i)] || !heardFresh[P(j, i)] || heard[P(j, i)] != WORD(i) || \
  saidEgress[P(j, i)] != ANSWER(i, j) || saidAck[P(j, i)] != knows[P(i, j)] || (DRAINS(own[i]) && !knows[P(j, i)]))
#define SAME(i, j, version, its, acks, current) \
  (version == WORD(i) && its == ANSWER(i, j) && acks == knows[P(i, j)] && current == DRAINS(own[i]))
#define MAIL(i, j) mailVersion[P(i, j)], mailEgress[P(i, j)], mailAck[P(i, j)], mailCurrent[P(i, j)]
#define SAME_AS(i, j, ...) SAME(i, j, __VA_ARGS__)
#if N == 2
#define YOUNGER_MAIL(i, j) nextVersion[P(i, j)], nextEgress[P(i, j)], nextAck[P(i, j)], nextCurrent[P(i, j)]
#define UNDER_WAY(i, j) (mail[P(i, j)] && \
  (next[P(i, j)] -> SAME_AS(i, j, YOUNGER_MAIL(i, j)) : SAME_AS(i, j, MAIL(i, j))))
#define BEHIND(i, j) (mails == 2 && mail[P(i, j)])
#else
#define UNDER_WAY(i, j) (mail[P(i, j)] && SAME_AS(i, j, MAIL(i, j)))
#endif
#define ROOM(i, j) (!oneMail || !mail[P(j, i)])
#define CAN_SAY(i, j) ((fault != MUTE || DRAINS(own[i])) && ANY_WAY(i, j) && ROOM(i, j) && NEWS(i, j) && !UNDER_WAY(i, j))
#if N == 2
#define SAY_BEHIND(i, j) \
  :: d_step { BEHIND(i, j) && CAN_SAY(i, j) -> LOG("say behind %d %d %d\n", i, j, own[i]) \
     next[P(i, j)] = 1; nextVersion[P(i, j)] = WORD(i); nextEgress[P(i, j)] = ANSWER(i, j); \
     nextAck[P(i, j)] = knows[P(i, j)]; nextCurrent[P(i, j)] = DRAINS(own[i]) }
#else
#define BEHIND(i, j) false
#define SAY_BEHIND(i, j)
#endif
#define SAY(i, j) \
  :: d_step { !BEHIND(i, j) && CAN_SAY(i, j) -> LOG("say %d %d %d\n", i, j, own[i]) \
     mail[P(i, j)] = 1; mailVersion[P(i, j)] = WORD(i); mailEgress[P(i, j)] = ANSWER(i, j); \
     mailAck[P(i, j)] = knows[P(i, j)]; mailCurrent[P(i, j)] = DRAINS(own[i]) } SAY_BEHIND(i, j)
#define CAN_HEAR(i, j) mail[P(j, i)]
/* Fault: one age for what all peers said. No packet is lost by it, but the pairs of a node are no longer each by itself. */
#if N == 3
#define AGE_OTHERS(i, j) heardFresh[P(i, 3 - (i) - (j))] = heardFresh[P(i, 3 - (i) - (j))] && fault != COUPLED;
#else
#define AGE_OTHERS(i, j)
#endif
#define BELIEVE(i, j, version, its, acks, current) \
  met[P(i, j)] = 1; heardFresh[P(i, j)] = 1; heard[P(i, j)] = version; saidEgress[P(i, j)] = its; saidAck[P(i, j)] = acks; \
  knows[P(i, j)] = knows[P(i, j)] || current; AGE_OTHERS(i, j)
#define BELIEVE_IT(i, j, ...) BELIEVE(i, j, __VA_ARGS__)
#if N == 2
/* The younger came first: the older comes to nothing, because its number is not higher (`hear` of src/wg/pair.ts). */
#define OVERTAKE(i, j) \
  :: d_step { next[P(j, i)] -> LOG("overtake %d %d %d\n", i, j, nextVersion[P(j, i)]) \
     BELIEVE_IT(i, j, YOUNGER_MAIL(j, i)) LOSE_NEXT(j, i); \
     if :: fault == OUT_OF_ORDER :: else -> lose(j, i) fi; \
     egress[P(i, j)] = CHOICE(i, j); CHECK }
#else
#define OVERTAKE(i, j)
#endif
#define HEAR(i, j) \
  :: d_step { CAN_HEAR(i, j) -> LOG("hear %d %d %d\n", i, j, mailVersion[P(j, i)]) \
     BELIEVE_IT(i, j, MAIL(j, i)) SHIFT(j, i); \
     egress[P(i, j)] = CHOICE(i, j); CHECK } OVERTAKE(i, j)
/* 30 s without a word. */
#define GROW_OLD(i, j) \
  :: d_step { WHIM_LEFT && heardFresh[P(i, j)] && (DRAINS(heard[P(i, j)]) || DRAINS(seen[P(i, j)])) -> LOG("grow_old %d %d %d\n", i, j, 0) COUNT_WHIM; heardFresh[P(i, j)] = 0 } FAULT_OVER

#if N == 3
#define SEE_ALL(i, j) SEE(i, j, 1) SEE(i, j, 2)
#else
#define SEE_ALL(i, j) SEE(i, j, 1) SEE(i, j, 2) SEE(i, j, 3) SEE(i, j, 4)
#endif
#define ONE(i, j) \
  OBSERVE(i, j, 0) OBSERVE(i, j, 1) CHOOSE(i, j) SUSPECT(i, j) SEE_ALL(i, j) SAY(i, j) HEAR(i, j) GROW_OLD(i, j)
#define PAIR(i, j) \
  HANDSHAKE(i, j, 0) HANDSHAKE(i, j, 1) AGE(i, j, 0) AGE(i, j, 1) RUN_OUT(i, j, 0) RUN_OUT(i, j, 1) ONE(i, j) ONE(j, i)

#if N == 3
#define EACH(a, i, j, k) a(i, j); a(i, k)
#else
#define EACH(a, i, j, k) a(i, j)
#endif

#define REVIEW_ONE(i, j) egress[P(i, j)] = CHOICE(i, j)
#define BEGIN_ONE(i, j) newEpoch(i, j); egress[P(i, j)] = CHOICE(i, j)
/* What of a step is the node's own, and what each of its peers must allow. */
#define READY_TO_BEGIN(i) (own[i] < LAST(i) && !DRAINS(own[i]) && own[i] == published[i])
#define LETS_BEGIN(i, j) (PROVEN_OTHER(i, j) && NOT_CONTENDED(i, j))
#define BEGIN(i, j, k) \
  :: atomic { READY_TO_BEGIN(i) && BOTH(LETS_BEGIN, i, j, k) -> LOG("begin %d %d %d\n", i, own[i], SLOT_OF(i, own[i])) \
     if :: since[i] = 0 :: since[i] = 1 fi; \
     own[i]++; EACH(BEGIN_ONE, i, j, k); CHECK }
/* The directory takes what was written; a later write may take its place before. */
#define CAN_PUBLISH(i) (published[i] < own[i])
#define PUBLISH(i, j, k) \
  :: d_step { CAN_PUBLISH(i) -> LOG("publish %d %d %d\n", i, own[i], published[i]) published[i] = own[i] }
#define READY_TO_ASK(i) (DRAINS(own[i]) && published[i] == own[i] && !asked[i] && !KEY_MADE(i))
#define LETS_ASK(i, j) (LEFT(i, j) && PROVEN_OTHER(i, j))
#define ASK(i, j, k) \
  :: d_step { READY_TO_ASK(i) && BOTH(LETS_ASK, i, j, k) -> LOG("ask %d %d %d\n", i, TURN(i), 0) asked[i] = 1; \
     EACH(REVIEW_ONE, i, j, k); CHECK }
#define REKEY_ONE(i, j) sends[T(i, j, TURN(i))] = 0
#define CAN_REKEY(i) (asked[i] && !KEY_MADE(i))
#define REKEY(i, j, k) \
  :: d_step { CAN_REKEY(i) -> LOG("rekey %d %d %d\n", i, TURN(i), 0) EACH(REKEY_ONE, i, j, k); key[(i) * 2 + TURN(i)]++; CHECK }
#define KEYED_ONE(i, j) proven[T(i, j, TURN(i))] = 0; newEpoch(i, j)
#define CAN_KEYED(i) (DRAINS(own[i]) && KEY_MADE(i) && !restarted[i])
#define KEYED(i, j, k) \
  :: d_step { CAN_KEYED(i) -> LOG("keyed %d %d %d\n", i, TURN(i), 0) EACH(KEYED_ONE, i, j, k); asked[i] = 0; since[i] = 0; own[i]++; \
     EACH(REVIEW_ONE, i, j, k); CHECK }

inline die(i, j) {
  proven[T(i, j, 0)] = 0; proven[T(i, j, 1)] = 0;
  met[P(i, j)] = 0; heard[P(i, j)] = 0; heardFresh[P(i, j)] = 0; saidEgress[P(i, j)] = 0; knows[P(i, j)] = 0;
  newEpoch(i, j);
  /* The list at a start is the directory's present one, and comes before anything else is done. */
  if
  :: fault == STALE_LIST && seen[P(i, j)] >= 2 -> replace(i, j, 0); replace(i, j, 1); seen[P(i, j)] = seen[P(i, j)] - 2
  :: fault != STALE_LIST && seen[P(i, j)] < published[j] -> take(i, j, published[j])
  :: else
  fi
}
#define DIE_ONE(i, j) die(i, j)
/* The agent dies and is back. It knows the kernel and the directory; a new key that is not published is found in `KEYED`. */
#define CRASH(i, j, k) \
  :: d_step { CRASH_LEFT -> LOG("crash %d %d %d\n", i, 0, 0) \
     COUNT_CRASH; restarted[i] = (fault == NO_ADOPTION); asked[i] = 0; own[i] = published[i]; EACH(DIE_ONE, i, j, k); CHECK } FAULT_OVER
#define NODE(i, j, k) BEGIN(i, j, k) PUBLISH(i, j, k) ASK(i, j, k) REKEY(i, j, k) KEYED(i, j, k) CRASH(i, j, k)

#if N == 2
/*
 * Who may wait for whom, so that no number of nodes waits in a circle (README.md). When neither the pair nor the nodes by
 * themselves have anything left to do, faults apart, a node that is not done waits for this peer only if the peer drains the
 * other slot, and, while it drains itself, only if the peer comes before it in the one order of all drains.
 */
#define STILL_SLOT(s) (!CAN_HANDSHAKE(0, 1, s) && !CAN_AGE(0, 1, s) && !CAN_RUN_OUT(0, 1, s) && \
  !CAN_OBSERVE(0, 1, s) && !CAN_OBSERVE(1, 0, s))
#define STILL_ONE(i, j) (!CAN_HEAR(i, j) && !CAN_SEE(i, j) && !CAN_PUBLISH(i) && !CAN_REKEY(i) && !CAN_KEYED(i) && \
  !CAN_CHOOSE(i, j) && !CAN_SAY(i, j))
#define STILL (!cut && !healing && STILL_ONE(0, 1) && STILL_ONE(1, 0) && STILL_SLOT(0) && STILL_SLOT(1))
#define MAY_WAIT_FOR(i, j) (DRAINS_OTHER(i, j, own[j]) && (!DRAINS(own[i]) || FIRST_OF_ALL(j, i)))
#define WELL(i, j) ((!DRAINS(own[i]) && own[i] == LAST(i)) || \
  (READY_TO_BEGIN(i) && (LETS_BEGIN(i, j) || MAY_WAIT_FOR(i, j))) || \
  (READY_TO_ASK(i) && (LETS_ASK(i, j) || MAY_WAIT_FOR(i, j))))
#endif

#ifdef PROJECT
c_code {
\#include "project.h"
};
#endif

inline start(a, b) {
  sends[T(a, b, 0)] = 1; sends[T(a, b, 1)] = 1; reads[T(a, b, 0)] = 1; reads[T(a, b, 1)] = 1;
  proven[T(a, b, 0)] = 1; proven[T(a, b, 1)] = 1;
  if :: egress[P(a, b)] = 0 :: egress[P(a, b)] = 1 fi
}

init {
  bit changed0, changed1;
  atomic {
    c_code {
      fault = faultGiven(); rounds = asGiven("ROUNDS", 1); rotators = asGiven("ROTATORS", N); oneMail = asGiven("ONE_MAIL", 0); mails = asGiven("MAILS", 1);
      now.crashes = asGiven("CRASHES", 0); anyCrashes = anyGiven("CRASHES");
      now.whims = asGiven("WHIMS", 0); anyWhims = !getenv("WHIMS") || anyGiven("WHIMS");
    };
#if N == 2
    c_code { now.cuts = asGiven("CUTS", 0); };
#endif
    /* firstSlot[0] is 0: the slots are alike. */
    if :: firstSlot[1] = 0 :: rotators > 1 -> firstSlot[1] = 1 fi;
    start(0, 1); start(1, 0);
#if N == 3
    if :: firstSlot[2] = 0 :: rotators > 2 -> firstSlot[2] = 1 fi;
    start(0, 2); start(2, 0);
#ifndef STAR
    start(1, 2); start(2, 1);
#endif
#endif
  }
again:
  do
#ifdef PROJECT
  :: c_expr { NOTED } -> assert(false)  /* three nodes are in a state that two cannot be in */
#endif
  PAIR(0, 1)
#if N == 2
  :: d_step { STILL && !(WELL(0, 1) && WELL(1, 0)) -> LOG("still %d %d %d\n", own[0], own[1], 0) assert(false) }
  NODE(0, 1, 1)
  NODE(1, 0, 0)
  :: d_step { !cut && cuts > 0 && !EVERYONE_DONE -> LOG("cut %d %d %d\n", 0, 0, 0)
       cuts--; cut = 1; healing = 1;
       lose(0, 1); lose(1, 0);
       sends[T(0, 1, 0)] = 0; sends[T(0, 1, 1)] = 0; sends[T(1, 0, 0)] = 0; sends[T(1, 0, 1)] = 0;
       reads[T(0, 1, 0)] = 0; reads[T(0, 1, 1)] = 0; reads[T(1, 0, 0)] = 0; reads[T(1, 0, 1)] = 0;
       stale[T(0, 1, 0)] = 1; stale[T(0, 1, 1)] = 1; stale[T(1, 0, 0)] = 1; stale[T(1, 0, 1)] = 1;
       heardFresh[P(0, 1)] = 0; heardFresh[P(1, 0)] = 0 } FAULT_OVER
  :: d_step { cut -> LOG("heal %d %d %d\n", 0, 0, 0) cut = 0; CHECK }
  /* What is sent makes handshakes. */
  :: d_step { healing && !cut && WORKS(0, 1, egress[P(0, 1)]) && WORKS(1, 0, egress[P(1, 0)]) -> LOG("healed %d %d %d\n", 0, 0, 0)
       healing = 0; CHECK }
#else
  PAIR(0, 2)
#ifndef STAR
  PAIR(1, 2)
#endif
  NODE(0, 1, 2)
#ifndef STAR
  NODE(1, 0, 2)
  NODE(2, 0, 1)
#endif
#endif
  :: EVERYONE_DONE -> break
  od;
#ifdef ENDS
  goto over;
progressFault:
  skip; goto again;
over:
  skip
#endif
}
