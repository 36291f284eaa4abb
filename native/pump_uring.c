// The turn by io_uring: sends, waits and receives in one system call.
//
// Every socket has a multishot receive with the kernel, which fills buffers of the ring as datagrams come. What a turn
// has no slot for stays queued by socket, so that a flooded one cannot starve the rest; a socket that ran the buffers
// out is armed again only when its queue is empty, so that it cannot take each buffer that becomes free either.
// Payloads are copied to the slots (a hundred octets): the kernel never holds memory of JavaScript.
// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pump.h"
#include "uring.h"

#define MIN_BUFFERS 256u
#define MAX_BUFFERS 32768u
#define MAX_ENTRIES 1024u
// Room for the address before the control data, which must be aligned.
#define NAME_SPACE ((sizeof(union sock_address) + 7) / 8 * 8)
#define HEAD_SPACE (sizeof(struct io_uring_recvmsg_out) + NAME_SPACE + sizeof(union control_in))
// A submission that the kernel does not take for want of memory is tried so often.
#define ATTEMPTS 8

// user_data: generation and tag of a member, or generation 0 (no member has it) and the number of an out record.
#define CANCEL_KEY ((uint64_t)UINT32_MAX)
#define TIMER_KEY ((uint64_t)UINT32_MAX - 1)

static const struct msghdr listener_template = {.msg_namelen = NAME_SPACE, .msg_controllen = sizeof(union control_in)};

static uint32_t power_of_two(uint32_t least, uint32_t most, uint32_t wanted) {
  while (least < wanted && least < most) least *= 2;
  return least;
}

bool pump_uring_open(struct pump *pump, const char **call) {
  *call = "calloc";
  struct uring *ring = calloc(1, sizeof(*ring));
  if (ring == NULL) return false;
  uint32_t buffers = power_of_two(MIN_BUFFERS, MAX_BUFFERS, pump->slots);
  // One octet more than a slot has: what is longer than a slot is seen to be.
  uint32_t size = (uint32_t)(HEAD_SPACE + pump->stride + 1 + 63) / 64 * 64;
  if (!uring_open(ring, power_of_two(32, MAX_ENTRIES, pump->max_out + 16), buffers, size, call)) {
    int error = errno;
    free(ring);
    errno = error;
    return false;
  }
  pump->uring = ring;
  return true;
}

// --- members -----------------------------------------------------------------------------------------------------

static uint64_t key_of(const struct member *member) { return (uint64_t)member->generation << 32 | member->tag; }

static void push_unarmed(struct uring *ring, struct member *member) {
  if (member->in_unarmed) return;
  member->in_unarmed = true;
  member->next_unarmed = NULL;
  if (ring->unarmed_last == NULL) ring->unarmed_first = member;
  else ring->unarmed_last->next_unarmed = member;
  ring->unarmed_last = member;
}

static struct member *pop_unarmed(struct uring *ring) {
  struct member *member = ring->unarmed_first;
  ring->unarmed_first = member->next_unarmed;
  if (ring->unarmed_first == NULL) ring->unarmed_last = NULL;
  member->in_unarmed = false;
  return member;
}

static void push_ready(struct uring *ring, struct member *member) {
  if (member->in_ready) return;
  member->in_ready = true;
  member->next_ready = NULL;
  if (ring->ready_last == NULL) ring->ready_first = member;
  else ring->ready_last->next_ready = member;
  ring->ready_last = member;
  ring->ready_count++;
}

static struct member *pop_ready(struct uring *ring) {
  struct member *member = ring->ready_first;
  ring->ready_first = member->next_ready;
  if (ring->ready_first == NULL) ring->ready_last = NULL;
  member->in_ready = false;
  ring->ready_count--;
  return member;
}

static uint32_t pop_queue(struct uring *ring, struct member *member) {
  uint32_t id = member->queue_first;
  member->queue_first = ring->next[id];
  return id;
}

void pump_uring_add(struct pump *pump, struct member *member) {
  member->queue_first = member->queue_last = NONE;
  push_unarmed(pump->uring, member);
}

static bool arm(struct uring *ring, struct member *member) {
  struct io_uring_sqe *sqe = uring_next(ring);
  if (sqe == NULL) return false;
  sqe->fd = member->fd;
  sqe->user_data = key_of(member);
  if (member->kind == PUMP_KICK) {
    sqe->opcode = IORING_OP_POLL_ADD;
    sqe->len = IORING_POLL_ADD_MULTI;
    sqe->poll32_events = POLLIN;
  } else {
    sqe->flags = IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_GROUP;
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->opcode = member->kind == PUMP_LISTENER ? IORING_OP_RECVMSG : IORING_OP_RECV;
    if (member->kind == PUMP_LISTENER) {
      sqe->addr = (uint64_t)(uintptr_t)&listener_template;
      sqe->len = 1;
    }
  }
  member->armed = true;
  member->starved = false;
  return true;
}

