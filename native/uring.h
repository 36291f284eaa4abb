// A ring of io_uring(7) with one ring of provided buffers, by plain system calls. No policy: pump_uring.c has it.
// SPDX-License-Identifier: Apache-2.0
#ifndef SEKISHO_URING_H
#define SEKISHO_URING_H

#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uring_memory {
  void *at;
  size_t size;
};

struct uring {
  int fd;
  // Shared with the kernel. Ours: the tail of submissions, the head of completions.
  uint32_t *sq_head, *sq_tail, *cq_head, *cq_tail;
  uint32_t sq_mask, cq_mask, sq_entries;
  struct io_uring_sqe *sqes;
  struct io_uring_cqe *cqes;
  // Submissions written and not yet shown to the kernel end here.
  uint32_t tail;
  struct uring_memory rings, submissions;

  // Buffers: the kernel takes from the head, what is free again goes to the tail.
  struct io_uring_buf_ring *buffers;
  uint32_t buffer_count, buffer_size;
  uint16_t buffer_tail;
  uint8_t *pool;
  struct uring_memory buffer_memory, pool_memory;
  // Of a buffer that holds a datagram in a queue: its length, and the next of the queue.
  uint32_t *length, *next;

  // Members to be armed before the next wait, and members with datagrams, each in order.
  struct member *unarmed_first, *unarmed_last, *ready_first, *ready_last;
  uint32_t ready_count;
  bool kicked;
  // A timeout is with the kernel until this time of CLOCK_MONOTONIC, ns; 0 when none is.
  int64_t wakes_at;
  struct __kernel_timespec timeout;
};

#define URING_GROUP 0

// Makes the ring for the calling thread, which alone may use it. `entries` and `buffer_count` are powers of two,
// `buffer_count` at most 32768. False with errno and *call set; then nothing is held.
bool uring_open(struct uring *ring, uint32_t entries, uint32_t buffer_count, uint32_t buffer_size, const char **call);
void uring_close(struct uring *ring);

// A zeroed submission; NULL when the queue is full until uring_enter.
struct io_uring_sqe *uring_next(struct uring *ring);
// Submissions the kernel has not taken.
uint32_t uring_waiting(const struct uring *ring);
// Takes back the submissions that the kernel has not taken, oldest first, by `taken`.
void uring_take_back(struct uring *ring, void (*taken)(void *context, const struct io_uring_sqe *sqe), void *context);
// Submits, runs what completed, and waits for `least` completions: at most `timeout_ms`, or as long as it takes when that
// is negative. 0, or an errno: ETIME and EINTR only say that the wait is over.
int uring_enter(struct uring *ring, uint32_t least, int timeout_ms);

// The oldest completion, NULL when there is none; uring_seen lets it go.
struct io_uring_cqe *uring_peek(const struct uring *ring);
void uring_seen(struct uring *ring);

uint8_t *uring_buffer(const struct uring *ring, uint32_t id);
// The kernel may fill it again.
void uring_give_back(struct uring *ring, uint32_t id);

#endif
