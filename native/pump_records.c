// Receive records: what both ways to wait (pump_epoll.c, pump_uring.c) tell JavaScript.
// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <string.h>

#include "pump.h"

#ifndef IPV6_ORIGDSTADDR
#define IPV6_ORIGDSTADDR 74
#endif

static void put_v4(uint8_t *addr16, const struct in_addr *address) {
  memset(addr16, 0, 10);
  addr16[10] = addr16[11] = 0xff;
  memcpy(addr16 + 12, address, 4);
}

uint32_t *pump_record(struct pump *pump, uint32_t slot, const struct member *member) {
  uint32_t *record = pump->rx + (size_t)slot * RX_WORDS;
  memset(record, 0, RX_WORDS * sizeof(*record));
  record[RX_TAG] = member->tag;
  record[RX_FAMILY] = member->family;
  record[RX_OFFSET] = slot * pump->stride;
  return record;
}

void pump_record_error(struct pump *pump, uint32_t slot, const struct member *member, int error) {
  uint32_t *record = pump_record(pump, slot, member);
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

void pump_record_listener(uint32_t *record, const union sock_address *name, struct msghdr *message) {
  if (name->any.sa_family == AF_INET) {
    put_v4((uint8_t *)(record + RX_SOURCE), &name->v4.sin_addr);
    record[RX_SOURCE_PORT] = ntohs(name->v4.sin_port);
  } else {
    memcpy(record + RX_SOURCE, &name->v6.sin6_addr, 16);
    record[RX_SOURCE_PORT] = ntohs(name->v6.sin6_port);
  }
  if (!put_destination(record, message)) record[RX_FLAGS] |= RX_FLAG_NO_DESTINATION;
}

void pump_record_upstream(uint32_t *record, const struct member *member) {
  memcpy(record + RX_SOURCE, member->peer, 16);
  record[RX_SOURCE_PORT] = member->peer_port;
}

uint32_t pump_put_pending(struct pump *pump, uint32_t used) {
  while (pump->pending != NULL && used < pump->slots) {
    struct member *member = pump->pending;
    pump->pending = member->pending;
    pump_record_error(pump, used++, member, member->pending_error);
    member->pending_error = 0;
  }
  return used;
}

void pump_remember_error(struct pump *pump, struct member *member, int error) {
  if (member->kind != PUMP_UPSTREAM && member->kind != PUMP_LISTENER) return;
  if (member->pending_error == 0) {
    member->pending = pump->pending;
    pump->pending = member;
  }
  member->pending_error = error;
}