// --- completions -------------------------------------------------------------------------------------------------

struct turn {
  struct pump *pump;
  uint32_t outgoing, refused;
};

static void refuse(void *context, const struct io_uring_sqe *sqe, int error) {
  struct turn *turn = context;
  if (sqe->user_data >= turn->outgoing) return;
  turn->pump->out[(size_t)sqe->user_data * OUT_WORDS + OUT_ERRNO] = (uint32_t)error;
  turn->refused++;
}

static void on_sent(struct turn *turn, uint32_t record, int error) {
  struct pump *pump = turn->pump;
  if (record >= turn->outgoing || error <= 0) return;
  uint32_t *out = pump->out + (size_t)record * OUT_WORDS;
  // On a connected socket this is nearly always the answer to an earlier datagram, and this one was not sent.
  if (error == ECONNREFUSED && out[OUT_KIND] == OUT_CONNECTED) {
    struct member *member = pump_find(pump, out[OUT_TAG]);
    if (member != NULL) {
      pump_remember_error(pump, member, error);
      ssize_t sent;
      do sent = sendmsg(member->fd, &pump->out_message[record].msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
      while (sent < 0 && errno == EINTR);
      if (sent >= 0) return;
      error = errno;
    }
  }
  out[OUT_ERRNO] = (uint32_t)error;
  turn->refused++;
}

static void enqueue(struct uring *ring, struct member *member, uint32_t id, uint32_t length) {
  ring->length[id] = length;
  ring->next[id] = NONE;
  if (member->queue_first == NONE) member->queue_first = id;
  else ring->next[member->queue_last] = id;
  member->queue_last = id;
  push_ready(ring, member);
}

// A kick may come while a member is removed, too; the next turn tells of it.
static void on_kick(struct uring *ring, const struct member *member) {
  uint64_t value;
  if (read(member->fd, &value, sizeof(value)) > 0) ring->kicked = true;
}

static void on_received(struct pump *pump, struct member *member, const struct io_uring_cqe *cqe) {
  struct uring *ring = pump->uring;
  bool buffer = (cqe->flags & IORING_CQE_F_BUFFER) != 0;
  uint32_t id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
  if (buffer && id >= ring->buffer_count) return;
  if (buffer && (member == NULL || member->kind == PUMP_KICK || cqe->res < 0)) uring_give_back(ring, id);
  if (member == NULL) return;
  if (member->kind == PUMP_KICK) on_kick(ring, member);
  else if (cqe->res >= 0 && buffer) enqueue(ring, member, id, (uint32_t)cqe->res);
  else if (cqe->res == -ENOBUFS) member->starved = true;
  else if (cqe->res < 0 && cqe->res != -ECANCELED && cqe->res != -EAGAIN && cqe->res != -EINTR &&
           cqe->res != -EBADF)
    pump_remember_error(pump, member, -cqe->res);
  if (cqe->flags & IORING_CQE_F_MORE) return;
  member->armed = false;
  // A descriptor that was closed before it was removed is silent, as with epoll.
  if (cqe->res != -EBADF) push_unarmed(ring, member);
}

static void reap(struct turn *turn) {
  struct pump *pump = turn->pump;
  for (struct io_uring_cqe *cqe; (cqe = uring_peek(pump->uring)) != NULL; uring_seen(pump->uring)) {
    uint32_t generation = (uint32_t)(cqe->user_data >> 32);
    if (generation == 0) {
      if (cqe->user_data == TIMER_KEY) pump->uring->wakes_at = 0;
      else on_sent(turn, (uint32_t)cqe->user_data, -cqe->res);
      continue;
    }
    struct member *member = pump_find(pump, (uint32_t)cqe->user_data);
    on_received(pump, member != NULL && member->generation == generation ? member : NULL, cqe);
  }
}

static void give_up(void *context, const struct io_uring_sqe *sqe) {
  struct turn *turn = context;
  struct member *member = pump_find(turn->pump, (uint32_t)sqe->user_data);
  if (sqe->user_data == TIMER_KEY) turn->pump->uring->wakes_at = 0;
  else if (sqe->user_data >> 32 == 0) refuse(context, sqe, EAGAIN);
  else if (member != NULL) {
    member->armed = false;
    push_unarmed(turn->pump->uring, member);
  }
}

// Everything written is with the kernel after it, or is refused. Returns 0 or the errno that makes the ring useless.
static int submit(struct turn *turn, uint32_t least, int timeout_ms) {
  struct uring *ring = turn->pump->uring;
  for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
    int error = uring_enter(ring, least, timeout_ms);
    reap(turn);
    bool passing = error == 0 || error == ETIME || error == EINTR || error == EAGAIN || error == EBUSY || error == ENOMEM;
    if (!passing) return error;
    if (uring_waiting(ring) == 0) return 0;
  }
  uring_take_back(ring, give_up, turn);
  return 0;
}

