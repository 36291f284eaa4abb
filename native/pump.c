// The pump's door: arguments, memory held by references, members. The turn itself is pump_send.c and
// pump_epoll.c, or pump_uring.c.
// SPDX-License-Identifier: Apache-2.0
#include "pump.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "args.h"

#define MAX_SLOTS 65536u
#define MAX_STRIDE 65536u
#define MAX_OUT 65536u
#define MAX_TIMEOUT_MS 1000

// --- members, by tag ---------------------------------------------------------------------------------------------

static uint32_t home(const struct pump *pump, uint32_t tag) {
  // Fibonacci hashing: tags are often small consecutive numbers.
  return (uint32_t)((tag * 0x9e3779b1u) & (pump->capacity - 1));
}

struct member *pump_find(const struct pump *pump, uint32_t tag) {
  for (uint32_t i = home(pump, tag);; i = (i + 1) & (pump->capacity - 1)) {
    struct member *member = pump->table[i];
    if (member == NULL || member->tag == tag) return member;
  }
}

static void place(struct pump *pump, struct member *member) {
  uint32_t i = home(pump, member->tag);
  while (pump->table[i] != NULL) i = (i + 1) & (pump->capacity - 1);
  pump->table[i] = member;
}

static bool grow(struct pump *pump) {
  uint32_t capacity = pump->capacity;
  struct member **old = pump->table;
  struct member **table = calloc((size_t)capacity * 2, sizeof(*table));
  if (table == NULL) return false;
  pump->table = table;
  pump->capacity = capacity * 2;
  for (uint32_t i = 0; i < capacity; i++)
    if (old[i] != NULL) place(pump, old[i]);
  free(old);
  return true;
}

static void take_out(struct pump *pump, struct member *member) {
  uint32_t mask = pump->capacity - 1, i = home(pump, member->tag);
  while (pump->table[i] != member) i = (i + 1) & mask;
  pump->table[i] = NULL;
  // What follows in the cluster may have been pushed past the gap.
  for (uint32_t j = (i + 1) & mask; pump->table[j] != NULL; j = (j + 1) & mask) {
    struct member *moved = pump->table[j];
    pump->table[j] = NULL;
    place(pump, moved);
  }
  for (struct member **link = &pump->pending; *link != NULL; link = &(*link)->pending) {
    if (*link == member) {
      *link = member->pending;
      break;
    }
  }
  pump->count--;
}

// --- life --------------------------------------------------------------------------------------------------------

// Releases everything but the struct itself, which lives as long as its JavaScript object.
static void pump_close(napi_env env, struct pump *pump) {
  if (!pump->open) return;
  pump->open = false;
  pump_uring_close(pump);
  if (pump->epoll_fd >= 0) close(pump->epoll_fd);
  for (uint32_t i = 0; i < pump->capacity; i++) free(pump->table[i]);
  free(pump->table);
  free(pump->events);
  free(pump->ready);
  free(pump->in_listener);
  free(pump->in_upstream);
  free(pump->in_iov);
  free(pump->in_name);
  free(pump->in_control);
  free(pump->out_message);
  free(pump->out_slot);
  free(pump->out_next);
  free(pump->out_order);
  for (size_t i = 0; i < pump->buffer_count; i++)
    if (napi_delete_reference(env, pump->buffers[i]) != napi_ok) continue;
  pump->buffer_count = 0;
  pump->handle.instance->live--;
}

static void pump_finalize(napi_env env, void *data, void *hint) {
  (void)hint;
  struct pump *pump = data;
  pump_close(env, pump);
  handle_unlink(&pump->handle);
  free(pump);
}

