// Batches of map entries: one system call where the kernel has it for this type of map, else a loop.
// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include "bpf.h"

// BPF_MAP_*_BATCH on a map type without batches; kernel-internal, yet bpf(2) lets it out.
#define KERNEL_ENOTSUPP 524

// The caller's cursor: the kernel's position (4 octets, or a key), and in octet 60 what it is.
#define CURSOR_OCTETS 64
#define CURSOR_POSITION 60
enum { CURSOR_START = 0, CURSOR_BATCH = 1, CURSOR_KEY = 2 };

#define MAX_BATCH (1u << 24)

struct batch {
  int fd;
  struct map_shape shape;
  uint8_t *keys, *values;
  uint32_t count;
};

static bool at_least(napi_env env, const struct bytes *bytes, uint64_t length, const char *name) {
  if (bytes->length >= length) return true;
  throw_argument(env, "%s must have at least %llu octets, not %zu", name, (unsigned long long)length, bytes->length);
  return false;
}

static bool read_batch(napi_env env, napi_value fd, napi_value keys, napi_value values, napi_value count,
                       const char *count_name, struct batch *b) {
  struct bytes key_bytes, value_bytes = {NULL, 0};
  if (!arg_fd(env, fd, "fd", &b->fd) || !arg_bytes(env, keys, "keys", &key_bytes) ||
      (values != NULL && !arg_bytes(env, values, "values", &value_bytes)) ||
      !arg_u32(env, count, count_name, 0, MAX_BATCH, &b->count) || !map_shape_read(env, b->fd, &b->shape) ||
      !at_least(env, &key_bytes, (uint64_t)b->count * b->shape.info.key_size, "keys") ||
      (values != NULL && !at_least(env, &value_bytes, (uint64_t)b->count * b->shape.value_octets, "values")))
    return false;
  b->keys = key_bytes.data;
  b->values = value_bytes.data;
  return true;
}

static uint8_t *key_at(const struct batch *b, uint32_t i) { return b->keys + (size_t)i * b->shape.info.key_size; }
static uint8_t *value_at(const struct batch *b, uint32_t i) { return b->values + (size_t)i * b->shape.value_octets; }

// One call for `count` entries from `at`; sets *done to how many the kernel says it did.
static int batch_call(int command, const struct batch *b, uint32_t at, uint32_t count, uint32_t *done) {
  union bpf_attr attr;
  memset(&attr, 0, sizeof(attr));
  attr.batch.map_fd = (uint32_t)b->fd;
  attr.batch.keys = pointer64(key_at(b, at));
  attr.batch.values = b->values == NULL ? 0 : pointer64(value_at(b, at));
  attr.batch.count = count;
  int result = bpf_call(command, &attr);
  *done = attr.batch.count < count ? attr.batch.count : count;
  return result;
}

static int single(int command, const struct batch *b, uint32_t at) {
  union bpf_attr attr;
  memset(&attr, 0, sizeof(attr));
  attr.map_fd = (uint32_t)b->fd;
  attr.key = pointer64(key_at(b, at));
  attr.value = b->values == NULL ? 0 : pointer64(value_at(b, at));
  return bpf_call(command, &attr);
}

static napi_value update_batch(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  struct batch b;
  uint32_t done;
  if (!args_get(env, info, 4, argv) || !read_batch(env, argv[0], argv[1], argv[2], argv[3], "count", &b)) return NULL;
  if (b.count == 0) return result_u32(env, 0);
  if (batch_call(BPF_MAP_UPDATE_BATCH, &b, 0, b.count, &done) == 0 && done == b.count) return result_u32(env, b.count);
  // No batches for this map, or one entry failed. Which one is not told in every case, and writing an entry twice
  // does no harm, so each is written on its own until one fails.
  for (uint32_t i = 0; i < b.count; i++) {
    if (single(BPF_MAP_UPDATE_ELEM, &b, i) < 0) {
      throw_syscall_partial(env, "bpf(MAP_UPDATE_BATCH)", errno, "written", i);
      return NULL;
    }
  }
  return result_u32(env, b.count);
}

static napi_value delete_batch(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  struct batch b = {.values = NULL};
  uint32_t at = 0, deleted = 0;
  if (!args_get(env, info, 3, argv) || !read_batch(env, argv[0], argv[1], NULL, argv[2], "count", &b)) return NULL;
  while (at < b.count) {
    uint32_t done;
    if (batch_call(BPF_MAP_DELETE_BATCH, &b, at, b.count - at, &done) == 0 && done == b.count - at) {
      deleted += done;
      break;
    }
    // The batch stops at a key that is not there; it and what the kernel has done before it are left behind.
    if (errno == ENOENT && done < b.count - at) {
      deleted += done;
      at += done + 1;
      continue;
    }
    for (; at < b.count; at++) {
      if (single(BPF_MAP_DELETE_ELEM, &b, at) == 0) {
        deleted++;
      } else if (errno != ENOENT) {
        throw_syscall_partial(env, "bpf(MAP_DELETE_BATCH)", errno, "deleted", deleted);
        return NULL;
      }
    }
  }
  return result_u32(env, deleted);
}