// --- the turn ----------------------------------------------------------------------------------------------------

static int write_sends(struct turn *turn) {
  struct pump *pump = turn->pump;
  for (uint32_t i = 0; i < turn->outgoing; i++) {
    uint32_t *record = pump->out + (size_t)i * OUT_WORDS;
    int error;
    struct member *member = pump_route(pump, record, &error);
    record[OUT_ERRNO] = member == NULL ? (uint32_t)error : 0;
    if (member == NULL) {
      turn->refused++;
      continue;
    }
    struct io_uring_sqe *sqe = uring_next(pump->uring);
    if (sqe == NULL) {
      int failed = submit(turn, 0, 0);
      if (failed != 0) return failed;
      if ((sqe = uring_next(pump->uring)) == NULL) return EBUSY;
    }
    pump_build(pump, i, record);
    // Done or failed within the same call: the payload is JavaScript's again after the turn.
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    sqe->msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    sqe->fd = member->fd;
    sqe->user_data = i;
    const struct msghdr *message = &pump->out_message[i].msg_hdr;
    if (record[OUT_KIND] == OUT_CONNECTED) {
      sqe->opcode = IORING_OP_SEND;
      sqe->addr = (uint64_t)(uintptr_t)message->msg_iov->iov_base;
      sqe->len = (uint32_t)message->msg_iov->iov_len;
    } else {
      sqe->opcode = IORING_OP_SENDMSG;
      sqe->addr = (uint64_t)(uintptr_t)message;
      sqe->len = 1;
    }
  }
  return 0;
}

