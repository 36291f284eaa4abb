// The receiving half of a turn, by epoll (level-triggered) and recvmmsg.
// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <unistd.h>

#include "pump.h"

// At most `quota` datagrams into the slots from `slot`; returns how many slots were used.
static uint32_t receive_member(struct pump *pump, struct member *member, uint32_t slot, uint32_t quota) {
  bool listener = member->kind == PUMP_LISTENER;
  struct mmsghdr *messages = (listener ? pump->in_listener : pump->in_upstream) + slot;
  int count;
  do count = recvmmsg(member->fd, messages, quota, MSG_DONTWAIT, NULL);
  while (count < 0 && errno == EINTR);
  if (count < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    pump_record_error(pump, slot, member, errno);
    return 1;
  }
  for (int i = 0; i < count; i++) {
    uint32_t *record = pump_record(pump, slot + (uint32_t)i, member);
    record[RX_LENGTH] = messages[i].msg_len;
    if (messages[i].msg_hdr.msg_flags & MSG_TRUNC) record[RX_FLAGS] |= RX_FLAG_TRUNCATED;
    if (listener) {
      struct msghdr *message = &messages[i].msg_hdr;
      pump_record_listener(record, &pump->in_name[slot + (uint32_t)i], message);
      // The kernel has written what it used; the next receive offers all of it again.
      message->msg_namelen = sizeof(union sock_address);
      message->msg_controllen = sizeof(union control_in);
    } else {
      pump_record_upstream(record, member);
    }
  }
  return (uint32_t)count;
}

// Sockets with something to read, in the kernel's order; kicks are taken on the way.
static uint32_t collect(struct pump *pump, int events) {
  uint32_t count = 0;
  for (int i = 0; i < events; i++) {
    uint64_t key = pump->events[i].data.u64;
    struct member *member = pump_find(pump, (uint32_t)key);
    if (member == NULL || member->generation != (uint32_t)(key >> 32)) continue;
    if (member->kind == PUMP_KICK) {
      uint64_t value;
      if (read(member->fd, &value, sizeof(value)) > 0) pump->header[HEADER_KICKED] = 1;
    } else {
      pump->ready[count++] = member;
    }
  }
  return count;
}

int64_t pump_epoll_receive(struct pump *pump, int timeout_ms) {
  int events = epoll_wait(pump->epoll_fd, pump->events, MAX_EVENTS, pump->pending == NULL ? timeout_ms : 0);
  if (events < 0) {
    if (errno != EINTR) return -1;
    events = 0;
  }
  uint32_t used = pump_put_pending(pump, 0);
  uint32_t count = collect(pump, events);
  if (count == 0) return used;

  // First round: a fair share for each, from where the last turn stopped. Second: what is left to those that took
  // their whole share. What does not fit stays in the sockets; epoll reports it again.
  uint32_t start = pump->start % count, quota = pump->slots / count, served = 0, hungry = 0;
  if (quota < PUMP_MIN_QUOTA) quota = PUMP_MIN_QUOTA;
  for (; served < count && used < pump->slots; served++) {
    struct member *member = pump->ready[(start + served) % count];
    uint32_t room = pump->slots - used, share = quota < room ? quota : room;
    uint32_t got = receive_member(pump, member, used, share);
    used += got;
    // Entries before start + served have been visited, so the list is reused for the second round by swapping out
    // those with nothing more; marking is enough.
    if (got < share) pump->ready[(start + served) % count] = NULL;
    else hungry++;
  }
  pump->start = start + served;
  for (uint32_t i = 0; i < served && hungry > 0 && used < pump->slots; i++) {
    struct member *member = pump->ready[(start + i) % count];
    if (member == NULL) continue;
    used += receive_member(pump, member, used, pump->slots - used);
  }
  return used;
}
