// One request on the configuration socket of a userspace WireGuard (text protocol, an empty line ends a message).
// Replies hold private keys, so they are blanked here; a new private key is written here.
// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "addon.h"
#include "args.h"
#include "netlink.h"
#include "task.h"
#include "wgkey.h"

#define MAX_REQUEST (16 << 20)
// 65,536 peers of some 700 octets.
#define MAX_REPLY (64 << 20)
#define FIRST_REPLY (256 << 10)

struct uapi_task {
  struct task task;
  const char *call;
  int error;
  int64_t deadline;
  uint8_t *request;
  size_t request_size;
  size_t request_room;
  uint8_t *reply;
  size_t reply_size;
  size_t reply_room;
  bool new_key;
  struct sockaddr_un address;
};

static bool failed(struct uapi_task *uapi, const char *call, int error) {
  uapi->call = call;
  uapi->error = error;
  return false;
}

static bool wait_for(struct uapi_task *uapi, int fd, short events) {
  for (;;) {
    int64_t left = uapi->deadline - monotonic_ms();
    struct pollfd entry = {.fd = fd, .events = events};
    int result = poll(&entry, 1, left > 0 ? (int)left : 0);
    if (result > 0) return true;
    if (result == 0) return failed(uapi, "poll(UAPI)", ETIMEDOUT);
    if (errno != EINTR) return failed(uapi, "poll(UAPI)", errno);
  }
}

static const char digits[] = "0123456789abcdef";

static void write_hex(uint8_t *out, const uint8_t *bytes) {
  for (size_t i = 0; i < WG_KEY_BYTES; i++) {
    out[2 * i] = (uint8_t)digits[bytes[i] >> 4];
    out[2 * i + 1] = (uint8_t)digits[bytes[i] & 15];
  }
}

static bool read_hex(const uint8_t *text, uint8_t *bytes) {
  memset(bytes, 0, WG_KEY_BYTES);
  for (size_t i = 0; i < 2 * WG_KEY_BYTES; i++) {
    const char *digit = text[i] == 0 ? NULL : strchr(digits, text[i]);
    if (digit == NULL) return false;
    bytes[i / 2] = (uint8_t)(bytes[i / 2] << 4 | (digit - digits));
  }
  return true;
}

static bool append_key(struct uapi_task *uapi) {
  static const char name[] = "private_key=";
  uint8_t *at = uapi->request + uapi->request_size, *key = at + 128;
  if (wg_make_key(key) < 0) return failed(uapi, "getrandom", errno);
  memcpy(at, name, sizeof(name) - 1);
  at += sizeof(name) - 1;
  write_hex(at, key);
  at += 2 * WG_KEY_BYTES;
  *at++ = '\n';
  *at++ = '\n';
  explicit_bzero(key, WG_KEY_BYTES);
  uapi->request_size = (size_t)(at - uapi->request);
  return true;
}

static bool send_request(struct uapi_task *uapi, int fd) {
  for (size_t sent = 0; sent < uapi->request_size;) {
    if (!wait_for(uapi, fd, POLLOUT)) return false;
    ssize_t count = send(fd, uapi->request + sent, uapi->request_size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && errno != EINTR && errno != EAGAIN) return failed(uapi, "send(UAPI)", errno);
    if (count > 0) sent += (size_t)count;
  }
  return true;
}

static bool grow(struct uapi_task *uapi) {
  if (uapi->reply_room >= MAX_REPLY) return failed(uapi, "recv(UAPI)", EMSGSIZE);
  // Pages move, octets are not copied.
  void *larger = mremap(uapi->reply, uapi->reply_room, uapi->reply_room * 2, MREMAP_MAYMOVE);
  if (larger == MAP_FAILED) return failed(uapi, "mremap", errno);
  uapi->reply = larger;
  uapi->reply_room *= 2;
  return true;
}

static bool ended(const struct uapi_task *uapi) {
  return uapi->reply_size >= 2 && memcmp(uapi->reply + uapi->reply_size - 2, "\n\n", 2) == 0;
}

static bool read_reply(struct uapi_task *uapi, int fd) {
  while (!ended(uapi)) {
    if (uapi->reply_size == uapi->reply_room && !grow(uapi)) return false;
    if (!wait_for(uapi, fd, POLLIN)) return false;
    ssize_t count =
        recv(fd, uapi->reply + uapi->reply_size, uapi->reply_room - uapi->reply_size, MSG_DONTWAIT);
    if (count == 0) return failed(uapi, "recv(UAPI)", ECONNRESET);
    if (count < 0 && errno != EINTR && errno != EAGAIN) return failed(uapi, "recv(UAPI)", errno);
    if (count > 0) uapi->reply_size += (size_t)count;
  }
  return true;
}

static bool starts(const uint8_t *line, size_t length, const char *name) {
  return length >= strlen(name) && memcmp(line, name, strlen(name)) == 0;
}

