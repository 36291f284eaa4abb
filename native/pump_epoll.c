// The receiving half of a turn, by epoll (level-triggered) and recvmmsg.
// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "pump.h"

#ifndef IPV6_ORIGDSTADDR
#define IPV6_ORIGDSTADDR 74
#endif

// The least a socket is given while others wait too: a system call for less is not worth it.
#define MIN_QUOTA 8

static void put_v4(uint8_t *addr16, const struct in_addr *address) {
  memset(addr16, 0, 10);
  addr16[10] = addr16[11] = 0xff;
  memcpy(addr16 + 12, address, 4);
}

static uint32_t *new_record(struct pump *pump, uint32_t slot, const struct member *member) {
  uint32_t *record = pump->rx + (size_t)slot * RX_WORDS;
  memset(record, 0, RX_WORDS * sizeof(*record));
  record[RX_TAG] = member->tag;
  record[RX_FAMILY] = member->family;
  record[RX_OFFSET] = slot * pump->stride;
  return record;
}

static void put_error(struct pump *pump, uint32_t slot, const struct member *member, int error) {
  uint32_t *record = new_record(pump, slot, member);
  record[RX_FLAGS] = RX_FLAG_ERROR;
  record[RX_LENGTH] = (uint32_t)error;
}

// True when the message carries the address the client sent to.
static bool put_destination(uint32_t *record, struct msghdr *message) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_ORIGDSTADDR &&
        c->cmsg_len >= CMSG_LEN(sizeof(struct sockaddr_in))) {
      struct sockaddr_in address;
      memcpy(&address, CMSG_DATA(c), sizeof(address));
      put_v4((uint8_t *)(record + RX_DESTINATION), &address.sin_addr);
      record[RX_DESTINATION_PORT] = ntohs(address.sin_port);
      return true;
    }
    if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_ORIGDSTADDR &&
        c->cmsg_len >= CMSG_LEN(sizeof(struct sockaddr_in6))) {
      struct sockaddr_in6 address;
      memcpy(&address, CMSG_DATA(c), sizeof(address));
      memcpy(record + RX_DESTINATION, &address.sin6_addr, 16);
      record[RX_DESTINATION_PORT] = ntohs(address.sin6_port);
      return true;
    }
  }
  return false;
}

static void put_listener(struct pump *pump, uint32_t slot, uint32_t *record) {
  struct msghdr *message = &pump->in_listener[slot].msg_hdr;
  const union sock_address *name = &pump->in_name[slot];
  if (name->any.sa_family == AF_INET) {
    put_v4((uint8_t *)(record + RX_SOURCE), &name->v4.sin_addr);
    record[RX_SOURCE_PORT] = ntohs(name->v4.sin_port);
  } else {
    memcpy(record + RX_SOURCE, &name->v6.sin6_addr, 16);
    record[RX_SOURCE_PORT] = ntohs(name->v6.sin6_port);
  }
  if (!put_destination(record, message)) record[RX_FLAGS] |= RX_FLAG_NO_DESTINATION;
  // The kernel has written what it used; the next receive offers all of it again.
  message->msg_namelen = sizeof(union sock_address);
  message->msg_controllen = sizeof(union control_in);
}

// At most `quota` datagrams into the slots from `slot`; returns how many slots were used.
static uint32_t receive_member(struct pump *pump, struct member *member, uint32_t slot, uint32_t quota) {
  bool listener = member->kind == PUMP_LISTENER;
  struct mmsghdr *messages = (listener ? pump->in_listener : pump->in_upstream) + slot;
  int count;
  do count = recvmmsg(member->fd, messages, quota, MSG_DONTWAIT, NULL);
  while (count < 0 && errno == EINTR);
  if (count < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    put_error(pump, slot, member, errno);
    return 1;
  }
  for (int i = 0; i < count; i++) {
    uint32_t *record = new_record(pump, slot + (uint32_t)i, member);
    record[RX_LENGTH] = messages[i].msg_len;
    if (messages[i].msg_hdr.msg_flags & MSG_TRUNC) record[RX_FLAGS] |= RX_FLAG_TRUNCATED;
    if (listener) {
      put_listener(pump, slot + (uint32_t)i, record);
    } else {
      memcpy(record + RX_SOURCE, member->peer, 16);
      record[RX_SOURCE_PORT] = member->peer_port;
    }
  }
  return (uint32_t)count;
}

static uint32_t put_pending(struct pump *pump) {
  uint32_t used = 0;
  while (pump->pending != NULL && used < pump->slots) {
    struct member *member = pump->pending;
    pump->pending = member->pending;
    put_error(pump, used++, member, member->pending_error);
    member->pending_error = 0;
  }
  return used;
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
  uint32_t used = put_pending(pump);
  uint32_t count = collect(pump, events);
  if (count == 0) return used;

  // First round: a fair share for each, from where the last turn stopped. Second: what is left to those that took
  // their whole share. What does not fit stays in the sockets; epoll reports it again.
  uint32_t start = pump->start % count, quota = pump->slots / count, served = 0, hungry = 0;
  if (quota < MIN_QUOTA) quota = MIN_QUOTA;
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
