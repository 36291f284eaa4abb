// Sockets on the device of a slot: probes in batches, and a counter of the packets that come in.
// SPDX-License-Identifier: Apache-2.0
#include "wgsock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "addon.h"
#include "args.h"

// linux/in6.h; glibc's header does not have it.
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif

// Datagrams of one system call.
#define BATCH 64
#define MAX_DATAGRAM 65535

union sock_address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

union stamp_control {
  struct cmsghdr align;
  char octets[CMSG_SPACE(sizeof(struct timespec))];
};

static const uint8_t zeros[MAX_DATAGRAM];

// Closes `fd` and throws; returns NULL so that callers can return it.
static napi_value fail(napi_env env, int fd, const char *call) {
  int error = errno;
  if (fd >= 0) close(fd);
  throw_syscall(env, call, error, NULL);
  return NULL;
}

static int set_int(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof(value));
}

// --- probes ------------------------------------------------------------------------------------------------------

// The packet keeps DF and its size, whatever an ICMP error claims: a probe that does not fit is lost, as it should be.
static int never_fragment(int fd, int family) {
  if (family == AF_INET) return set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  if (set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE) < 0) return -1;
  return set_int(fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
}

static int free_bind(int fd, int family) {
  return family == AF_INET ? set_int(fd, IPPROTO_IP, IP_FREEBIND, 1) : set_int(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1);
}

// The forced option passes net.core.*mem_max and needs CAP_NET_ADMIN; without it the kernel's limit holds.
static int set_buffer(int fd, int forced, int option, uint32_t size) {
  if (set_int(fd, SOL_SOCKET, forced, (int)size) == 0) return 0;
  return errno == EPERM ? set_int(fd, SOL_SOCKET, option, (int)size) : -1;
}

static napi_value open_probe_socket(napi_env env, napi_callback_info info) {
  napi_value argv[1], device_value, address_value;
  char device[IFNAMSIZ];
  struct bytes bytes;
  uint32_t port, buffer;
  union sock_address address;
  socklen_t length;
  if (!args_get(env, info, 1, argv) || !arg_object(env, argv[0], "options") ||
      !field(env, argv[0], "device", &device_value) || !arg_text(env, device_value, "device", device, sizeof(device)) ||
      !field_u32(env, argv[0], "port", 1, 65535, &port) ||
      !field_u32(env, argv[0], "buffer", 1, 1u << 30, &buffer) ||
      !field(env, argv[0], "address", &address_value) || !arg_bytes(env, address_value, "address", &bytes))
    return NULL;
  memset(&address, 0, sizeof(address));
  if (bytes.length == 4) {
    address.v4.sin_family = AF_INET;
    address.v4.sin_port = htons((uint16_t)port);
    memcpy(&address.v4.sin_addr, bytes.data, 4);
    length = sizeof(address.v4);
  } else if (bytes.length == 16) {
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_port = htons((uint16_t)port);
    memcpy(&address.v6.sin6_addr, bytes.data, 16);
    length = sizeof(address.v6);
  } else {
    throw_argument(env, "address must have 4 or 16 octets");
    return NULL;
  }
  int family = address.any.sa_family;
  int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(env, fd, "socket");
  // Before bind, so that nothing of another device is ever in the queue.
  if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, (socklen_t)strlen(device)) < 0)
    return fail(env, fd, "setsockopt(SO_BINDTODEVICE)");
  if (family == AF_INET6 && set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) < 0)
    return fail(env, fd, "setsockopt(IPV6_V6ONLY)");
  if (free_bind(fd, family) < 0) return fail(env, fd, "setsockopt(IP_FREEBIND)");
  if (never_fragment(fd, family) < 0) return fail(env, fd, "setsockopt(IP_MTU_DISCOVER)");
  if (set_int(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1) < 0) return fail(env, fd, "setsockopt(SO_TIMESTAMPNS)");
  if (set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, buffer) < 0) return fail(env, fd, "setsockopt(SO_RCVBUF)");
  // Peers that are not reached keep what was sent to them for a while.
  if (set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, buffer) < 0) return fail(env, fd, "setsockopt(SO_SNDBUF)");
  if (bind(fd, &address.any, length) < 0) return fail(env, fd, "bind");
  return result_i32(env, fd);
}

struct batch {
  int fd;
  uint8_t *data;
  uint32_t stride;
  uint32_t *records;
  // What data and records both have room for.
  uint32_t room;
};

static bool read_batch(napi_env env, const napi_value *argv, struct batch *batch) {
  struct bytes bytes;
  void *records = NULL;
  size_t words = 0;
  if (!arg_fd(env, argv[0], "fd", &batch->fd) || !arg_bytes(env, argv[1], "data", &bytes) ||
      !arg_u32(env, argv[2], "stride", 1, MAX_DATAGRAM, &batch->stride) ||
      !arg_typed(env, argv[3], "records", napi_uint32_array, &records, &words, NULL))
    return false;
  size_t room = bytes.length / batch->stride;
  if (room > words / PROBE_WORDS) room = words / PROBE_WORDS;
  if (room == 0) {
    throw_argument(env, "data and records have no room for a datagram");
    return false;
  }
  batch->data = bytes.data;
  batch->records = records;
  batch->room = room > UINT16_MAX ? UINT16_MAX : (uint32_t)room;
  return true;
}

