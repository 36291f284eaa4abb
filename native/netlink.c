// AF_NETLINK sockets. Messages are made and read in TypeScript (src/netlink).
// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "addon.h"
#include "args.h"
#include "netlink.h"

#define MAX_GROUPS 64
// A burst of link and address events must not overrun the queue.
#define GROUP_RECEIVE_BUFFER (4 << 20)

static napi_value fail(napi_env env, int fd, const char *call) {
  int error = errno;
  if (fd >= 0) close(fd);
  throw_syscall(env, call, error, NULL);
  return NULL;
}

static bool read_groups(napi_env env, napi_value value, uint32_t *groups, uint32_t *count) {
  bool is_array = false;
  if (!check(env, napi_is_array(env, value, &is_array), "groups")) return false;
  if (is_array && !check(env, napi_get_array_length(env, value, count), "groups")) return false;
  if (!is_array || *count > MAX_GROUPS) {
    throw_argument(env, "groups must be an array of at most %d numbers", MAX_GROUPS);
    return false;
  }
  for (uint32_t i = 0; i < *count; i++) {
    napi_value element;
    if (!check(env, napi_get_element(env, value, i, &element), "groups") ||
        !arg_u32(env, element, "group", 1, INT32_MAX, &groups[i]))
      return false;
  }
  return true;
}

static int set_option(int fd, int option, int value) {
  return setsockopt(fd, SOL_NETLINK, option, &value, sizeof(value));
}

static napi_value netlink_open(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  uint32_t protocol, groups[MAX_GROUPS], count = 0;
  if (!args_get(env, info, 2, argv) || !arg_u32(env, argv[0], "protocol", 0, 31, &protocol) ||
      !read_groups(env, argv[1], groups, &count))
    return NULL;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, (int)protocol);
  if (fd < 0) return fail(env, fd, "socket(AF_NETLINK)");
  if (set_option(fd, NETLINK_EXT_ACK, 1) < 0) return fail(env, fd, "setsockopt(NETLINK_EXT_ACK)");
  if (set_option(fd, NETLINK_CAP_ACK, 1) < 0) return fail(env, fd, "setsockopt(NETLINK_CAP_ACK)");
  if (set_option(fd, NETLINK_GET_STRICT_CHK, 1) < 0) return fail(env, fd, "setsockopt(NETLINK_GET_STRICT_CHK)");
  if (count > 0) {
    int size = GROUP_RECEIVE_BUFFER;
    // Without CAP_NET_ADMIN the kernel's limit holds; an overrun is reported (ENOBUFS) either way.
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) < 0)
      return fail(env, fd, "setsockopt(SO_RCVBUF)");
  }
  struct sockaddr_nl address = {.nl_family = AF_NETLINK};
  if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) return fail(env, fd, "bind");
  for (uint32_t i = 0; i < count; i++)
    if (set_option(fd, NETLINK_ADD_MEMBERSHIP, (int)groups[i]) < 0)
      return fail(env, fd, "setsockopt(NETLINK_ADD_MEMBERSHIP)");
  return result_i32(env, fd);
}

static napi_value netlink_port(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  struct sockaddr_nl address;
  socklen_t length = sizeof(address);
  int fd;
  if (!args_get(env, info, 1, argv) || !arg_fd(env, argv[0], "fd", &fd)) return NULL;
  if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
    throw_syscall(env, "getsockname", errno, NULL);
    return NULL;
  }
  if (address.nl_family != AF_NETLINK) {
    throw_argument(env, "fd is not a netlink socket");
    return NULL;
  }
  return result_u32(env, address.nl_pid);
}

int netlink_write(int fd, const void *message, size_t size, struct netlink_failure *failure) {
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  ssize_t sent;
  do sent = sendto(fd, message, size, MSG_NOSIGNAL, (struct sockaddr *)&kernel, sizeof(kernel));
  while (sent < 0 && errno == EINTR);
  if (sent >= 0) return 0;
  *failure = (struct netlink_failure){.call = "sendto(AF_NETLINK)", .error = errno};
  return -1;
}