static bool allocate(struct pump *pump) {
  size_t slots = pump->slots, max_out = pump->max_out == 0 ? 1 : pump->max_out;
  pump->capacity = 16;
  pump->table = calloc(pump->capacity, sizeof(*pump->table));
  pump->events = calloc(MAX_EVENTS, sizeof(*pump->events));
  pump->ready = calloc(MAX_EVENTS, sizeof(*pump->ready));
  pump->in_listener = calloc(slots, sizeof(*pump->in_listener));
  pump->in_upstream = calloc(slots, sizeof(*pump->in_upstream));
  pump->in_iov = calloc(slots, sizeof(*pump->in_iov));
  pump->in_name = calloc(slots, sizeof(*pump->in_name));
  pump->in_control = calloc(slots, sizeof(*pump->in_control));
  pump->out_message = calloc(max_out, sizeof(*pump->out_message));
  pump->out_slot = calloc(max_out, sizeof(*pump->out_slot));
  pump->out_next = calloc(max_out, sizeof(*pump->out_next));
  pump->out_order = calloc(max_out, sizeof(*pump->out_order));
  if (pump->table == NULL) pump->capacity = 0;
  if (!pump->table || !pump->events || !pump->ready || !pump->in_listener || !pump->in_upstream || !pump->in_iov ||
      !pump->in_name || !pump->in_control || !pump->out_message || !pump->out_slot || !pump->out_next ||
      !pump->out_order)
    return false;
  for (size_t i = 0; i < slots; i++) {
    pump->in_iov[i] = (struct iovec){.iov_base = pump->buffer + i * pump->stride, .iov_len = pump->stride};
    struct msghdr common = {.msg_iov = &pump->in_iov[i], .msg_iovlen = 1};
    pump->in_upstream[i].msg_hdr = common;
    common.msg_name = &pump->in_name[i];
    common.msg_namelen = sizeof(pump->in_name[i]);
    common.msg_control = &pump->in_control[i];
    common.msg_controllen = sizeof(pump->in_control[i]);
    pump->in_listener[i].msg_hdr = common;
  }
  return true;
}

// Keeps the ArrayBuffer alive. It must be one that neither shrinks nor is shared: records are checked, then used.
static bool hold(napi_env env, struct pump *pump, napi_value buffer, const char *name) {
  bool plain = false, resizable = false;
  napi_value value;
  if (!check(env, napi_is_arraybuffer(env, buffer, &plain), name)) return false;
  if (plain && (!field(env, buffer, "resizable", &value) || !arg_boolean(env, value, name, &resizable))) return false;
  if (!plain || resizable) {
    throw_argument(env, "%s must be on an ArrayBuffer of fixed size", name);
    return false;
  }
  // A step looks at each buffer once, so views on one buffer make it cheaper.
  for (size_t i = 0; i < pump->buffer_count; i++) {
    bool same = false;
    if (!check(env, napi_get_reference_value(env, pump->buffers[i], &value), name) ||
        !check(env, napi_strict_equals(env, value, buffer, &same), name))
      return false;
    if (same) return true;
  }
  if (!check(env, napi_create_reference(env, buffer, 1, &pump->buffers[pump->buffer_count]), name)) return false;
  pump->buffer_count++;
  return true;
}

static bool view(napi_env env, struct pump *pump, napi_value value, const char *name, napi_typedarray_type type,
                 void **data, size_t *length) {
  napi_value buffer;
  return arg_typed(env, value, name, type, data, length, &buffer) && hold(env, pump, buffer, name);
}

