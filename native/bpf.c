// bpf(2): pins, maps, one entry at a time.
// SPDX-License-Identifier: Apache-2.0
#include "bpf.h"

#include <bpf/libbpf.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_PATH 4096

int bpf_call(int command, union bpf_attr *attr) {
  long result;
  int again = 10;
  do result = syscall(__NR_bpf, command, attr, sizeof(*attr));
  while (result < 0 && (errno == EINTR || (errno == EAGAIN && again-- > 0)));
  return (int)result;
}

static bool is_per_cpu(uint32_t type) {
  return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH ||
         type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

bool map_shape_get(int fd, struct map_shape *shape) {
  union bpf_attr attr;
  memset(&attr, 0, sizeof(attr));
  memset(shape, 0, sizeof(*shape));
  attr.info.bpf_fd = (uint32_t)fd;
  attr.info.info_len = sizeof(shape->info);
  attr.info.info = pointer64(&shape->info);
  if (bpf_call(BPF_OBJ_GET_INFO_BY_FD, &attr) < 0) return false;
  shape->value_octets = shape->info.value_size;
  if (is_per_cpu(shape->info.type)) {
    int cpus = libbpf_num_possible_cpus();
    if (cpus <= 0) {
      errno = cpus < 0 ? -cpus : EIO;
      return false;
    }
    shape->value_octets = ((shape->info.value_size + 7) & ~7u) * (uint32_t)cpus;
  }
  return true;
}

bool map_shape_read(napi_env env, int fd, struct map_shape *shape) {
  if (map_shape_get(fd, shape)) return true;
  // This one command says EBADFD where all others say EBADF.
  throw_syscall(env, "bpf(OBJ_GET_INFO_BY_FD)", errno == EBADFD ? EBADF : errno, NULL);
  return false;
}

bool exact_length(napi_env env, const struct bytes *bytes, size_t length, const char *name) {
  if (bytes->length == length) return true;
  throw_argument(env, "%s must have %zu octets, not %zu", name, length, bytes->length);
  return false;
}

// A program's info would be read as a map's, so ask the kernel what the descriptor is.
static bool require_map(napi_env env, int fd) {
  char link[64], target[64];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, target, sizeof(target) - 1);
  if (length < 0) {
    throw_syscall(env, "readlink", errno == ENOENT ? EBADF : errno, NULL);
    return false;
  }
  target[length] = '\0';
  if (strcmp(target, "anon_inode:bpf-map") == 0) return true;
  throw_argument(env, "fd is not a BPF map");
  return false;
}

static napi_value obj_get(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  char path[MAX_PATH];
  bool absent, read_only = false;
  union bpf_attr attr;
  if (!args_get(env, info, 2, argv) || !arg_text(env, argv[0], "path", path, sizeof(path)) ||
      !arg_absent(env, argv[1], "readOnly", &absent) ||
      (!absent && !arg_boolean(env, argv[1], "readOnly", &read_only)))
    return NULL;
  memset(&attr, 0, sizeof(attr));
  attr.pathname = pointer64(path);
  attr.file_flags = read_only ? BPF_F_RDONLY : 0;
  int fd = bpf_call(BPF_OBJ_GET, &attr);
  if (fd < 0) {
    throw_syscall(env, "bpf(OBJ_GET)", errno, path);
    return NULL;
  }
  return result_i32(env, fd);
}

static napi_value obj_pin(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  char path[MAX_PATH];
  int fd;
  union bpf_attr attr;
  if (!args_get(env, info, 2, argv) || !arg_fd(env, argv[0], "fd", &fd) ||
      !arg_text(env, argv[1], "path", path, sizeof(path)))
    return NULL;
  memset(&attr, 0, sizeof(attr));
  attr.pathname = pointer64(path);
  attr.bpf_fd = (uint32_t)fd;
  if (bpf_call(BPF_OBJ_PIN, &attr) < 0) {
    throw_syscall(env, "bpf(OBJ_PIN)", errno, path);
    return NULL;
  }
  return result_undefined(env);
}

