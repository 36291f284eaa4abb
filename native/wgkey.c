// The calls on the generic netlink family of WireGuard that meet private keys: one makes a key and sets it, two
// receive and blank. Everything else of the protocol is TypeScript (src/wg/drivers).
// SPDX-License-Identifier: Apache-2.0
#include "wgkey.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "addon.h"
#include "args.h"
#include "netlink.h"
#include "task.h"

// include/uapi/linux/wireguard.h: the attributes that hold secrets, and the nest that leads to the second.
#define WGDEVICE_A_PRIVATE_KEY 3
#define WGDEVICE_A_PEERS 8
#define WGPEER_A_PRESHARED_KEY 2

#define MAX_PREFIX 1024

int wg_make_key(uint8_t *key) {
  size_t have = 0;
  while (have < WG_KEY_BYTES) {
    ssize_t got = getrandom(key + have, WG_KEY_BYTES - have, 0);
    if (got < 0 && errno != EINTR) return -1;
    if (got > 0) have += (size_t)got;
  }
  key[0] &= 248;
  key[31] = (uint8_t)((key[31] & 127) | 64);
  return 0;
}

struct key_task {
  struct task task;
  struct netlink_failure failure;
  int fd;
  int64_t timeout;
  // -1 failed, 0 no answer, 1 answered with `answer`.
  int result;
  int answer;
  // One locked allocation: the message, then room for the acknowledgement.
  uint8_t *secret;
  size_t prefix;
};

#define KEY_MESSAGE_BYTES 2048
#define KEY_ANSWER_BYTES 8192
#define KEY_SECRET_BYTES (KEY_MESSAGE_BYTES + KEY_ANSWER_BYTES)

// The errno of the acknowledgement with the sequence number of the request, -1 when the datagram has none.
static int find_answer(const uint8_t *datagram, size_t length, uint32_t sequence) {
  for (size_t at = 0; length - at >= sizeof(struct nlmsghdr);) {
    struct nlmsghdr header;
    int32_t error;
    memcpy(&header, datagram + at, sizeof(header));
    if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > length - at) return -1;
    if (header.nlmsg_type == NLMSG_ERROR && header.nlmsg_seq == sequence &&
        header.nlmsg_len >= sizeof(header) + sizeof(error)) {
      memcpy(&error, datagram + at + sizeof(header), sizeof(error));
      return error <= 0 && error >= -4095 ? -error : EPROTO;
    }
    size_t step = NLMSG_ALIGN(header.nlmsg_len);
    if (step >= length - at) return -1;
    at += step;
  }
  return -1;
}

static void key_run(struct task *task) {
  struct key_task *key = (struct key_task *)task;
  struct nlattr attribute = {.nla_len = sizeof(attribute) + WG_KEY_BYTES, .nla_type = WGDEVICE_A_PRIVATE_KEY};
  struct nlmsghdr header;
  uint8_t *message = key->secret, *answer = key->secret + KEY_MESSAGE_BYTES;
  uint8_t *secret = message + key->prefix + sizeof(attribute);
  memcpy(message + key->prefix, &attribute, sizeof(attribute));
  memcpy(&header, message, sizeof(header));
  header.nlmsg_len = (uint32_t)(key->prefix + attribute.nla_len);
  memcpy(message, &header, sizeof(header));
  key->result = -1;
  if (wg_make_key(secret) < 0) {
    key->failure = (struct netlink_failure){.call = "getrandom", .error = errno};
    return;
  }
  int sent = netlink_write(key->fd, message, header.nlmsg_len, &key->failure);
  explicit_bzero(secret, WG_KEY_BYTES);
  if (sent < 0) return;
  int64_t deadline = monotonic_ms() + key->timeout;
  for (;;) {
    ssize_t length = netlink_read(key->fd, answer, KEY_ANSWER_BYTES, deadline, &key->failure);
    if (length <= 0) {
      key->result = (int)length;
      return;
    }
    key->answer = find_answer(answer, (size_t)length, header.nlmsg_seq);
    if (key->answer < 0) continue;
    key->result = 1;
    return;
  }
}

static napi_value key_settle(napi_env env, struct task *task) {
  struct key_task *key = (struct key_task *)task;
  if (key->result > 0 && key->answer == 0) return result_undefined(env);
  if (key->result > 0) throw_syscall(env, "WG_CMD_SET_DEVICE", key->answer, NULL);
  else if (key->result == 0) throw_syscall(env, "WG_CMD_SET_DEVICE", ETIMEDOUT, "no acknowledgement");
  else throw_syscall(env, key->failure.call, key->failure.error, key->failure.detail);
  return NULL;
}