static bool reply_socket(napi_env env, napi_value value, const char *name, int family, int *out) {
  int64_t fd;
  int domain = 0, type = 0, protocol = 0;
  socklen_t length = sizeof(int);
  if (!arg_integer(env, value, name, -1, INT32_MAX, &fd)) return false;
  *out = (int)fd;
  if (fd < 0) return true;
  if (getsockopt((int)fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0 ||
      getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 ||
      getsockopt((int)fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) < 0) {
    throw_syscall(env, "getsockopt", errno, NULL);
    return false;
  }
  if (domain == family && type == SOCK_RAW && protocol == IPPROTO_UDP) return true;
  throw_argument(env, "%s is not a socket of openUdpReply of that family", name);
  return false;
}

static bool read_options(napi_env env, napi_value options, struct pump *pump, uint32_t *path) {
  static const char *const names[] = {"buffer", "rx", "out", "header", "now", "reply4", "reply6"};
  napi_value values[ARRAY_LENGTH(names)];
  void *data[5];
  size_t length[5];
  bool present;
  *path = PATH_AUTO;
  if (!arg_object(env, options, "options")) return false;
  // Getters may run JavaScript: everything is fetched before any pointer is taken.
  for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
    if (!field(env, options, names[i], &values[i])) return false;
  if (!field_optional_u32(env, options, "path", PATH_AUTO, PATH_IO_URING, path, &present) ||
      !field_u32(env, options, "slots", 1, MAX_SLOTS, &pump->slots) ||
      !field_u32(env, options, "stride", 1, MAX_STRIDE, &pump->stride) ||
      !reply_socket(env, values[5], "reply4", AF_INET, &pump->reply4.fd) ||
      !reply_socket(env, values[6], "reply6", AF_INET6, &pump->reply6.fd) ||
      !view(env, pump, values[0], names[0], napi_uint8_array, &data[0], &length[0]) ||
      !view(env, pump, values[1], names[1], napi_uint32_array, &data[1], &length[1]) ||
      !view(env, pump, values[2], names[2], napi_uint32_array, &data[2], &length[2]) ||
      !view(env, pump, values[3], names[3], napi_int32_array, &data[3], &length[3]) ||
      !view(env, pump, values[4], names[4], napi_float64_array, &data[4], &length[4]))
    return false;
  if (length[0] < (size_t)pump->slots * pump->stride || length[0] > UINT32_MAX) {
    throw_argument(env, "buffer must hold slots * stride octets and less than 4 GiB");
    return false;
  }
  if (length[1] < (size_t)pump->slots * RX_WORDS) {
    throw_argument(env, "rx must hold slots * %d words", RX_WORDS);
    return false;
  }
  if (length[2] % OUT_WORDS != 0 || length[2] / OUT_WORDS > MAX_OUT) {
    throw_argument(env, "out must hold whole records of %d words, at most %u", OUT_WORDS, MAX_OUT);
    return false;
  }
  if (length[3] < HEADER_WORDS || length[4] < 1) {
    throw_argument(env, "header must hold %d words and now one", HEADER_WORDS);
    return false;
  }
  pump->buffer = data[0];
  pump->buffer_length = length[0];
  pump->rx = data[1];
  pump->out = data[2];
  pump->max_out = (uint32_t)(length[2] / OUT_WORDS);
  pump->header = data[3];
  pump->now = data[4];
  return true;
}

// What the kernel gives: io_uring may be switched off (kernel.io_uring_disabled), forbidden by a filter of system calls,
// or too old (before 6.1). False with an exception pending.
static bool open_path(napi_env env, struct pump *pump, uint32_t path) {
  const char *call = "epoll_create1";
  if (path != PATH_EPOLL && pump_uring_open(pump, &call)) return true;
  if (path != PATH_IO_URING) {
    call = "epoll_create1";
    pump->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (pump->epoll_fd >= 0) return true;
  }
  throw_syscall(env, call, errno, NULL);
  return false;
}

static napi_value pump_create(napi_env env, napi_callback_info info) {
  napi_value argv[1], handle;
  struct instance *instance = instance_get(env);
  if (instance == NULL || !args_get(env, info, 1, argv)) return NULL;
  struct pump *pump = calloc(1, sizeof(*pump));
  if (pump == NULL) {
    throw_syscall(env, "calloc", ENOMEM, NULL);
    return NULL;
  }
  instance->live++;
  pump->handle.instance = instance;
  pump->open = true;
  pump->epoll_fd = -1;
  pump->reply4.first = pump->reply6.first = NONE;
  uint32_t path;
  if (!read_options(env, argv[0], pump, &path)) goto failed;
  if (!allocate(pump)) {
    throw_syscall(env, "calloc", ENOMEM, NULL);
    goto failed;
  }
  if (!open_path(env, pump, path)) goto failed;
  handle = handle_create(env, &pump->handle, HANDLE_PUMP, pump_finalize);
  if (handle == NULL) goto failed;
  pump->header[HEADER_PATH] = pump->uring == NULL ? PATH_EPOLL : PATH_IO_URING;
  return handle;
failed:
  pump_close(env, pump);
  free(pump);
  return NULL;
}

static struct pump *open_pump(napi_env env, napi_value value) {
  struct pump *pump = handle_get(env, value, HANDLE_PUMP, "pump");
  if (pump == NULL || pump->open) return pump;
  throw_argument(env, "the pump is destroyed");
  return NULL;
}

// --- members, from JavaScript ------------------------------------------------------------------------------------

// Fills family and peer; false with an exception pending when the descriptor is not what its kind says.
static bool inspect(napi_env env, struct member *member) {
  if (member->kind == PUMP_KICK) {
    int flags = fcntl(member->fd, F_GETFL);
    if (flags < 0) {
      throw_syscall(env, "fcntl(F_GETFL)", errno, NULL);
      return false;
    }
    if (flags & O_NONBLOCK) return true;
    throw_argument(env, "fd must be non-blocking");
    return false;
  }
  union sock_address peer;
  int domain = 0, type = 0;
  socklen_t length = sizeof(int);
  if (getsockopt(member->fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0 ||
      getsockopt(member->fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0) {
    throw_syscall(env, "getsockopt", errno, NULL);
    return false;
  }
  if (type != SOCK_DGRAM || (domain != AF_INET && domain != AF_INET6)) {
    throw_argument(env, "fd is not a UDP socket");
    return false;
  }
  member->family = domain == AF_INET ? 4 : 6;
  if (member->kind == PUMP_LISTENER) return true;
  length = sizeof(peer);
  if (getpeername(member->fd, &peer.any, &length) < 0) {
    throw_syscall(env, "getpeername", errno, NULL);
    return false;
  }
  if (domain == AF_INET) {
    member->peer[10] = member->peer[11] = 0xff;
    memcpy(member->peer + 12, &peer.v4.sin_addr, 4);
    member->peer_port = ntohs(peer.v4.sin_port);
  } else {
    memcpy(member->peer, &peer.v6.sin6_addr, 16);
    member->peer_port = ntohs(peer.v6.sin6_port);
  }
  return true;
}

static int add_to_epoll(struct pump *pump, const struct member *member) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)member->generation << 32 | member->tag};
  return epoll_ctl(pump->epoll_fd, EPOLL_CTL_ADD, member->fd, &event) < 0 ? errno : 0;
}

