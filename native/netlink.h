// Reading of AF_NETLINK sockets, shared by what receives on the thread of the caller and on the pool.
// SPDX-License-Identifier: Apache-2.0
#ifndef SEKISHO_NETLINK_H
#define SEKISHO_NETLINK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NETLINK_MAX_TIMEOUT_MS 60000
// The kernel makes dump datagrams as large as the largest read it has seen, up to 32 KiB.
#define NETLINK_RECEIVE_BYTES (64 * 1024)

struct netlink_failure {
  const char *call;
  // May be NULL.
  const char *detail;
  int error;
};

int64_t monotonic_ms(void);
// One datagram of the kernel (port 0) before `deadline`: its octets, 0 on time-out, -1 with `failure` filled.
ssize_t netlink_read(int fd, void *out, size_t size, int64_t deadline, struct netlink_failure *failure);
// To the kernel: 0, or -1 with `failure` filled. Runs the request in the kernel before it returns.
int netlink_write(int fd, const void *message, size_t size, struct netlink_failure *failure);

#endif
