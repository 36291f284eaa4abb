// The sending half of a turn: records become datagrams, those of one socket leave together.
// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "pump.h"

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static uint64_t sum_octets(uint64_t sum, const uint8_t *data, size_t length) {
  while (length >= 4) {
    uint32_t word;
    memcpy(&word, data, 4);
    sum += word;
    data += 4;
    length -= 4;
  }
  if (length > 0) {
    // An odd tail is padded with zero octets on the right, in either byte order (RFC 1071).
    uint8_t tail[4] = {0};
    uint32_t word;
    memcpy(tail, data, length);
    memcpy(&word, tail, 4);
    sum += word;
  }
  return sum;
}

uint16_t udp_checksum(const uint8_t *source, const uint8_t *destination, size_t address_length, const uint8_t *udp,
                      const uint8_t *payload, size_t payload_length) {
  uint32_t length = htonl((uint32_t)(payload_length + 8));
  uint32_t protocol = htonl(IPPROTO_UDP);
  uint64_t sum = sum_octets(0, source, address_length);
  sum = sum_octets(sum, destination, address_length);
  // v4 has these as 16-bit fields; in a ones' complement sum the zero upper halves make no difference.
  sum += length;
  sum += protocol;
  sum = sum_octets(sum, udp, 8);
  sum = sum_octets(sum, payload, payload_length);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  uint16_t result = (uint16_t)~sum;
  // Zero means "no checksum" in v4 and is not allowed in v6.
  return result == 0 ? 0xffff : result;
}

static bool is_mapped(const uint8_t *address) { return memcmp(address, mapped_prefix, sizeof(mapped_prefix)) == 0; }

struct member *pump_route(struct pump *pump, const uint32_t *record, int *error) {
  uint32_t offset = record[OUT_OFFSET], length = record[OUT_LENGTH], tag = record[OUT_TAG];
  *error = EINVAL;
  if (offset > pump->buffer_length || length > pump->buffer_length - offset) return NULL;
  if (record[OUT_KIND] == OUT_CONNECTED) {
    struct member *member = pump_find(pump, tag);
    if (member != NULL && member->kind == PUMP_UPSTREAM) return member;
    *error = EBADF;
    return NULL;
  }
  if (record[OUT_KIND] != OUT_REPLY || (tag != 4 && tag != 6)) return NULL;
  // Zero is no port a client can be at; the source port is the server's.
  if (record[OUT_DESTINATION_PORT] - 1 > 65534 || record[OUT_SOURCE_PORT] - 1 > 65534) return NULL;
  bool v4 = tag == 4;
  const uint8_t *octets = (const uint8_t *)record;
  if (is_mapped(octets + 4 * OUT_DESTINATION) != v4 || is_mapped(octets + 4 * OUT_SOURCE) != v4) return NULL;
  *error = EMSGSIZE;
  // 65,535 less the UDP header, and in v4 less the IP header, which counts itself.
  if (length > (v4 ? 65507u : 65527u)) return NULL;
  struct member *member = v4 ? &pump->reply4 : &pump->reply6;
  *error = EAFNOSUPPORT;
  return member->fd < 0 ? NULL : member;
}

static void put16(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}

