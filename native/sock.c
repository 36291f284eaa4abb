// Sockets: transparent listeners, the raw reply socket, upstreams, eventfds.
// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "addon.h"
#include "args.h"

// linux/in6.h; glibc's header does not have them all.
#ifndef IPV6_RECVORIGDSTADDR
#define IPV6_RECVORIGDSTADDR 74
#endif
#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT 75
#endif

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

struct options {
  union address address;
  socklen_t address_length;
  union address source;
  bool transparent, reuse_port, has_mark, has_receive_buffer, has_source;
  uint32_t mark, receive_buffer, backlog;
};

static bool set_address(napi_env env, napi_value bytes_value, const char *name, uint32_t port, union address *out,
                        socklen_t *length) {
  struct bytes bytes;
  if (!arg_bytes(env, bytes_value, name, &bytes)) return false;
  memset(out, 0, sizeof(*out));
  if (bytes.length == 4) {
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons((uint16_t)port);
    memcpy(&out->v4.sin_addr, bytes.data, 4);
    *length = sizeof(out->v4);
  } else if (bytes.length == 16) {
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons((uint16_t)port);
    memcpy(&out->v6.sin6_addr, bytes.data, 16);
    *length = sizeof(out->v6);
  } else {
    throw_argument(env, "%s must have 4 or 16 octets", name);
    return false;
  }
  return true;
}

static bool read_listen_options(napi_env env, napi_callback_info info, struct options *o) {
  napi_value argv[1], address, transparent;
  uint32_t port;
  bool present;
  memset(o, 0, sizeof(*o));
  o->backlog = 511;
  return args_get(env, info, 1, argv) && arg_object(env, argv[0], "options") &&
         field_u32(env, argv[0], "port", 0, 65535, &port) && field(env, argv[0], "transparent", &transparent) &&
         arg_boolean(env, transparent, "transparent", &o->transparent) &&
         field_optional_u32(env, argv[0], "mark", 0, UINT32_MAX, &o->mark, &o->has_mark) &&
         field_optional_u32(env, argv[0], "receiveBuffer", 1, 1u << 30, &o->receive_buffer, &o->has_receive_buffer) &&
         field_optional_boolean(env, argv[0], "reusePort", &o->reuse_port) &&
         field_optional_u32(env, argv[0], "backlog", 1, 65535, &o->backlog, &present) &&
         field(env, argv[0], "address", &address) &&
         set_address(env, address, "address", port, &o->address, &o->address_length);
}

static bool read_upstream_options(napi_env env, napi_callback_info info, struct options *o) {
  napi_value argv[1], server, source;
  uint32_t port;
  bool absent;
  memset(o, 0, sizeof(*o));
  if (!args_get(env, info, 1, argv) || !arg_object(env, argv[0], "options") ||
      !field_u32(env, argv[0], "port", 1, 65535, &port) ||
      !field_optional_u32(env, argv[0], "mark", 0, UINT32_MAX, &o->mark, &o->has_mark) ||
      !field(env, argv[0], "source", &source) || !arg_absent(env, source, "source", &absent))
    return false;
  if (!absent) {
    napi_value address;
    uint32_t source_port;
    socklen_t length;
    o->has_source = true;
    if (!arg_object(env, source, "source") || !field_u32(env, source, "port", 0, 65535, &source_port) ||
        !field(env, source, "address", &address) ||
        !set_address(env, address, "source.address", source_port, &o->source, &length))
      return false;
  }
  if (!field(env, argv[0], "server", &server) ||
      !set_address(env, server, "server", port, &o->address, &o->address_length))
    return false;
  if (o->has_source && o->source.any.sa_family != o->address.any.sa_family) {
    throw_argument(env, "source and server must be of one family");
    return false;
  }
  return true;
}

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

static int set_transparent(int fd, int family) {
  return family == AF_INET ? set_int(fd, IPPROTO_IP, IP_TRANSPARENT, 1)
                           : set_int(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
}

static int set_mark(int fd, uint32_t mark) { return setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)); }

// SO_RCVBUFFORCE passes net.core.rmem_max and needs CAP_NET_ADMIN; without it the kernel's limit holds.
static int set_receive_buffer(int fd, uint32_t size) {
  if (set_int(fd, SOL_SOCKET, SO_RCVBUFFORCE, (int)size) == 0) return 0;
  return errno == EPERM ? set_int(fd, SOL_SOCKET, SO_RCVBUF, (int)size) : -1;
}