// Entry by entry after the key in the cursor. Returns 0, 1 at the end of the map, -1 with errno set.
static int lookup_loop(const struct batch *b, uint8_t *cursor, uint32_t *read) {
  union bpf_attr attr;
  uint8_t *position = cursor;
  *read = 0;
  while (*read < b->count) {
    uint8_t *key = key_at(b, *read);
    memset(&attr, 0, sizeof(attr));
    attr.map_fd = (uint32_t)b->fd;
    attr.key = cursor[CURSOR_POSITION] == CURSOR_KEY ? pointer64(position) : 0;
    attr.next_key = pointer64(key);
    if (bpf_call(BPF_MAP_GET_NEXT_KEY, &attr) < 0) return errno == ENOENT ? 1 : -1;
    memcpy(position, key, b->shape.info.key_size);
    cursor[CURSOR_POSITION] = CURSOR_KEY;
    memset(&attr, 0, sizeof(attr));
    attr.map_fd = (uint32_t)b->fd;
    attr.key = pointer64(key);
    attr.value = pointer64(value_at(b, *read));
    if (bpf_call(BPF_MAP_LOOKUP_ELEM, &attr) == 0) ++*read;
    // Deleted since the step to it.
    else if (errno != ENOENT) return -1;
  }
  return 0;
}

// The kernel's own batch. As lookup_loop, and 2 when this map has no batches.
static int lookup_call(const struct batch *b, uint8_t *cursor, uint32_t *read) {
  union bpf_attr attr;
  uint8_t next[CURSOR_OCTETS] = {0};
  bool start = cursor[CURSOR_POSITION] == CURSOR_START;
  memset(&attr, 0, sizeof(attr));
  attr.batch.map_fd = (uint32_t)b->fd;
  attr.batch.in_batch = start ? 0 : pointer64(cursor);
  attr.batch.out_batch = pointer64(next);
  attr.batch.keys = pointer64(b->keys);
  attr.batch.values = pointer64(b->values);
  attr.batch.count = b->count;
  int result = bpf_call(BPF_MAP_LOOKUP_BATCH, &attr);
  if (result < 0 && errno != ENOENT) {
    // The older kernels that know no batches say EINVAL to the command itself.
    return start && (errno == KERNEL_ENOTSUPP || errno == EINVAL || errno == EPERM) ? 2 : -1;
  }
  *read = attr.batch.count < b->count ? attr.batch.count : b->count;
  memcpy(cursor, next, CURSOR_POSITION);
  cursor[CURSOR_POSITION] = CURSOR_BATCH;
  return result < 0 ? 1 : 0;
}

static napi_value lookup_batch(napi_env env, napi_callback_info info) {
  napi_value argv[5];
  struct bytes cursor;
  struct batch b;
  uint32_t read = 0;
  if (!args_get(env, info, 5, argv) || !arg_bytes(env, argv[1], "cursor", &cursor) ||
      !at_least(env, &cursor, CURSOR_OCTETS, "cursor") ||
      !read_batch(env, argv[0], argv[2], argv[3], argv[4], "max", &b))
    return NULL;
  if (b.count == 0 || b.shape.info.key_size == 0 || b.shape.info.key_size > CURSOR_POSITION ||
      cursor.data[CURSOR_POSITION] > CURSOR_KEY) {
    throw_argument(env, "max must be at least 1, keys 1 to %d octets, and the cursor zero to start", CURSOR_POSITION);
    return NULL;
  }
  int result = cursor.data[CURSOR_POSITION] == CURSOR_KEY ? 2 : lookup_call(&b, cursor.data, &read);
  if (result == 2) result = lookup_loop(&b, cursor.data, &read);
  if (result < 0) {
    throw_syscall(env, "bpf(MAP_LOOKUP_BATCH)", errno, NULL);
    return NULL;
  }
  return result_i32(env, result == 0 ? (int32_t)read : -1 - (int32_t)read);
}

bool bpf_batch_register(napi_env env, napi_value exports) {
  static const struct function functions[] = {
      {"bpfMapUpdateBatch", update_batch},
      {"bpfMapDeleteBatch", delete_batch},
      {"bpfMapLookupBatch", lookup_batch},
  };
  return define_functions(env, exports, functions, ARRAY_LENGTH(functions));
}