static void key_release(struct task *task) {
  struct key_task *key = (struct key_task *)task;
  secret_free(key->secret, KEY_SECRET_BYTES);
  free(key);
}

static bool good_prefix(const struct bytes *prefix) {
  struct nlmsghdr header;
  if (prefix->length < sizeof(header) + sizeof(struct genlmsghdr) || prefix->length > MAX_PREFIX ||
      prefix->length % NLMSG_ALIGNTO != 0)
    return false;
  memcpy(&header, prefix->data, sizeof(header));
  return (header.nlmsg_flags & (NLM_F_REQUEST | NLM_F_ACK)) == (NLM_F_REQUEST | NLM_F_ACK);
}

static napi_value wg_set_new_key(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  struct bytes prefix;
  int64_t timeout;
  int fd;
  if (!args_get(env, info, 3, argv) || !arg_fd(env, argv[0], "fd", &fd) ||
      !arg_bytes(env, argv[1], "prefix", &prefix) ||
      !arg_integer(env, argv[2], "timeoutMs", 0, NETLINK_MAX_TIMEOUT_MS, &timeout))
    return NULL;
  if (!good_prefix(&prefix)) {
    throw_argument(env, "prefix must be a request with acknowledgement of at most %d octets, padded to 4", MAX_PREFIX);
    return NULL;
  }
  struct key_task *key = calloc(1, sizeof(*key));
  uint8_t *secret = key == NULL ? NULL : secret_alloc(KEY_SECRET_BYTES);
  if (secret == NULL) {
    int error = errno;
    free(key);
    throw_syscall(env, "mlock", error, "memory for a key");
    return NULL;
  }
  *key = (struct key_task){.task = {.run = key_run, .settle = key_settle, .release = key_release},
                           .fd = fd, .timeout = timeout, .secret = secret, .prefix = prefix.length};
  memcpy(secret, prefix.data, prefix.length);
  return task_start(env, &key->task, "wgSetNewKey");
}

// Where an attribute lies; false at the end, and where a length cannot be: what is left is then wiped.
static bool next_attribute(uint8_t *data, size_t length, size_t *at, uint16_t *type, uint8_t **payload, size_t *size) {
  struct nlattr attribute;
  if (*at >= length || length - *at < sizeof(attribute)) return false;
  memcpy(&attribute, data + *at, sizeof(attribute));
  if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > length - *at) {
    explicit_bzero(data + *at, length - *at);
    return false;
  }
  *type = attribute.nla_type & NLA_TYPE_MASK;
  *payload = data + *at + sizeof(attribute);
  *size = attribute.nla_len - sizeof(attribute);
  *at += NLA_ALIGN(attribute.nla_len);
  return true;
}

static void blank_peer(uint8_t *data, size_t length) {
  uint8_t *payload;
  uint16_t type;
  size_t at = 0, size;
  while (next_attribute(data, length, &at, &type, &payload, &size))
    if (type == WGPEER_A_PRESHARED_KEY) explicit_bzero(payload, size);
}

static void blank_device(uint8_t *data, size_t length) {
  uint8_t *payload, *peer;
  uint16_t type, index;
  size_t at = 0, size, peer_size;
  while (next_attribute(data, length, &at, &type, &payload, &size)) {
    if (type == WGDEVICE_A_PRIVATE_KEY) explicit_bzero(payload, size);
    if (type != WGDEVICE_A_PEERS) continue;
    size_t inner = 0;
    while (next_attribute(payload, size, &inner, &index, &peer, &peer_size)) blank_peer(peer, peer_size);
  }
}