// The protocol tells the private key of the device and leaves it to the asker to work out the public one. The line
// becomes public_self=, which has as many octets. `scratch` is locked memory.
static void publish_key(uint8_t *line, uint8_t *scratch) {
  static const char name[] = "public_self=";
  uint8_t public_key[WG_KEY_BYTES];
  size_t length = sizeof(public_key);
  EVP_PKEY *key = NULL;
  if (read_hex(line + sizeof(name) - 1, scratch))
    key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, scratch, WG_KEY_BYTES);
  explicit_bzero(scratch, WG_KEY_BYTES);
  memset(line + sizeof(name) - 1, '0', 2 * WG_KEY_BYTES);
  if (key != NULL && EVP_PKEY_get_raw_public_key(key, public_key, &length) == 1 && length == sizeof(public_key)) {
    memcpy(line, name, sizeof(name) - 1);
    write_hex(line + sizeof(name) - 1, public_key);
  }
  // Wipes its copy.
  EVP_PKEY_free(key);
}

#define KEY_LINE (sizeof("private_key=") - 1 + 2 * WG_KEY_BYTES)

static void blank_reply(uint8_t *reply, size_t size, uint8_t *scratch) {
  for (size_t at = 0; at < size;) {
    const uint8_t *end = memchr(reply + at, '\n', size - at);
    size_t length = end == NULL ? size - at : (size_t)(end - (reply + at));
    static const char *const names[] = {"private_key=", "preshared_key="};
    if (length == KEY_LINE && starts(reply + at, length, names[0])) publish_key(reply + at, scratch);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
      if (starts(reply + at, length, names[i]))
        memset(reply + at + strlen(names[i]), '0', length - strlen(names[i]));
    at += length + 1;
  }
}

static void uapi_run(struct task *task) {
  struct uapi_task *uapi = (struct uapi_task *)task;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    failed(uapi, "socket(AF_UNIX)", errno);
    return;
  }
  if (connect(fd, (struct sockaddr *)&uapi->address, sizeof(uapi->address)) < 0) failed(uapi, "connect(UAPI)", errno);
  else if ((!uapi->new_key || append_key(uapi)) && send_request(uapi, fd)) read_reply(uapi, fd);
  close(fd);
  explicit_bzero(uapi->request, uapi->request_room);
  blank_reply(uapi->reply, uapi->reply_size, uapi->request);
}

static napi_value uapi_settle(napi_env env, struct task *task) {
  struct uapi_task *uapi = (struct uapi_task *)task;
  if (uapi->call == NULL) return result_bytes(env, uapi->reply, uapi->reply_size);
  throw_syscall(env, uapi->call, uapi->error, uapi->address.sun_path);
  return NULL;
}

static void uapi_release(struct task *task) {
  struct uapi_task *uapi = (struct uapi_task *)task;
  secret_free(uapi->request, uapi->request_room);
  secret_free(uapi->reply, uapi->reply_room);
  free(uapi);
}

static napi_value start(napi_env env, napi_callback_info info, bool new_key) {
  napi_value argv[3];
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct bytes request;
  int64_t timeout;
  if (!args_get(env, info, 3, argv) || !arg_text(env, argv[0], "path", address.sun_path, sizeof(address.sun_path)) ||
      !arg_bytes(env, argv[1], "request", &request) ||
      !arg_integer(env, argv[2], "timeoutMs", 0, NETLINK_MAX_TIMEOUT_MS, &timeout))
    return NULL;
  if (request.length == 0 || request.length > MAX_REQUEST) {
    throw_argument(env, "request must have 1 to %d octets", MAX_REQUEST);
    return NULL;
  }
  struct uapi_task *uapi = calloc(1, sizeof(*uapi));
  if (uapi == NULL) {
    throw_syscall(env, "calloc", ENOMEM, NULL);
    return NULL;
  }
  *uapi = (struct uapi_task){.task = {.run = uapi_run, .settle = uapi_settle, .release = uapi_release},
                             .deadline = monotonic_ms() + timeout, .address = address, .new_key = new_key,
                             .request_size = request.length, .request_room = request.length + 256,
                             .reply_room = FIRST_REPLY};
  uapi->request = new_key ? secret_alloc(uapi->request_room) : secret_alloc_large(uapi->request_room);
  uapi->reply = uapi->request == NULL ? NULL : secret_alloc_large(FIRST_REPLY);
  if (uapi->reply == NULL) {
    int error = errno;
    uapi_release(&uapi->task);
    throw_syscall(env, "mlock", error, "memory for a key");
    return NULL;
  }
  memcpy(uapi->request, request.data, request.length);
  return task_start(env, &uapi->task, new_key ? "wgUapiSetNewKey" : "wgUapi");
}

static napi_value wg_uapi(napi_env env, napi_callback_info info) { return start(env, info, false); }
static napi_value wg_uapi_set_new_key(napi_env env, napi_callback_info info) { return start(env, info, true); }

bool wguapi_register(napi_env env, napi_value exports) {
  static const struct function functions[] = {
      {"wgUapi", wg_uapi},
      {"wgUapiSetNewKey", wg_uapi_set_new_key},
  };
  return define_functions(env, exports, functions, ARRAY_LENGTH(functions));
}