static bool read_name(napi_env env, napi_value options, char *name) {
  napi_value value;
  // The terminating NUL counts in BPF_OBJ_NAME_LEN.
  if (!field(env, options, "name", &value) || !arg_text(env, value, "name", name, BPF_OBJ_NAME_LEN)) return false;
  for (const char *c = name; *c != '\0'; c++) {
    if (!isalnum((unsigned char)*c) && *c != '_' && *c != '.') {
      throw_argument(env, "name must be of letters, digits, _ and .");
      return false;
    }
  }
  return true;
}

static napi_value map_create(napi_env env, napi_callback_info info) {
  napi_value argv[1], inner;
  union bpf_attr attr;
  uint32_t type, key_size, value_size, max_entries, flags;
  char name[BPF_OBJ_NAME_LEN] = {0};
  bool absent;
  int inner_fd = 0;
  if (!args_get(env, info, 1, argv) || !arg_object(env, argv[0], "options") ||
      !field_u32(env, argv[0], "type", 1, 255, &type) ||
      !field_u32(env, argv[0], "keySize", 0, 1u << 20, &key_size) ||
      !field_u32(env, argv[0], "valueSize", 0, 1u << 30, &value_size) ||
      !field_u32(env, argv[0], "maxEntries", 0, UINT32_MAX, &max_entries) ||
      !field_u32(env, argv[0], "flags", 0, UINT32_MAX, &flags) || !read_name(env, argv[0], name) ||
      !field(env, argv[0], "inner", &inner) || !arg_absent(env, inner, "inner", &absent) ||
      (!absent && !arg_fd(env, inner, "inner", &inner_fd)))
    return NULL;
  memset(&attr, 0, sizeof(attr));
  attr.map_type = type;
  attr.key_size = key_size;
  attr.value_size = value_size;
  attr.max_entries = max_entries;
  attr.map_flags = flags;
  attr.inner_map_fd = (uint32_t)inner_fd;
  memcpy(attr.map_name, name, sizeof(name));
  int fd = bpf_call(BPF_MAP_CREATE, &attr);
  if (fd < 0) {
    throw_syscall(env, "bpf(MAP_CREATE)", errno, name);
    return NULL;
  }
  return result_i32(env, fd);
}

static napi_value map_info(napi_env env, napi_callback_info info) {
  napi_value argv[1], result, name;
  struct map_shape shape;
  int fd;
  if (!args_get(env, info, 1, argv) || !arg_fd(env, argv[0], "fd", &fd) || !require_map(env, fd) ||
      !map_shape_read(env, fd, &shape))
    return NULL;
  const struct bpf_map_info *i = &shape.info;
  if (!check(env, napi_create_object(env, &result), "result") || !set_u32(env, result, "type", i->type) ||
      !set_u32(env, result, "id", i->id) || !set_u32(env, result, "keySize", i->key_size) ||
      !set_u32(env, result, "valueSize", i->value_size) || !set_u32(env, result, "valueOctets", shape.value_octets) ||
      !set_u32(env, result, "maxEntries", i->max_entries) || !set_u32(env, result, "flags", i->map_flags) ||
      !check(env, napi_create_string_utf8(env, i->name, strnlen(i->name, sizeof(i->name)), &name), "name") ||
      !check(env, napi_set_named_property(env, result, "name", name), "name"))
    return NULL;
  return result;
}

static napi_value map_update(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  struct bytes key, value;
  struct map_shape shape;
  uint32_t flags = 0;
  bool absent;
  int fd;
  union bpf_attr attr;
  if (!args_get(env, info, 4, argv) || !arg_fd(env, argv[0], "fd", &fd) || !arg_bytes(env, argv[1], "key", &key) ||
      !arg_bytes(env, argv[2], "value", &value) || !arg_absent(env, argv[3], "flags", &absent) ||
      (!absent && !arg_u32(env, argv[3], "flags", 0, 2, &flags)) || !map_shape_read(env, fd, &shape) ||
      !exact_length(env, &key, shape.info.key_size, "key") ||
      !exact_length(env, &value, shape.value_octets, "value"))
    return NULL;
  memset(&attr, 0, sizeof(attr));
  attr.map_fd = (uint32_t)fd;
  attr.key = pointer64(key.data);
  attr.value = pointer64(value.data);
  attr.flags = flags;
  if (bpf_call(BPF_MAP_UPDATE_ELEM, &attr) < 0) {
    throw_syscall(env, "bpf(MAP_UPDATE_ELEM)", errno, NULL);
    return NULL;
  }
  return result_undefined(env);
}