static void build_reply(struct out_slot *slot, struct msghdr *message, const uint32_t *record) {
  bool v4 = record[OUT_TAG] == 4;
  size_t address_length = v4 ? 4 : 16;
  const uint8_t *destination = (const uint8_t *)record + 4 * OUT_DESTINATION + 16 - address_length;
  const uint8_t *source = (const uint8_t *)record + 4 * OUT_SOURCE + 16 - address_length;
  put16(slot->udp, record[OUT_SOURCE_PORT]);
  put16(slot->udp + 2, record[OUT_DESTINATION_PORT]);
  put16(slot->udp + 4, (uint32_t)slot->iov[1].iov_len + 8);
  put16(slot->udp + 6, 0);
  uint16_t sum = udp_checksum(source, destination, address_length, slot->udp, slot->iov[1].iov_base, slot->iov[1].iov_len);
  memcpy(slot->udp + 6, &sum, 2);
  slot->iov[0].iov_base = slot->udp;
  slot->iov[0].iov_len = sizeof(slot->udp);

  // The port of a raw socket's destination must be zero (raw(7)).
  memset(&slot->name, 0, sizeof(slot->name));
  memset(&slot->control, 0, sizeof(slot->control));
  message->msg_name = &slot->name;
  message->msg_control = &slot->control;
  struct cmsghdr *cmsg = &slot->control.align;
  if (v4) {
    struct in_pktinfo info = {0};
    memcpy(&info.ipi_spec_dst, source, 4);
    slot->name.v4.sin_family = AF_INET;
    memcpy(&slot->name.v4.sin_addr, destination, 4);
    message->msg_namelen = sizeof(slot->name.v4);
    cmsg->cmsg_level = IPPROTO_IP;
    cmsg->cmsg_type = IP_PKTINFO;
    cmsg->cmsg_len = CMSG_LEN(sizeof(info));
    memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
    message->msg_controllen = CMSG_SPACE(sizeof(info));
  } else {
    struct in6_pktinfo info = {0};
    memcpy(&info.ipi6_addr, source, 16);
    slot->name.v6.sin6_family = AF_INET6;
    memcpy(&slot->name.v6.sin6_addr, destination, 16);
    message->msg_namelen = sizeof(slot->name.v6);
    cmsg->cmsg_level = IPPROTO_IPV6;
    cmsg->cmsg_type = IPV6_PKTINFO;
    cmsg->cmsg_len = CMSG_LEN(sizeof(info));
    memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
    message->msg_controllen = CMSG_SPACE(sizeof(info));
  }
}

void pump_build(struct pump *pump, uint32_t at, const uint32_t *record) {
  struct out_slot *slot = &pump->out_slot[at];
  struct msghdr *message = &pump->out_message[at].msg_hdr;
  slot->iov[1].iov_base = pump->buffer + record[OUT_OFFSET];
  slot->iov[1].iov_len = record[OUT_LENGTH];
  memset(message, 0, sizeof(*message));
  if (record[OUT_KIND] == OUT_REPLY) {
    message->msg_iov = slot->iov;
    message->msg_iovlen = 2;
    build_reply(slot, message, record);
  } else {
    message->msg_iov = &slot->iov[1];
    message->msg_iovlen = 1;
  }
}

// sendmmsg(2) stops at the first datagram that fails. When that is the first of a call, it gets its errno and the rest
// are tried; when others went before it, the kernel keeps the errno to itself, and the next call tries it again. So a
// refusal that comes in amid a run is not reported; the one that follows from the last datagram of the run is.
static uint32_t send_member(struct pump *pump, struct member *member) {
  uint32_t count = 0, at = 0, refused = 0;
  bool retried = false;
  for (uint32_t i = member->first; i != NONE; i = pump->out_next[i]) {
    pump->out_order[count] = i;
    pump_build(pump, count++, pump->out + (size_t)i * OUT_WORDS);
  }
  while (at < count) {
    int sent = sendmmsg(member->fd, pump->out_message + at, count - at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      at += (uint32_t)sent;
      retried = false;
      continue;
    }
    int error = sent < 0 ? errno : EIO;
    if (error == EINTR) continue;
    // On a connected socket this is nearly always the answer to an earlier datagram, and this one was not sent.
    if (error == ECONNREFUSED && !retried) {
      pump_remember_error(pump, member, error);
      retried = true;
      continue;
    }
    pump->out[(size_t)pump->out_order[at] * OUT_WORDS + OUT_ERRNO] = (uint32_t)error;
    retried = false;
    refused++;
    at++;
  }
  return refused;
}

uint32_t pump_send(struct pump *pump, uint32_t outgoing) {
  struct member *touched = NULL, **tail = &touched;
  uint32_t refused = 0;
  for (uint32_t i = 0; i < outgoing; i++) {
    uint32_t *record = pump->out + (size_t)i * OUT_WORDS;
    int error;
    struct member *member = pump_route(pump, record, &error);
    if (member == NULL) {
      record[OUT_ERRNO] = (uint32_t)error;
      refused++;
      continue;
    }
    record[OUT_ERRNO] = 0;
    pump->out_next[i] = NONE;
    if (member->first == NONE) {
      member->first = i;
      member->touched = NULL;
      *tail = member;
      tail = &member->touched;
    } else {
      pump->out_next[member->last] = i;
    }
    member->last = i;
  }
  for (struct member *member = touched; member != NULL; member = member->touched) {
    refused += send_member(pump, member);
    member->first = NONE;
  }
  return refused;
}