static napi_value open_listener(napi_env env, napi_callback_info info, int type) {
  struct options o;
  if (!read_listen_options(env, info, &o)) return NULL;
  int family = o.address.any.sa_family;
  int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(env, fd, "socket");
  if (set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0) return fail(env, fd, "setsockopt(SO_REUSEADDR)");
  if (o.reuse_port && set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0) return fail(env, fd, "setsockopt(SO_REUSEPORT)");
  if (family == AF_INET6 && set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) < 0)
    return fail(env, fd, "setsockopt(IPV6_V6ONLY)");
  if (o.transparent) {
    if (set_transparent(fd, family) < 0) return fail(env, fd, "setsockopt(IP_TRANSPARENT)");
    if (type == SOCK_DGRAM) {
      int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
      int option = family == AF_INET ? IP_RECVORIGDSTADDR : IPV6_RECVORIGDSTADDR;
      if (set_int(fd, level, option, 1) < 0) return fail(env, fd, "setsockopt(IP_RECVORIGDSTADDR)");
    }
  }
  if (o.has_mark && set_mark(fd, o.mark) < 0) return fail(env, fd, "setsockopt(SO_MARK)");
  if (o.has_receive_buffer && set_receive_buffer(fd, o.receive_buffer) < 0)
    return fail(env, fd, "setsockopt(SO_RCVBUF)");
  if (bind(fd, &o.address.any, o.address_length) < 0) return fail(env, fd, "bind");
  if (type == SOCK_STREAM && listen(fd, (int)o.backlog) < 0) return fail(env, fd, "listen");
  return result_i32(env, fd);
}

static napi_value open_udp_listener(napi_env env, napi_callback_info info) {
  return open_listener(env, info, SOCK_DGRAM);
}

static napi_value open_tcp_listener(napi_env env, napi_callback_info info) {
  return open_listener(env, info, SOCK_STREAM);
}

// A raw UDP socket is handed a copy of every UDP datagram that is delivered to the host and that matches its bound
// address. Bound to an address that no host has (192.0.0.8, the dummy address of RFC 7600; 100::1, the discard prefix
// of RFC 6666) it matches none, so none is copied; the source address of each reply is given with the message. The
// filter is for a host that has such an address after all.
static int discard_received(int fd, int family) {
  struct sock_filter drop = {.code = BPF_RET | BPF_K, .k = 0};
  struct sock_fprog program = {.len = 1, .filter = &drop};
  union address bound;
  memset(&bound, 0, sizeof(bound));
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0) return -1;
  if (set_int(fd, SOL_SOCKET, SO_RCVBUF, 1) < 0) return -1;
  if (family == AF_INET) {
    bound.v4.sin_family = AF_INET;
    bound.v4.sin_addr.s_addr = htonl(0xc0000008);
  } else {
    bound.v6.sin6_family = AF_INET6;
    bound.v6.sin6_addr.s6_addr[0] = 0x01;
    bound.v6.sin6_addr.s6_addr[15] = 0x01;
  }
  if (bind(fd, &bound.any, family == AF_INET ? sizeof(bound.v4) : sizeof(bound.v6)) < 0) return -1;
  // What arrived between socket(2) and the filter.
  uint8_t octet;
  for (int i = 0; i < 1024 && recv(fd, &octet, 1, MSG_DONTWAIT) >= 0; i++) continue;
  return 0;
}

static napi_value open_udp_reply(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  uint32_t version, mark = 0;
  bool absent;
  if (!args_get(env, info, 2, argv) || !arg_u32(env, argv[0], "family", 4, 6, &version) ||
      !arg_absent(env, argv[1], "mark", &absent))
    return NULL;
  if (version == 5) {
    throw_argument(env, "family must be 4 or 6");
    return NULL;
  }
  if (!absent && !arg_u32(env, argv[1], "mark", 0, UINT32_MAX, &mark)) return NULL;
  int family = version == 4 ? AF_INET : AF_INET6;
  int fd = socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
  if (fd < 0) return fail(env, fd, "socket");
  if (set_transparent(fd, family) < 0) return fail(env, fd, "setsockopt(IP_TRANSPARENT)");
  if (discard_received(fd, family) < 0) return fail(env, fd, "setsockopt(SO_ATTACH_FILTER)");
  // No DF, no path MTU kept: a reply larger than the MTU is fragmented here, as a server of that address would do.
  if (family == AF_INET ? set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT) < 0
                        : set_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT) < 0)
    return fail(env, fd, "setsockopt(IP_MTU_DISCOVER)");
  if (!absent && set_mark(fd, mark) < 0) return fail(env, fd, "setsockopt(SO_MARK)");
  return result_i32(env, fd);
}