static uint32_t age_of(struct msghdr *message, const struct timespec *now) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS) continue;
    struct timespec stamp;
    memcpy(&stamp, CMSG_DATA(c), sizeof(stamp));
    int64_t age = (int64_t)(now->tv_sec - stamp.tv_sec) * 1000000 + (now->tv_nsec - stamp.tv_nsec) / 1000;
    // The wall clock may have been set meanwhile.
    return age < 0 ? 0 : age > UINT32_MAX ? UINT32_MAX : (uint32_t)age;
  }
  return 0;
}

static void record_received(uint32_t *record, struct mmsghdr *message, const union sock_address *from,
                            const struct timespec *now) {
  uint8_t *address = (uint8_t *)(record + PROBE_ADDRESS);
  record[PROBE_LENGTH] = message->msg_len;
  record[PROBE_AGE] = age_of(&message->msg_hdr, now);
  record[PROBE_ERRNO] = 0;
  memset(address, 0, 16);
  if (from->any.sa_family == AF_INET) {
    record[PROBE_PORT] = ntohs(from->v4.sin_port);
    address[10] = address[11] = 0xff;
    memcpy(address + 12, &from->v4.sin_addr, 4);
  } else {
    record[PROBE_PORT] = ntohs(from->v6.sin6_port);
    memcpy(address, &from->v6.sin6_addr, 16);
  }
}

static napi_value probe_receive(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  struct batch batch;
  if (!args_get(env, info, 4, argv) || !read_batch(env, argv, &batch)) return NULL;
  uint32_t count = 0;
  while (count < batch.room) {
    struct mmsghdr messages[BATCH];
    struct iovec iov[BATCH];
    union sock_address from[BATCH];
    union stamp_control control[BATCH];
    uint32_t want = batch.room - count < BATCH ? batch.room - count : BATCH;
    memset(messages, 0, want * sizeof(messages[0]));
    memset(from, 0, want * sizeof(from[0]));
    for (uint32_t i = 0; i < want; i++) {
      iov[i].iov_base = batch.data + (size_t)(count + i) * batch.stride;
      iov[i].iov_len = batch.stride;
      messages[i].msg_hdr.msg_iov = &iov[i];
      messages[i].msg_hdr.msg_iovlen = 1;
      messages[i].msg_hdr.msg_name = &from[i];
      messages[i].msg_hdr.msg_namelen = sizeof(from[i]);
      messages[i].msg_hdr.msg_control = &control[i];
      messages[i].msg_hdr.msg_controllen = sizeof(control[i]);
    }
    // MSG_TRUNC: the length is that of the datagram, also of what was not kept.
    int got = recvmmsg(batch.fd, messages, want, MSG_DONTWAIT | MSG_TRUNC, NULL);
    if (got < 0) {
      if (errno == EAGAIN || errno == EINTR) break;
      // An error of an earlier datagram, of which the socket has told now.
      if (count > 0) break;
      throw_syscall(env, "recvmmsg", errno, NULL);
      return NULL;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < got; i++)
      record_received(batch.records + (size_t)(count + (uint32_t)i) * PROBE_WORDS, &messages[i], &from[i], &now);
    count += (uint32_t)got;
    if ((uint32_t)got < want) break;
  }
  return result_u32(env, count);
}

static bool to_address(const uint32_t *record, union sock_address *to, socklen_t *length) {
  static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  const uint8_t *address = (const uint8_t *)(record + PROBE_ADDRESS);
  if (record[PROBE_PORT] == 0 || record[PROBE_PORT] > 65535) return false;
  memset(to, 0, sizeof(*to));
  if (memcmp(address, mapped, sizeof(mapped)) == 0) {
    to->v4.sin_family = AF_INET;
    to->v4.sin_port = htons((uint16_t)record[PROBE_PORT]);
    memcpy(&to->v4.sin_addr, address + 12, 4);
    *length = sizeof(to->v4);
  } else {
    to->v6.sin6_family = AF_INET6;
    to->v6.sin6_port = htons((uint16_t)record[PROBE_PORT]);
    memcpy(&to->v6.sin6_addr, address, 16);
    *length = sizeof(to->v6);
  }
  return true;
}