static void blank_datagram(uint8_t *data, size_t length) {
  for (size_t at = 0; at < length;) {
    struct nlmsghdr header;
    size_t left = length - at, skip = sizeof(header) + sizeof(struct genlmsghdr);
    if (left >= sizeof(header)) memcpy(&header, data + at, sizeof(header));
    if (left < sizeof(header) || header.nlmsg_len < sizeof(header) || header.nlmsg_len > left) {
      explicit_bzero(data + at, left);
      return;
    }
    if (header.nlmsg_type >= NLMSG_MIN_TYPE && header.nlmsg_len > skip)
      blank_device(data + at + skip, header.nlmsg_len - skip);
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
}

// Datagrams of one trip to the pool at most.
#define MAX_GATHERED 8

struct receive_task {
  struct task task;
  struct netlink_failure failure;
  int fd;
  int64_t timeout;
  // Datagrams to gather.
  uint32_t most;
  ssize_t length;
  size_t room;
  uint8_t *out;
  // What is sent before; nothing of our own secrets.
  size_t size;
  uint8_t message[];
};

// The first datagram is waited for. What follows it in a dump is made by the kernel while it is read, so it is there.
static void receive_run(struct task *task) {
  struct receive_task *receive = (struct receive_task *)task;
  size_t have = 0;
  receive->length = -1;
  if (receive->size > 0 && netlink_write(receive->fd, receive->message, receive->size, &receive->failure) < 0) return;
  for (uint32_t i = 0; i < receive->most; i++) {
    int64_t deadline = i == 0 ? monotonic_ms() + receive->timeout : 0;
    ssize_t length =
        netlink_read(receive->fd, receive->out + have, NETLINK_RECEIVE_BYTES, deadline, &receive->failure);
    if (length < 0) return;
    if (length == 0) break;
    blank_datagram(receive->out + have, (size_t)length);
    // The next message begins where one may: the octets between are zero.
    have += NLMSG_ALIGN((size_t)length);
  }
  receive->length = (ssize_t)have;
}

static napi_value receive_settle(napi_env env, struct task *task) {
  struct receive_task *receive = (struct receive_task *)task;
  if (receive->length >= 0) return result_bytes(env, receive->out, (size_t)receive->length);
  throw_syscall(env, receive->failure.call, receive->failure.error, receive->failure.detail);
  return NULL;
}

static void receive_release(struct task *task) {
  struct receive_task *receive = (struct receive_task *)task;
  secret_free(receive->out, receive->room);
  free(receive);
}

static napi_value start_receive(napi_env env, int fd, const struct bytes *message, int64_t timeout, uint32_t most,
                                const char *name) {
  struct receive_task *receive = calloc(1, sizeof(*receive) + message->length);
  size_t room = (size_t)most * NETLINK_RECEIVE_BYTES;
  uint8_t *out = receive == NULL ? NULL : secret_alloc_large(room);
  if (out == NULL) {
    free(receive);
    throw_syscall(env, "mmap", ENOMEM, NULL);
    return NULL;
  }
  *receive = (struct receive_task){
      .task = {.run = receive_run, .settle = receive_settle, .release = receive_release},
      .fd = fd, .timeout = timeout, .most = most, .room = room, .out = out, .size = message->length};
  if (message->length > 0) memcpy(receive->message, message->data, message->length);
  return task_start(env, &receive->task, name);
}

static napi_value wg_receive(napi_env env, napi_callback_info info) {
  static const struct bytes nothing = {0};
  napi_value argv[3];
  bool absent;
  int64_t timeout, most = 1;
  int fd;
  if (!args_get(env, info, 3, argv) || !arg_fd(env, argv[0], "fd", &fd) ||
      !arg_integer(env, argv[1], "timeoutMs", 0, NETLINK_MAX_TIMEOUT_MS, &timeout) ||
      !arg_absent(env, argv[2], "most", &absent) ||
      (!absent && !arg_integer(env, argv[2], "most", 1, MAX_GATHERED, &most)))
    return NULL;
  return start_receive(env, fd, &nothing, timeout, (uint32_t)most, "wgReceive");
}

static napi_value wg_exchange(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  struct bytes message;
  int64_t timeout;
  int fd;
  if (!args_get(env, info, 3, argv) || !arg_fd(env, argv[0], "fd", &fd) ||
      !arg_bytes(env, argv[1], "message", &message) ||
      !arg_integer(env, argv[2], "timeoutMs", 0, NETLINK_MAX_TIMEOUT_MS, &timeout))
    return NULL;
  if (message.length < sizeof(struct nlmsghdr)) {
    throw_argument(env, "message must have a header of %zu octets", sizeof(struct nlmsghdr));
    return NULL;
  }
  return start_receive(env, fd, &message, timeout, 1, "wgExchange");
}

// For tests: what wgReceive does with a datagram.
static napi_value wg_blank(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  struct bytes datagram;
  if (!args_get(env, info, 1, argv) || !arg_bytes(env, argv[0], "datagram", &datagram)) return NULL;
  if (datagram.length > 0) blank_datagram(datagram.data, datagram.length);
  return result_undefined(env);
}

bool wgkey_register(napi_env env, napi_value exports) {
  static const struct function functions[] = {
      {"wgSetNewKey", wg_set_new_key},
      {"wgReceive", wg_receive},
      {"wgExchange", wg_exchange},
      {"wgBlank", wg_blank},
  };
  return define_functions(env, exports, functions, ARRAY_LENGTH(functions));
}