// Refuses what epoll_ctl(2) would: a descriptor that is there already, and one that is never waited for.
static int add_to_uring(struct pump *pump, struct member *member) {
  struct stat file;
  if (fstat(member->fd, &file) < 0) return errno;
  if (S_ISREG(file.st_mode) || S_ISDIR(file.st_mode)) return EPERM;
  for (uint32_t i = 0; i < pump->capacity; i++)
    if (pump->table[i] != NULL && pump->table[i]->fd == member->fd) return EEXIST;
  pump_uring_add(pump, member);
  return 0;
}

static napi_value pump_add(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  struct pump *pump;
  struct member wanted = {.first = NONE};
  uint32_t kind;
  if (!args_get(env, info, 4, argv) || (pump = open_pump(env, argv[0])) == NULL ||
      !arg_fd(env, argv[1], "fd", &wanted.fd) || !arg_u32(env, argv[2], "kind", PUMP_LISTENER, PUMP_KICK, &kind) ||
      !arg_u32(env, argv[3], "tag", 0, UINT32_MAX, &wanted.tag))
    return NULL;
  wanted.kind = (uint8_t)kind;
  if (pump_find(pump, wanted.tag) != NULL) {
    throw_argument(env, "tag %u is taken", wanted.tag);
    return NULL;
  }
  if (!inspect(env, &wanted)) return NULL;
  struct member *member = malloc(sizeof(*member));
  if (member == NULL || ((pump->count + 1) * 2 > pump->capacity && !grow(pump))) {
    free(member);
    throw_syscall(env, "malloc", ENOMEM, NULL);
    return NULL;
  }
  // No member has generation 0.
  if (++pump->generation == 0) pump->generation = 1;
  wanted.generation = pump->generation;
  *member = wanted;
  int error = pump->uring == NULL ? add_to_epoll(pump, member) : add_to_uring(pump, member);
  if (error != 0) {
    free(member);
    throw_syscall(env, pump->uring == NULL ? "epoll_ctl(ADD)" : "pump_add", error, NULL);
    return NULL;
  }
  place(pump, member);
  pump->count++;
  return result_undefined(env);
}