// One timeout stays with the kernel over many turns: a wait with a timeout of its own sets and cancels a timer, which
// twice a query is more than the query's own look-ups. Returns the timeout that the wait itself needs, negative for none.
static int arm_timer(struct uring *ring, int timeout_ms) {
  struct timespec now;
  if (clock_gettime(CLOCK_MONOTONIC, &now) < 0) return timeout_ms;
  int64_t until = ((int64_t)now.tv_sec * 1000 + timeout_ms) * 1000000 + now.tv_nsec;
  if (ring->wakes_at != 0) return ring->wakes_at <= until ? -1 : timeout_ms;
  struct io_uring_sqe *sqe = uring_next(ring);
  if (sqe == NULL) return timeout_ms;
  ring->timeout = (struct __kernel_timespec){.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
  sqe->opcode = IORING_OP_TIMEOUT;
  sqe->fd = -1;
  sqe->addr = (uint64_t)(uintptr_t)&ring->timeout;
  sqe->len = 1;
  sqe->timeout_flags = IORING_TIMEOUT_ABS;
  sqe->user_data = TIMER_KEY;
  ring->wakes_at = until;
  return -1;
}

static int arm_members(struct turn *turn) {
  struct uring *ring = turn->pump->uring;
  for (struct member *last = ring->unarmed_last, *member = NULL; last != NULL && member != last;) {
    member = pop_unarmed(ring);
    if (member->armed) continue;
    if (member->starved && member->queue_first != NONE) {
      push_unarmed(ring, member);
    } else if (!arm(ring, member)) {
      push_unarmed(ring, member);
      int failed = submit(turn, 0, 0);
      if (failed != 0) return failed;
      // Completions may have put the members into another order.
      last = ring->unarmed_last;
      member = NULL;
    }
  }
  return 0;
}

static void hand_over(struct pump *pump, struct member *member, uint32_t slot) {
  struct uring *ring = pump->uring;
  uint32_t id = pop_queue(ring, member), length = ring->length[id];
  uint32_t *record = pump_record(pump, slot, member);
  uint8_t *payload = uring_buffer(ring, id);
  if (member->kind == PUMP_LISTENER) {
    const struct io_uring_recvmsg_out *head = (const struct io_uring_recvmsg_out *)payload;
    uint8_t *name = payload + sizeof(*head), *control = name + NAME_SPACE;
    // Never so for UDP; a buffer that was used before must not lend its address.
    if (head->namelen == 0) memset(name, 0, NAME_SPACE);
    struct msghdr message = {.msg_control = control, .msg_controllen = head->controllen};
    pump_record_listener(record, (const union sock_address *)name, &message);
    payload += HEAD_SPACE;
    length = length < HEAD_SPACE ? 0 : length - (uint32_t)HEAD_SPACE;
  } else {
    pump_record_upstream(record, member);
  }
  if (length > pump->stride) {
    length = pump->stride;
    record[RX_FLAGS] |= RX_FLAG_TRUNCATED;
  }
  record[RX_LENGTH] = length;
  memcpy(pump->buffer + record[RX_OFFSET], payload, length);
  uring_give_back(ring, id);
}

static uint32_t hand_over_some(struct pump *pump, struct member *member, uint32_t used, uint32_t share) {
  uint32_t end = used + share;
  while (used < end && member->queue_first != NONE) hand_over(pump, member, used++);
  if (member->queue_first != NONE) push_ready(pump->uring, member);
  return used;
}

// First a fair share for each, from where the last turn stopped; then what is left to those that have more.
static uint32_t hand_over_all(struct pump *pump, uint32_t used) {
  struct uring *ring = pump->uring;
  uint32_t count = ring->ready_count;
  if (count == 0) return used;
  uint32_t quota = pump->slots / count;
  if (quota < PUMP_MIN_QUOTA) quota = PUMP_MIN_QUOTA;
  for (uint32_t i = 0; i < count && used < pump->slots; i++) {
    uint32_t room = pump->slots - used;
    used = hand_over_some(pump, pop_ready(ring), used, quota < room ? quota : room);
  }
  while (ring->ready_count > 0 && used < pump->slots)
    used = hand_over_some(pump, pop_ready(ring), used, pump->slots - used);
  return used;
}

int64_t pump_uring_turn(struct pump *pump, uint32_t outgoing, int timeout_ms) {
  struct turn turn = {.pump = pump, .outgoing = outgoing};
  struct uring *ring = pump->uring;
  // What is queued or remembered needs no wait.
  bool at_once = timeout_ms == 0 || pump->pending != NULL || ring->ready_count > 0 || ring->kicked;
  uint32_t used = pump_put_pending(pump, 0);
  int failed = write_sends(&turn);
  if (failed == 0) failed = arm_members(&turn);
  if (failed == 0 && !at_once) timeout_ms = arm_timer(ring, timeout_ms);
  if (failed == 0) failed = submit(&turn, at_once ? 0 : 1, timeout_ms);
  pump->header[HEADER_SEND_ERRORS] = (int32_t)turn.refused;
  pump->header[HEADER_KICKED] = ring->kicked;
  ring->kicked = false;
  if (failed != 0) {
    errno = failed;
    return -1;
  }
  used = pump_put_pending(pump, used);
  return hand_over_all(pump, used);
}

// --- leaving -----------------------------------------------------------------------------------------------------

static void cancel(struct pump *pump, uint64_t key, uint32_t flags) {
  struct turn turn = {.pump = pump};
  struct io_uring_sqe *sqe = uring_next(pump->uring);
  if (sqe == NULL) return;
  sqe->opcode = IORING_OP_ASYNC_CANCEL;
  sqe->user_data = CANCEL_KEY;
  sqe->addr = key;
  sqe->cancel_flags = flags;
  // The request lets go of its socket when its completion has run, which is within this call.
  (void)submit(&turn, 1, 1000);
}

void pump_uring_remove(struct pump *pump, struct member *member) {
  struct uring *ring = pump->uring;
  if (member->armed) cancel(pump, key_of(member), 0);
  while (member->queue_first != NONE) uring_give_back(ring, pop_queue(ring, member));
  for (uint32_t n = ring->ready_count; n > 0; n--) {
    struct member *other = pop_ready(ring);
    if (other != member) push_ready(ring, other);
  }
  for (struct member *last = ring->unarmed_last, *other = NULL; last != NULL && other != last;) {
    other = pop_unarmed(ring);
    if (other != member) push_unarmed(ring, other);
  }
}

void pump_uring_close(struct pump *pump) {
  if (pump->uring == NULL) return;
  cancel(pump, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
  uring_close(pump->uring);
  free(pump->uring);
  pump->uring = NULL;
}