static napi_value probe_send(napi_env env, napi_callback_info info) {
  napi_value argv[5];
  struct batch batch;
  uint32_t count, failed = 0;
  if (!args_get(env, info, 5, argv) || !read_batch(env, argv, &batch) ||
      !arg_u32(env, argv[4], "count", 0, batch.room, &count))
    return NULL;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t length = batch.records[(size_t)i * PROBE_WORDS + PROBE_LENGTH];
    uint32_t port = batch.records[(size_t)i * PROBE_WORDS + PROBE_PORT];
    if (length > MAX_DATAGRAM || port == 0 || port > 65535) {
      throw_argument(env, "record %u: length %u, port %u", i, length, port);
      return NULL;
    }
  }
  for (uint32_t done = 0; done < count;) {
    struct mmsghdr messages[BATCH];
    struct iovec iov[BATCH][2];
    union sock_address to[BATCH];
    uint32_t want = count - done < BATCH ? count - done : BATCH;
    memset(messages, 0, want * sizeof(messages[0]));
    for (uint32_t i = 0; i < want; i++) {
      const uint32_t *record = batch.records + (size_t)(done + i) * PROBE_WORDS;
      uint32_t length = record[PROBE_LENGTH], head = length < batch.stride ? length : batch.stride;
      to_address(record, &to[i], &messages[i].msg_hdr.msg_namelen);
      iov[i][0].iov_base = batch.data + (size_t)(done + i) * batch.stride;
      iov[i][0].iov_len = head;
      iov[i][1].iov_base = (void *)zeros;
      iov[i][1].iov_len = length - head;
      messages[i].msg_hdr.msg_name = &to[i];
      messages[i].msg_hdr.msg_iov = iov[i];
      messages[i].msg_hdr.msg_iovlen = length > head ? 2 : 1;
    }
    int sent = sendmmsg(batch.fd, messages, want, MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    // sendmmsg stops at the first that is refused, and tells why when that is the first.
    int error = sent < 0 ? errno : 0;
    uint32_t took = sent < 0 ? 0 : (uint32_t)sent;
    for (uint32_t i = 0; i < took; i++) batch.records[(size_t)(done + i) * PROBE_WORDS + PROBE_ERRNO] = 0;
    if (error != 0) {
      batch.records[(size_t)done * PROBE_WORDS + PROBE_ERRNO] = (uint32_t)error;
      failed++;
      took = 1;
    }
    done += took;
  }
  return result_u32(env, failed);
}

// --- counter -----------------------------------------------------------------------------------------------------

#define UDP 17

// Accepts all but what is UDP from `port` to `port`. Fragments have no ports to look at and are counted. The octets begin
// at the IP header: the socket is SOCK_DGRAM.
static int filter_probes(int fd, int family, uint16_t port) {
  const struct sock_filter v4[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, UDP, 0, 6),
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x3fff, 4, 0),
      BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
      BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)port << 16 | port, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, 1),
  };
  const struct sock_filter v6[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, UDP, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 40),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)port << 16 | port, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, 1),
  };
  struct sock_fprog program = {
      .len = family == AF_INET ? ARRAY_LENGTH(v4) : ARRAY_LENGTH(v6),
      .filter = (struct sock_filter *)(family == AF_INET ? v4 : v6),
  };
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

static napi_value open_packet_counter(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  char device[IFNAMSIZ];
  uint32_t version, port;
  if (!args_get(env, info, 3, argv) || !arg_text(env, argv[0], "device", device, sizeof(device)) ||
      !arg_u32(env, argv[1], "family", 4, 6, &version) || !arg_u32(env, argv[2], "withoutPort", 1, 65535, &port))
    return NULL;
  if (version == 5) {
    throw_argument(env, "family must be 4 or 6");
    return NULL;
  }
  unsigned int ifindex = if_nametoindex(device);
  if (ifindex == 0) return fail(env, -1, "if_nametoindex");
  // Protocol 0: nothing is received before bind, and so nothing without the filter.
  int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(env, fd, "socket");
  if (filter_probes(fd, version == 4 ? AF_INET : AF_INET6, (uint16_t)port) < 0)
    return fail(env, fd, "setsockopt(SO_ATTACH_FILTER)");
  if (set_int(fd, SOL_SOCKET, SO_RCVBUF, 1) < 0) return fail(env, fd, "setsockopt(SO_RCVBUF)");
  struct sockaddr_ll address = {
      .sll_family = AF_PACKET,
      .sll_protocol = htons(version == 4 ? ETH_P_IP : ETH_P_IPV6),
      .sll_ifindex = (int)ifindex,
  };
  if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) return fail(env, fd, "bind");
  return result_i32(env, fd);
}

static napi_value packet_count(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  struct tpacket_stats stats = {0};
  socklen_t length = sizeof(stats);
  if (!args_get(env, info, 1, argv) || !arg_fd(env, argv[0], "fd", &fd)) return NULL;
  if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &length) < 0) {
    throw_syscall(env, "getsockopt(PACKET_STATISTICS)", errno, NULL);
    return NULL;
  }
  // With those that found no room in the socket, which is never read.
  return result_u32(env, stats.tp_packets);
}

bool wgsock_register(napi_env env, napi_value exports) {
  static const struct function functions[] = {
      {"openProbeSocket", open_probe_socket},     {"probeReceive", probe_receive},
      {"probeSend", probe_send},                  {"openPacketCounter", open_packet_counter},
      {"packetCount", packet_count},
  };
  return define_functions(env, exports, functions, ARRAY_LENGTH(functions));
}