static napi_value map_lookup(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  struct bytes key, value;
  struct map_shape shape;
  int fd;
  union bpf_attr attr;
  if (!args_get(env, info, 3, argv) || !arg_fd(env, argv[0], "fd", &fd) || !arg_bytes(env, argv[1], "key", &key) ||
      !arg_bytes(env, argv[2], "value", &value) || !map_shape_read(env, fd, &shape) ||
      !exact_length(env, &key, shape.info.key_size, "key") ||
      !exact_length(env, &value, shape.value_octets, "value"))
    return NULL;
  memset(&attr, 0, sizeof(attr));
  attr.map_fd = (uint32_t)fd;
  attr.key = pointer64(key.data);
  attr.value = pointer64(value.data);
  if (bpf_call(BPF_MAP_LOOKUP_ELEM, &attr) < 0) {
    if (errno == ENOENT) return result_boolean(env, false);
    throw_syscall(env, "bpf(MAP_LOOKUP_ELEM)", errno, NULL);
    return NULL;
  }
  return result_boolean(env, true);
}

static napi_value map_delete(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  struct bytes key;
  struct map_shape shape;
  int fd;
  union bpf_attr attr;
  if (!args_get(env, info, 2, argv) || !arg_fd(env, argv[0], "fd", &fd) || !arg_bytes(env, argv[1], "key", &key) ||
      !map_shape_read(env, fd, &shape) || !exact_length(env, &key, shape.info.key_size, "key"))
    return NULL;
  memset(&attr, 0, sizeof(attr));
  attr.map_fd = (uint32_t)fd;
  attr.key = pointer64(key.data);
  if (bpf_call(BPF_MAP_DELETE_ELEM, &attr) < 0) {
    if (errno == ENOENT) return result_boolean(env, false);
    throw_syscall(env, "bpf(MAP_DELETE_ELEM)", errno, NULL);
    return NULL;
  }
  return result_boolean(env, true);
}

static napi_value map_next_key(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  napi_valuetype type;
  struct bytes key = {NULL, 0}, next;
  struct map_shape shape;
  int fd;
  union bpf_attr attr;
  if (!args_get(env, info, 3, argv) || !arg_fd(env, argv[0], "fd", &fd) ||
      !check(env, napi_typeof(env, argv[1], &type), "key") ||
      (type != napi_null && !arg_bytes(env, argv[1], "key", &key)) || !arg_bytes(env, argv[2], "next", &next) ||
      !map_shape_read(env, fd, &shape) ||
      (type != napi_null && !exact_length(env, &key, shape.info.key_size, "key")) ||
      !exact_length(env, &next, shape.info.key_size, "next"))
    return NULL;
  memset(&attr, 0, sizeof(attr));
  attr.map_fd = (uint32_t)fd;
  attr.key = pointer64(key.data);
  attr.next_key = pointer64(next.data);
  if (bpf_call(BPF_MAP_GET_NEXT_KEY, &attr) < 0) {
    if (errno == ENOENT) return result_boolean(env, false);
    throw_syscall(env, "bpf(MAP_GET_NEXT_KEY)", errno, NULL);
    return NULL;
  }
  return result_boolean(env, true);
}

bool bpf_map_register(napi_env env, napi_value exports) {
  static const struct function functions[] = {
      {"bpfObjGet", obj_get},       {"bpfObjPin", obj_pin},       {"bpfMapCreate", map_create},
      {"bpfMapInfo", map_info},     {"bpfMapUpdate", map_update}, {"bpfMapLookup", map_lookup},
      {"bpfMapDelete", map_delete}, {"bpfMapNextKey", map_next_key},
  };
  return define_functions(env, exports, functions, ARRAY_LENGTH(functions));
}