static napi_value pump_remove(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  struct pump *pump;
  uint32_t tag;
  if (!args_get(env, info, 2, argv) || (pump = open_pump(env, argv[0])) == NULL ||
      !arg_u32(env, argv[1], "tag", 0, UINT32_MAX, &tag))
    return NULL;
  struct member *member = pump_find(pump, tag);
  if (member == NULL) {
    throw_argument(env, "no socket has tag %u", tag);
    return NULL;
  }
  // A descriptor that was closed before is out of the epoll set already.
  int error = 0;
  if (pump->uring != NULL) pump_uring_remove(pump, member);
  else if (epoll_ctl(pump->epoll_fd, EPOLL_CTL_DEL, member->fd, NULL) < 0) error = errno;
  take_out(pump, member);
  free(member);
  if (error != 0 && error != EBADF && error != ENOENT) {
    throw_syscall(env, "epoll_ctl(DEL)", error, NULL);
    return NULL;
  }
  return result_undefined(env);
}

// The memory belongs to JavaScript, which can detach it (postMessage, transfer): then the pointers are no longer ours.
static bool still_attached(napi_env env, const struct pump *pump) {
  for (size_t i = 0; i < pump->buffer_count; i++) {
    napi_value buffer;
    bool detached = true;
    if (!check(env, napi_get_reference_value(env, pump->buffers[i], &buffer), "pump")) return false;
    if (buffer != NULL && !check(env, napi_is_detached_arraybuffer(env, buffer, &detached), "pump")) return false;
    if (detached) {
      throw_argument(env, "memory of the pump is detached");
      return false;
    }
  }
  return true;
}

static napi_value pump_step(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  struct pump *pump;
  uint32_t outgoing;
  int64_t timeout;
  if (!args_get(env, info, 3, argv) || (pump = open_pump(env, argv[0])) == NULL ||
      !arg_u32(env, argv[1], "outgoing", 0, pump->max_out, &outgoing) ||
      !arg_integer(env, argv[2], "timeoutMs", INT32_MIN, INT32_MAX, &timeout) || !still_attached(env, pump))
    return NULL;
  if (timeout < 0) timeout = 0;
  if (timeout > MAX_TIMEOUT_MS) timeout = MAX_TIMEOUT_MS;
  int64_t received;
  if (pump->uring != NULL) {
    received = pump_uring_turn(pump, outgoing, (int)timeout);
  } else {
    pump->header[HEADER_KICKED] = 0;
    pump->header[HEADER_SEND_ERRORS] = (int32_t)pump_send(pump, outgoing);
    received = pump_epoll_receive(pump, (int)timeout);
  }
  if (received < 0) {
    throw_syscall(env, pump->uring != NULL ? "io_uring_enter" : "epoll_wait", errno, NULL);
    return NULL;
  }
  struct timespec now;
  if (clock_gettime(CLOCK_MONOTONIC, &now) < 0) {
    throw_syscall(env, "clock_gettime", errno, NULL);
    return NULL;
  }
  pump->now[0] = (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
  return result_u32(env, (uint32_t)received);
}

static napi_value pump_destroy(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  struct pump *pump;
  if (!args_get(env, info, 1, argv) || (pump = open_pump(env, argv[0])) == NULL) return NULL;
  pump_close(env, pump);
  return result_undefined(env);
}

bool pump_register(napi_env env, napi_value exports) {
  static const struct function functions[] = {
      {"pumpCreate", pump_create}, {"pumpAdd", pump_add},         {"pumpRemove", pump_remove},
      {"pumpStep", pump_step},     {"pumpDestroy", pump_destroy},
  };
  return define_functions(env, exports, functions, ARRAY_LENGTH(functions));
}
