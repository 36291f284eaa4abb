// AF_NETLINK off the event loop. A request runs in the kernel within sendto, and some hold the lock of the routing tables
// for seconds, for which every other request then waits.
// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>

#include "addon.h"
#include "args.h"
#include "netlink.h"
#include "task.h"

struct send_task {
  struct task task;
  struct netlink_failure failure;
  int fd;
  int result;
  size_t size;
  uint8_t message[];
};

static void send_run(struct task *task) {
  struct send_task *send = (struct send_task *)task;
  send->result = netlink_write(send->fd, send->message, send->size, &send->failure);
}

static napi_value send_settle(napi_env env, struct task *task) {
  struct send_task *send = (struct send_task *)task;
  if (send->result == 0) return result_undefined(env);
  throw_syscall(env, send->failure.call, send->failure.error, NULL);
  return NULL;
}

static void release(struct task *task) { free(task); }

static napi_value netlink_send_async(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  struct bytes message;
  int fd;
  if (!args_get(env, info, 2, argv) || !arg_fd(env, argv[0], "fd", &fd) ||
      !arg_bytes(env, argv[1], "message", &message))
    return NULL;
  if (message.length < sizeof(struct nlmsghdr)) {
    throw_argument(env, "message must have a header of %zu octets", sizeof(struct nlmsghdr));
    return NULL;
  }
  struct send_task *send = calloc(1, sizeof(*send) + message.length);
  if (send == NULL) {
    throw_syscall(env, "calloc", ENOMEM, NULL);
    return NULL;
  }
  *send = (struct send_task){
      .task = {.run = send_run, .settle = send_settle, .release = release}, .fd = fd, .size = message.length};
  memcpy(send->message, message.data, message.length);
  return task_start(env, &send->task, "netlinkSendAsync");
}

struct receive_task {
  struct task task;
  struct netlink_failure failure;
  int fd;
  int64_t deadline;
  ssize_t length;
  uint8_t out[NETLINK_RECEIVE_BYTES];
};

static void receive_run(struct task *task) {
  struct receive_task *receive = (struct receive_task *)task;
  receive->length =
      netlink_read(receive->fd, receive->out, sizeof(receive->out), receive->deadline, &receive->failure);
}

static napi_value receive_settle(napi_env env, struct task *task) {
  struct receive_task *receive = (struct receive_task *)task;
  if (receive->length >= 0) return result_bytes(env, receive->out, (size_t)receive->length);
  throw_syscall(env, receive->failure.call, receive->failure.error, receive->failure.detail);
  return NULL;
}

static napi_value netlink_receive_async(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int64_t timeout;
  int fd;
  if (!args_get(env, info, 2, argv) || !arg_fd(env, argv[0], "fd", &fd) ||
      !arg_integer(env, argv[1], "timeoutMs", 0, NETLINK_MAX_TIMEOUT_MS, &timeout))
    return NULL;
  struct receive_task *receive = malloc(sizeof(*receive));
  if (receive == NULL) {
    throw_syscall(env, "malloc", ENOMEM, NULL);
    return NULL;
  }
  receive->task = (struct task){.run = receive_run, .settle = receive_settle, .release = release};
  receive->fd = fd;
  receive->deadline = monotonic_ms() + timeout;
  return task_start(env, &receive->task, "netlinkReceiveAsync");
}

bool netlink_async_register(napi_env env, napi_value exports) {
  static const struct function functions[] = {
      {"netlinkSendAsync", netlink_send_async},
      {"netlinkReceiveAsync", netlink_receive_async},
  };
  return define_functions(env, exports, functions, ARRAY_LENGTH(functions));
}