static napi_value netlink_send(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  struct bytes message;
  struct netlink_failure failure;
  int fd;
  if (!args_get(env, info, 2, argv) || !arg_fd(env, argv[0], "fd", &fd) ||
      !arg_bytes(env, argv[1], "message", &message))
    return NULL;
  if (message.length < sizeof(struct nlmsghdr)) {
    throw_argument(env, "message must have a header of %zu octets", sizeof(struct nlmsghdr));
    return NULL;
  }
  if (netlink_write(fd, message.data, message.length, &failure) < 0) {
    throw_syscall(env, failure.call, failure.error, NULL);
    return NULL;
  }
  return result_undefined(env);
}

int64_t monotonic_ms(void) {
  struct timespec now = {0};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// Waits until `deadline`. 1 readable, 0 time-out, -1 with errno set.
static int wait_readable(int fd, int64_t deadline) {
  for (;;) {
    int64_t left = deadline - monotonic_ms();
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    int result = poll(&entry, 1, left > 0 ? (int)left : 0);
    if (result > 0 && entry.revents & POLLNVAL) {
      errno = EBADF;
      return -1;
    }
    if (result >= 0 || errno != EINTR) return result;
  }
}

ssize_t netlink_read(int fd, void *out, size_t size, int64_t deadline, struct netlink_failure *failure) {
  for (;;) {
    struct sockaddr_nl sender = {0};
    struct iovec iov = {.iov_base = out, .iov_len = size};
    struct msghdr message = {
        .msg_name = &sender, .msg_namelen = sizeof(sender), .msg_iov = &iov, .msg_iovlen = 1};
    int ready = wait_readable(fd, deadline);
    if (ready == 0) return 0;
    ssize_t length = ready < 0 ? -1 : recvmsg(fd, &message, MSG_DONTWAIT);
    if (length < 0) {
      if (ready > 0 && (errno == EAGAIN || errno == EINTR)) continue;
      *failure = (struct netlink_failure){.call = ready < 0 ? "poll" : "recvmsg(AF_NETLINK)", .error = errno};
      return -1;
    }
    // Any process may send to this socket; only the kernel (port 0) is listened to.
    if (message.msg_namelen != sizeof(sender) || sender.nl_family != AF_NETLINK || sender.nl_pid != 0) {
      if (monotonic_ms() >= deadline) return 0;
      continue;
    }
    if (message.msg_flags & MSG_TRUNC) {
      *failure = (struct netlink_failure){.call = "recvmsg(AF_NETLINK)", .error = ENOSPC,
                                          .detail = "out is too small for the message, which is lost"};
      return -1;
    }
    return length;
  }
}

static napi_value netlink_receive(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  struct bytes out;
  struct netlink_failure failure;
  int64_t timeout;
  int fd;
  if (!args_get(env, info, 3, argv) || !arg_fd(env, argv[0], "fd", &fd) || !arg_bytes(env, argv[1], "out", &out) ||
      !arg_integer(env, argv[2], "timeoutMs", 0, NETLINK_MAX_TIMEOUT_MS, &timeout))
    return NULL;
  ssize_t length = netlink_read(fd, out.data, out.length, monotonic_ms() + timeout, &failure);
  if (length >= 0) return result_u32(env, (uint32_t)length);
  throw_syscall(env, failure.call, failure.error, failure.detail);
  return NULL;
}

bool netlink_register(napi_env env, napi_value exports) {
  static const struct function functions[] = {
      {"netlinkOpen", netlink_open},
      {"netlinkPort", netlink_port},
      {"netlinkSend", netlink_send},
      {"netlinkReceive", netlink_receive},
  };
  return define_functions(env, exports, functions, ARRAY_LENGTH(functions));
}
