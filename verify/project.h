/*
 * Every state of three nodes, as one pair of them sees it, is a state of two nodes: README.md says why, and this looks whether it
 * is so. A search of two nodes writes hashes of its states to the file PAIRS; a search of three looks for its pairs there, in
 * every state. Without PAIRS in the environment nothing is done. PLACES: how many bits the number of places for hashes has,
 * twice as many as there are states. Included by rotation.pml with -DPROJECT.
 */
#include <stdint.h>

#define NODES ((int)sizeof now.own)
static const char *pairsFile;
static uint64_t *places, placesMask;
static unsigned long known, sought;
static uint8_t told[128];
static int length;

static void tell(int value) { told[length++] = (uint8_t)value; }

/*
 * The slots are alike: the pair is told as if its first node began with slot 0. An answer that is none names no slot. What may
 * still go wrong is not the pair's.
 */
static uint64_t projection(int a, int b) {
  const int nodes[2] = { a, b }, flip = now.firstSlot[a];
  length = 0;
  for (int end = 0; end < 2; end++) {
    const int i = nodes[end], ij = i * NODES + nodes[1 - end];
    tell(now.firstSlot[i] ^ flip), tell(now.since[i]), tell(now.own[i]), tell(now.published[i]), tell(now.asked[i]);
    for (int slot = 0; slot < 2; slot++) {
      const int at = ij * 2 + (slot ^ flip);
      tell(now.key[i * 2 + (slot ^ flip)]), tell(now.sends[at]), tell(now.reads[at]), tell(now.proven[at]), tell(now.stale[at]);
    }
    tell(now.egress[ij] ^ flip), tell(now.seen[ij]), tell(now.met[ij]), tell(now.heard[ij]), tell(now.heardFresh[ij]);
    tell(now.saidAck[ij]), tell(now.saidAck[ij] ? now.saidEgress[ij] ^ flip : 0), tell(now.knows[ij]);
    tell(now.mail[ij]), tell(now.mailVersion[ij]), tell(now.mailCurrent[ij]);
    tell(now.mailAck[ij]), tell(now.mailAck[ij] ? now.mailEgress[ij] ^ flip : 0);
  }
  /* FNV-1a, 64 bits; 0 is a free place. */
  uint64_t hash = 0xcbf29ce484222325u;
  for (int i = 0; i < length; i++) hash = (hash ^ told[i]) * 0x100000001b3u;
  return hash ? hash : 1;
}

static uint64_t *placeOf(uint64_t hash) {
  uint64_t at = hash ^ hash >> 32;
  while (places[at & placesMask] && places[at & placesMask] != hash) at++;
  return &places[at & placesMask];
}

static void keep(uint64_t hash) {
  uint64_t *place = placeOf(hash);
  known += *place == 0;
  *place = hash;
  if (known > placesMask / 2) fprintf(stderr, "more states of a pair than there are places\n"), _exit(2);
}

static void finish(void) {
  if (NODES == 2) {
    FILE *file = fopen(pairsFile, "wb");
    for (uint64_t i = 0; file && i <= placesMask; i++)
      if (places[i] && fwrite(&places[i], sizeof *places, 1, file) != 1) perror(pairsFile), _exit(2);
    if (!file || fclose(file)) perror(pairsFile), _exit(2);
  }
  printf("states of a pair: %lu, sought there: %lu\n", known, sought);
}

static void begin(void) {
  placesMask = (UINT64_C(1) << asGiven("PLACES", 26)) - 1;
  places = calloc(placesMask + 1, sizeof *places);
  if (!places) perror("places"), exit(2);
  if (NODES > 2) {
    uint64_t hash;
    FILE *file = fopen(pairsFile, "rb");
    while (file && fread(&hash, sizeof hash, 1, file) == 1) keep(hash);
    if (!known) fprintf(stderr, "no %s\n", pairsFile), exit(2);
  }
  atexit(finish);
}

static int seek(int a, int b) {
  sought++;
  return *placeOf(projection(a, b)) == 0;
}

/* True in a state that two nodes do not have. */
static int note(void) {
  static int asked = -1;
  if (asked < 0) asked = (pairsFile = getenv("PAIRS")) != NULL;
  if (!asked) return 0;
  if (!places) begin();
#ifdef STAR
  return seek(0, 1) || seek(0, 2);
#else
  if (NODES > 2) return seek(0, 1) || seek(0, 2) || seek(1, 2);
#endif
  keep(projection(0, 1));
  return 0;
}
/* Spin takes no call in an expression. */
#define NOTED note()
