// Raw io_uring: set-up, submission, completion, buffers. io_uring_setup(2), io_uring_enter(2), io_uring_register(2).
// SPDX-License-Identifier: Apache-2.0
#include "uring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// Work that completes runs within uring_enter and nowhere else (kernel 6.1); a request that cannot be issued does not
// keep those behind it from being submitted.
#define SETUP_FLAGS                                                                                                   \
  (IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |                  \
   IORING_SETUP_DEFER_TASKRUN)
#define FEATURES (IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP)

static bool map(struct uring_memory *memory, size_t size, int fd, off_t offset) {
  int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED | MAP_POPULATE;
  void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, offset);
  if (at == MAP_FAILED) return false;
  memory->at = at;
  memory->size = size;
  return true;
}

static void unmap(struct uring_memory *memory) {
  if (memory->at != NULL) munmap(memory->at, memory->size);
  memory->at = NULL;
}

static bool map_rings(struct uring *ring, const struct io_uring_params *p) {
  size_t submissions = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
  size_t completions = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
  size_t size = submissions > completions ? submissions : completions;
  if (!map(&ring->rings, size, ring->fd, IORING_OFF_SQ_RING) ||
      !map(&ring->submissions, p->sq_entries * sizeof(struct io_uring_sqe), ring->fd, IORING_OFF_SQES))
    return false;
  uint8_t *at = ring->rings.at;
  ring->sq_head = (uint32_t *)(at + p->sq_off.head);
  ring->sq_tail = (uint32_t *)(at + p->sq_off.tail);
  ring->cq_head = (uint32_t *)(at + p->cq_off.head);
  ring->cq_tail = (uint32_t *)(at + p->cq_off.tail);
  ring->sq_mask = *(uint32_t *)(at + p->sq_off.ring_mask);
  ring->cq_mask = *(uint32_t *)(at + p->cq_off.ring_mask);
  ring->cqes = (struct io_uring_cqe *)(at + p->cq_off.cqes);
  ring->sqes = ring->submissions.at;
  ring->sq_entries = p->sq_entries;
  ring->tail = *ring->sq_tail;
  uint32_t *array = (uint32_t *)(at + p->sq_off.array);
  for (uint32_t i = 0; i < p->sq_entries; i++) array[i] = i;
  return true;
}

static bool make_buffers(struct uring *ring, const char **call) {
  size_t count = ring->buffer_count;
  *call = "mmap";
  if (!map(&ring->buffer_memory, count * sizeof(struct io_uring_buf), -1, 0) ||
      !map(&ring->pool_memory, count * ring->buffer_size, -1, 0))
    return false;
  ring->buffers = ring->buffer_memory.at;
  ring->pool = ring->pool_memory.at;
  ring->length = calloc(count, sizeof(*ring->length));
  ring->next = calloc(count, sizeof(*ring->next));
  if (ring->length == NULL || ring->next == NULL) return false;
  struct io_uring_buf_reg registration = {
      .ring_addr = (uint64_t)(uintptr_t)ring->buffers, .ring_entries = (uint32_t)count, .bgid = URING_GROUP};
  *call = "io_uring_register";
  if (syscall(SYS_io_uring_register, ring->fd, IORING_REGISTER_PBUF_RING, &registration, 1) < 0) return false;
  for (uint32_t i = 0; i < count; i++) uring_give_back(ring, i);
  return true;
}

bool uring_open(struct uring *ring, uint32_t entries, uint32_t buffer_count, uint32_t buffer_size, const char **call) {
  struct io_uring_params parameters = {.flags = SETUP_FLAGS};
  // Every buffer and every submission may be a completion at once; what does not fit the kernel keeps (NODROP).
  parameters.cq_entries = 2 * (entries > buffer_count ? entries : buffer_count);
  memset(ring, 0, sizeof(*ring));
  ring->buffer_count = buffer_count;
  ring->buffer_size = buffer_size;
  *call = "io_uring_setup";
  ring->fd = (int)syscall(SYS_io_uring_setup, entries, &parameters);
  if (ring->fd < 0) return false;
  errno = EOPNOTSUPP;
  if ((parameters.features & FEATURES) == FEATURES) {
    *call = "mmap";
    if (map_rings(ring, &parameters) && make_buffers(ring, call)) return true;
  }
  int error = errno;
  uring_close(ring);
  errno = error;
  return false;
}

void uring_close(struct uring *ring) {
  if (ring->fd >= 0) close(ring->fd);
  ring->fd = -1;
  unmap(&ring->rings);
  unmap(&ring->submissions);
  unmap(&ring->buffer_memory);
  unmap(&ring->pool_memory);
  free(ring->length);
  free(ring->next);
  ring->length = ring->next = NULL;
}

uint32_t uring_waiting(const struct uring *ring) {
  return ring->tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE);
}

struct io_uring_sqe *uring_next(struct uring *ring) {
  if (uring_waiting(ring) == ring->sq_entries) return NULL;
  struct io_uring_sqe *sqe = &ring->sqes[ring->tail++ & ring->sq_mask];
  memset(sqe, 0, sizeof(*sqe));
  return sqe;
}

void uring_take_back(struct uring *ring, void (*taken)(void *context, const struct io_uring_sqe *sqe), void *context) {
  uint32_t head = __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE);
  for (uint32_t i = head; i != ring->tail; i++) taken(context, &ring->sqes[i & ring->sq_mask]);
  ring->tail = head;
  __atomic_store_n(ring->sq_tail, head, __ATOMIC_RELEASE);
}

int uring_enter(struct uring *ring, uint32_t least, int timeout_ms) {
  struct __kernel_timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000LL};
  struct io_uring_getevents_arg argument = {.ts = timeout_ms < 0 ? 0 : (uint64_t)(uintptr_t)&timeout};
  __atomic_store_n(ring->sq_tail, ring->tail, __ATOMIC_RELEASE);
  long entered = syscall(SYS_io_uring_enter, ring->fd, uring_waiting(ring), least,
                         IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument, sizeof(argument));
  return entered < 0 ? errno : 0;
}

struct io_uring_cqe *uring_peek(const struct uring *ring) {
  uint32_t head = *ring->cq_head;
  if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE)) return NULL;
  return &ring->cqes[head & ring->cq_mask];
}

void uring_seen(struct uring *ring) { __atomic_store_n(ring->cq_head, *ring->cq_head + 1, __ATOMIC_RELEASE); }

uint8_t *uring_buffer(const struct uring *ring, uint32_t id) { return ring->pool + (size_t)id * ring->buffer_size; }

void uring_give_back(struct uring *ring, uint32_t id) {
  struct io_uring_buf *buffer = &ring->buffers->bufs[ring->buffer_tail & (ring->buffer_count - 1)];
  buffer->addr = (uint64_t)(uintptr_t)uring_buffer(ring, id);
  buffer->len = ring->buffer_size;
  buffer->bid = (uint16_t)id;
  __atomic_store_n(&ring->buffers->tail, ++ring->buffer_tail, __ATOMIC_RELEASE);
}