static napi_value open_upstream(napi_env env, napi_callback_info info, int type) {
  struct options o;
  if (!read_upstream_options(env, info, &o)) return NULL;
  int family = o.address.any.sa_family;
  int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(env, fd, "socket");
  if (o.has_mark && set_mark(fd, o.mark) < 0) return fail(env, fd, "setsockopt(SO_MARK)");
  if (o.has_source) {
    if (set_transparent(fd, family) < 0) return fail(env, fd, "setsockopt(IP_TRANSPARENT)");
    if (set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0) return fail(env, fd, "setsockopt(SO_REUSEADDR)");
    if (bind(fd, &o.source.any, o.address_length) < 0) return fail(env, fd, "bind");
  } else if (type == SOCK_DGRAM) {
    // Port 0 before connect: the kernel takes a random free port of ip_local_port_range.
    union address any;
    memset(&any, 0, sizeof(any));
    any.any.sa_family = (sa_family_t)family;
    if (bind(fd, &any.any, o.address_length) < 0) return fail(env, fd, "bind");
  }
  if (connect(fd, &o.address.any, o.address_length) < 0 && errno != EINPROGRESS) return fail(env, fd, "connect");
  return result_i32(env, fd);
}

static napi_value open_udp_upstream(napi_env env, napi_callback_info info) {
  return open_upstream(env, info, SOCK_DGRAM);
}

static napi_value open_tcp_upstream(napi_env env, napi_callback_info info) {
  return open_upstream(env, info, SOCK_STREAM);
}

static napi_value local_port(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  union address address;
  socklen_t length = sizeof(address);
  if (!args_get(env, info, 1, argv) || !arg_fd(env, argv[0], "fd", &fd)) return NULL;
  if (getsockname(fd, &address.any, &length) < 0) {
    throw_syscall(env, "getsockname", errno, NULL);
    return NULL;
  }
  if (address.any.sa_family == AF_INET) return result_u32(env, ntohs(address.v4.sin_port));
  if (address.any.sa_family == AF_INET6) return result_u32(env, ntohs(address.v6.sin6_port));
  throw_argument(env, "fd is not an internet socket");
  return NULL;
}

static napi_value close_fd(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  if (!args_get(env, info, 1, argv) || !arg_fd(env, argv[0], "fd", &fd)) return NULL;
  // Node keeps the standard streams open from the start, so these three are never ours.
  if (fd <= STDERR_FILENO) {
    throw_argument(env, "fd %d is a standard stream", fd);
    return NULL;
  }
  // Linux has released the descriptor also when close(2) is interrupted.
  if (close(fd) < 0 && errno != EINTR) {
    throw_syscall(env, "close", errno, NULL);
    return NULL;
  }
  return result_undefined(env);
}

static napi_value open_event(napi_env env, napi_callback_info info) {
  (void)info;
  int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd < 0) return fail(env, fd, "eventfd");
  return result_i32(env, fd);
}

static napi_value kick(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int fd;
  uint64_t one = 1;
  ssize_t written;
  if (!args_get(env, info, 1, argv) || !arg_fd(env, argv[0], "fd", &fd)) return NULL;
  if (fd <= STDERR_FILENO) {
    throw_argument(env, "fd %d is a standard stream", fd);
    return NULL;
  }
  do written = write(fd, &one, sizeof(one));
  while (written < 0 && errno == EINTR);
  // EAGAIN: the counter is at its limit, so the reader is going to wake anyway.
  if (written < 0 && errno != EAGAIN) {
    throw_syscall(env, "write", errno, NULL);
    return NULL;
  }
  return result_undefined(env);
}

static napi_value monotonic_ms(napi_env env, napi_callback_info info) {
  (void)info;
  struct timespec now;
  if (clock_gettime(CLOCK_MONOTONIC, &now) < 0) {
    throw_syscall(env, "clock_gettime", errno, NULL);
    return NULL;
  }
  return result_double(env, (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6);
}

bool sock_register(napi_env env, napi_value exports) {
  static const struct function functions[] = {
      {"openUdpListener", open_udp_listener}, {"openTcpListener", open_tcp_listener},
      {"openUdpReply", open_udp_reply},       {"openUdpUpstream", open_udp_upstream},
      {"openTcpUpstream", open_tcp_upstream}, {"localPort", local_port},
      {"close", close_fd},                    {"openEvent", open_event},
      {"kick", kick},                         {"monotonicMs", monotonic_ms},
  };
  return define_functions(env, exports, functions, ARRAY_LENGTH(functions));
}
