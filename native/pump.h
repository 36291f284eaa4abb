// The pump: one turn sends a batch, waits, and receives a batch. pump.c is the door (arguments, memory, members),
// pump_send.c and pump_epoll.c are the turn by sendmmsg, epoll and recvmmsg, pump_uring.c is the turn by io_uring.
// SPDX-License-Identifier: Apache-2.0
#ifndef SEKISHO_PUMP_H
#define SEKISHO_PUMP_H

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "addon.h"

// The numbers below are those of src/native/binding.ts; test/native/layout.test.ts compares them.
enum { PUMP_LISTENER = 1, PUMP_UPSTREAM = 2, PUMP_KICK = 3 };
enum { OUT_CONNECTED = 1, OUT_REPLY = 2 };
enum { RX_WORDS = 16, RX_TAG = 0, RX_LENGTH = 1, RX_FLAGS = 2, RX_FAMILY = 3, RX_SOURCE = 4, RX_DESTINATION = 8 };
enum { RX_SOURCE_PORT = 12, RX_DESTINATION_PORT = 13, RX_OFFSET = 14 };
enum { RX_FLAG_TRUNCATED = 1, RX_FLAG_NO_DESTINATION = 2, RX_FLAG_ERROR = 4 };
enum { OUT_WORDS = 16, OUT_KIND = 0, OUT_TAG = 1, OUT_OFFSET = 2, OUT_LENGTH = 3, OUT_DESTINATION = 4, OUT_SOURCE = 8 };
enum { OUT_DESTINATION_PORT = 12, OUT_SOURCE_PORT = 13, OUT_ERRNO = 14 };
enum { HEADER_WORDS = 16, HEADER_KICKED = 0, HEADER_SEND_ERRORS = 1, HEADER_PATH = 2 };
enum { PATH_AUTO = 0, PATH_EPOLL = 1, PATH_IO_URING = 2 };

// Ready sockets looked at in one turn; the kernel rotates its list, so the others come first in the next.
#define MAX_EVENTS 512
// The least a socket is given while others wait too: a system call for less is not worth it.
#define PUMP_MIN_QUOTA 8
// End of a list of record numbers.
#define NONE UINT32_MAX

// A socket of the pump. Freed by pumpRemove, and found again only by tag and generation: an event of a socket that
// is gone finds nothing.
struct member {
  int fd;
  uint32_t tag;
  uint32_t generation;
  uint8_t kind;
  uint8_t family;
  uint16_t peer_port;
  uint8_t peer[16];
  // Records of this turn that leave by this socket, in order; `touched` links the members that have any.
  uint32_t first, last;
  struct member *touched;
  // An error of an earlier datagram that a send ran into; reported as an error record.
  int pending_error;
  struct member *pending;

  // io_uring only. A receive (a poll, of an eventfd) is with the kernel; it ended for want of buffers.
  bool armed, starved;
  // Links of the lists of the ring: members to be armed, members with datagrams.
  bool in_unarmed, in_ready;
  struct member *next_unarmed, *next_ready;
  // Datagrams received and not yet handed over: buffers, oldest first.
  uint32_t queue_first, queue_last;
};

struct uring;

union control_in {
  struct cmsghdr align;
  char octets[CMSG_SPACE(sizeof(struct sockaddr_in6))];
};

union control_out {
  struct cmsghdr align;
  char octets[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

union sock_address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

// What one outgoing datagram needs beside its payload.
struct out_slot {
  struct iovec iov[2];
  union sock_address name;
  union control_out control;
  uint8_t udp[8];
};

struct pump {
  struct handle handle;
  bool open;
  // Memory of JavaScript, kept alive by `buffers`.
  uint8_t *buffer;
  size_t buffer_length;
  uint32_t *rx, *out;
  int32_t *header;
  double *now;
  napi_ref buffers[5];
  size_t buffer_count;
  uint32_t slots, stride, max_out;

  int epoll_fd;
  // NULL when the turn is by epoll.
  struct uring *uring;
  // Members that are no socket of pumpAdd: the two reply sockets.
  struct member reply4, reply6;
  // Open addressing by tag; capacity is a power of two, at most half full.
  struct member **table;
  uint32_t capacity, count, generation;
  // Where the next turn starts among the ready sockets.
  uint32_t start;
  struct member *pending;

  // Scratch, sized once.
  struct epoll_event *events;
  struct member **ready;
  struct mmsghdr *in_listener, *in_upstream;
  struct iovec *in_iov;
  union sock_address *in_name;
  union control_in *in_control;
  struct mmsghdr *out_message;
  struct out_slot *out_slot;
  uint32_t *out_next, *out_order;
};

struct member *pump_find(const struct pump *pump, uint32_t tag);

// Which socket a record leaves by; NULL with *error set when it is no record.
struct member *pump_route(struct pump *pump, const uint32_t *record, int *error);
// Makes the message at `at` of the scratch from a record that pump_route took.
void pump_build(struct pump *pump, uint32_t at, const uint32_t *record);

// An empty receive record for a slot.
uint32_t *pump_record(struct pump *pump, uint32_t slot, const struct member *member);
void pump_record_error(struct pump *pump, uint32_t slot, const struct member *member, int error);
void pump_record_listener(uint32_t *record, const union sock_address *name, struct msghdr *message);
void pump_record_upstream(uint32_t *record, const struct member *member);
// The error becomes a record of the next turn that has room.
void pump_remember_error(struct pump *pump, struct member *member, int error);
// Error records into the slots from `used` on; returns how many slots are used then.
uint32_t pump_put_pending(struct pump *pump, uint32_t used);

// Sends the first `outgoing` records; writes OUT_ERRNO of each and returns how many the kernel refused.
uint32_t pump_send(struct pump *pump, uint32_t outgoing);

// Waits and receives. Returns the number of receive records, or -1 with errno set by epoll_wait.
int64_t pump_epoll_receive(struct pump *pump, int timeout_ms);

// The ring of a pump; false with errno and *call set where the kernel does not give one.
bool pump_uring_open(struct pump *pump, const char **call);
// Takes back every receive, so that descriptors closed after it are closed.
void pump_uring_close(struct pump *pump);
void pump_uring_add(struct pump *pump, struct member *member);
void pump_uring_remove(struct pump *pump, struct member *member);
// The whole turn: sends, waits, receives. Writes OUT_ERRNO of each record and HEADER_SEND_ERRORS; returns the number of
// receive records, or -1 with errno set by io_uring_enter.
int64_t pump_uring_turn(struct pump *pump, uint32_t outgoing, int timeout_ms);

// RFC 768 and RFC 8200 section 8.1, network order; `address_length` is 4 or 16. `udp` has a zero checksum field.
uint16_t udp_checksum(const uint8_t *source, const uint8_t *destination, size_t address_length, const uint8_t *udp,
                      const uint8_t *payload, size_t payload_length);

#endif
