// BPF programs: objects through libbpf, test runs, tcx links, clsact filters.
// SPDX-License-Identifier: Apache-2.0
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpf.h"

#define MAX_PATH 4096
#define LOG_TAIL 8192
// Room for a program that makes the frame longer (encapsulation).
#define TEST_RUN_HEADROOM 256
#define MAX_FRAME (1u << 20)
#define MAX_CONTEXT 4096

// The end of what libbpf said in one call: the verifier's last lines are the ones that say what is wrong.
struct log {
  size_t length;
  char text[LOG_TAIL];
};

// libbpf's print callback has no argument of the caller's, and is one for the process; each thread hangs its log here
// for the time of a call.
static __thread struct log *current_log;

static void log_append(struct log *log, const char *text, size_t length) {
  size_t room = LOG_TAIL - 1;
  if (length > room) {
    text += length - room;
    length = room;
  }
  if (log->length + length > room) {
    size_t drop = log->length + length - room;
    memmove(log->text, log->text + drop, log->length - drop);
    log->length -= drop;
  }
  memcpy(log->text + log->length, text, length);
  log->length += length;
  log->text[log->length] = '\0';
}

static int print(enum libbpf_print_level level, const char *format, va_list list) {
  if (current_log == NULL || level == LIBBPF_DEBUG) return 0;
  char *text = NULL;
  int length = vasprintf(&text, format, list);
  if (length < 0) return 0;
  log_append(current_log, text, (size_t)length);
  free(text);
  return length;
}

// --- objects -----------------------------------------------------------------------------------------------------

// A descriptor that outlives the libbpf object, under `name`.
static bool keep(napi_env env, napi_value record, const char *name, int fd) {
  napi_value number;
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) {
    throw_syscall(env, "fcntl(F_DUPFD_CLOEXEC)", errno, name);
    return false;
  }
  if (check(env, napi_create_int32(env, copy, &number), name) &&
      check(env, napi_set_named_property(env, record, name, number), name))
    return true;
  close(copy);
  return false;
}

// The maps' names in the object file, in libbpf's order, each ended by NUL: bpf_map__reuse_fd renames a map after the
// one it is given. The caller frees them; NULL when memory is gone.
static char *map_names(const struct bpf_object *object) {
  struct bpf_map *map;
  size_t size = 1, at = 0;
  bpf_object__for_each_map(map, object) size += strlen(bpf_map__name(map)) + 1;
  char *names = calloc(1, size);
  if (names == NULL) return NULL;
  bpf_object__for_each_map(map, object) {
    size_t length = strlen(bpf_map__name(map)) + 1;
    memcpy(names + at, bpf_map__name(map), length);
    at += length;
  }
  return names;
}

static struct bpf_map *find_map(const struct bpf_object *object, const char *names, const char *wanted) {
  struct bpf_map *map;
  bpf_object__for_each_map(map, object) {
    if (strcmp(names, wanted) == 0) return map;
    names += strlen(names) + 1;
  }
  return NULL;
}

static bool reuse_map(napi_env env, struct bpf_map *map, const char *name, int fd) {
  struct map_shape shape;
  if (map == NULL) {
    throw_argument(env, "reuse: the object has no map %s", name);
    return false;
  }
  if (!map_shape_read(env, fd, &shape)) return false;
  // max_entries is the caller's choice; the rest is compiled into the programs.
  if (shape.info.type != (uint32_t)bpf_map__type(map) || shape.info.key_size != bpf_map__key_size(map) ||
      shape.info.value_size != bpf_map__value_size(map)) {
    throw_argument(env, "reuse: map %s has type %u, key %u, value %u; the object wants %u, %u, %u", name,
                   shape.info.type, shape.info.key_size, shape.info.value_size, (unsigned)bpf_map__type(map),
                   bpf_map__key_size(map), bpf_map__value_size(map));
    return false;
  }
  int error = bpf_map__reuse_fd(map, fd);
  if (error < 0) {
    throw_syscall(env, "bpf_map__reuse_fd", -error, name);
    return false;
  }
  return true;
}

static bool reuse_maps(napi_env env, const struct bpf_object *object, const char *in_file, napi_value reuse) {
  napi_value names;
  uint32_t count;
  if (!check(env, napi_get_property_names(env, reuse, &names), "reuse") ||
      !check(env, napi_get_array_length(env, names, &count), "reuse"))
    return false;
  for (uint32_t i = 0; i < count; i++) {
    napi_value key, value;
    char name[256];
    int fd;
    if (!check(env, napi_get_element(env, names, i, &key), "reuse") ||
        !arg_text(env, key, "reuse", name, sizeof(name)) ||
        !check(env, napi_get_property(env, reuse, key, &value), "reuse") || !arg_fd(env, value, name, &fd) ||
        !reuse_map(env, find_map(object, in_file, name), name, fd))
      return false;
  }
  return true;
}

// Closes what keep() made when a later step failed: nobody has the record.
static void drop(napi_env env, napi_value record) {
  napi_value names, key, value;
  uint32_t count;
  int32_t fd;
  if (napi_get_property_names(env, record, &names) != napi_ok || napi_get_array_length(env, names, &count) != napi_ok)
    return;
  for (uint32_t i = 0; i < count; i++)
    if (napi_get_element(env, names, i, &key) == napi_ok && napi_get_property(env, record, key, &value) == napi_ok &&
        napi_get_value_int32(env, value, &fd) == napi_ok)
      close(fd);
}

static napi_value loaded(napi_env env, struct bpf_object *object, const char *name) {
  napi_value result, programs = NULL, maps = NULL;
  struct bpf_program *program;
  struct bpf_map *map;
  if (!check(env, napi_create_object(env, &result), "result") ||
      !check(env, napi_create_object(env, &programs), "result") ||
      !check(env, napi_create_object(env, &maps), "result"))
    return NULL;
  bpf_object__for_each_program(program, object) {
    if (!keep(env, programs, bpf_program__name(program), bpf_program__fd(program))) goto failed;
  }
  bpf_object__for_each_map(map, object) {
    if (!keep(env, maps, name, bpf_map__fd(map))) goto failed;
    name += strlen(name) + 1;
  }
  if (check(env, napi_set_named_property(env, result, "programs", programs), "result") &&
      check(env, napi_set_named_property(env, result, "maps", maps), "result"))
    return result;
failed:
  drop(env, programs);
  drop(env, maps);
  return NULL;
}

static napi_value object_load(napi_env env, napi_callback_info info) {
  napi_value argv[2], result = NULL;
  char path[MAX_PATH];
  if (!args_get(env, info, 2, argv) || !arg_text(env, argv[0], "path", path, sizeof(path)) ||
      !arg_object(env, argv[1], "reuse"))
    return NULL;
  struct log log = {.length = 0};
  current_log = &log;
  struct bpf_object *object = bpf_object__open_file(path, NULL);
  if (object == NULL) {
    throw_syscall(env, "bpf_object__open", errno, log.length > 0 ? log.text : path);
  } else {
    char *names = map_names(object);
    if (names == NULL) {
      throw_syscall(env, "calloc", ENOMEM, NULL);
    } else if (reuse_maps(env, object, names, argv[1])) {
      int error = bpf_object__load(object);
      if (error < 0) throw_syscall(env, "bpf_object__load", -error, log.length > 0 ? log.text : path);
      else result = loaded(env, object, names);
    }
    free(names);
    bpf_object__close(object);
  }
  current_log = NULL;
  return result;
}

// --- programs ----------------------------------------------------------------------------------------------------

static napi_value test_run_result(napi_env env, const union bpf_attr *attr, const void *data, const void *context) {
  napi_value result, data_out, context_out;
  if (!check(env, napi_create_object(env, &result), "result") ||
      !set_u32(env, result, "returnValue", attr->test.retval) ||
      !set_u32(env, result, "nanoseconds", attr->test.duration) ||
      (data_out = result_bytes(env, data, attr->test.data_size_out)) == NULL ||
      (context_out = result_bytes(env, context, attr->test.ctx_size_out)) == NULL ||
      !check(env, napi_set_named_property(env, result, "data", data_out), "result") ||
      !check(env, napi_set_named_property(env, result, "context", context_out), "result"))
    return NULL;
  return result;
}

static napi_value test_run(napi_env env, napi_callback_info info) {
  napi_value argv[4], result = NULL;
  struct bytes data, context = {NULL, 0};
  uint8_t context_out[MAX_CONTEXT];
  uint32_t repeat;
  bool absent;
  int fd;
  union bpf_attr attr;
  if (!args_get(env, info, 4, argv) || !arg_fd(env, argv[0], "fd", &fd) || !arg_bytes(env, argv[1], "data", &data) ||
      !arg_absent(env, argv[2], "context", &absent) || (!absent && !arg_bytes(env, argv[2], "context", &context)) ||
      !arg_u32(env, argv[3], "repeat", 0, 10000000, &repeat))
    return NULL;
  if (data.length > MAX_FRAME || context.length > MAX_CONTEXT) {
    throw_argument(env, "data must have at most %u octets and context %u", MAX_FRAME, MAX_CONTEXT);
    return NULL;
  }
  uint8_t *data_out = calloc(1, data.length + TEST_RUN_HEADROOM);
  if (data_out == NULL) {
    throw_syscall(env, "calloc", ENOMEM, NULL);
    return NULL;
  }
  memset(&attr, 0, sizeof(attr));
  attr.test.prog_fd = (uint32_t)fd;
  attr.test.data_in = pointer64(data.data);
  attr.test.data_size_in = (uint32_t)data.length;
  attr.test.data_out = pointer64(data_out);
  attr.test.data_size_out = (uint32_t)(data.length + TEST_RUN_HEADROOM);
  attr.test.repeat = repeat;
  if (context.length > 0) {
    attr.test.ctx_in = pointer64(context.data);
    attr.test.ctx_size_in = (uint32_t)context.length;
    attr.test.ctx_out = pointer64(context_out);
    attr.test.ctx_size_out = (uint32_t)context.length;
  }
  if (bpf_call(BPF_PROG_TEST_RUN, &attr) < 0) throw_syscall(env, "bpf(PROG_TEST_RUN)", errno, NULL);
  else if (attr.test.data_size_out > data.length + TEST_RUN_HEADROOM || attr.test.ctx_size_out > MAX_CONTEXT)
    throw_syscall(env, "bpf(PROG_TEST_RUN)", ENOSPC, NULL);
  else result = test_run_result(env, &attr, data_out, context_out);
  free(data_out);
  return result;
}

static napi_value link_create_tcx(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  uint32_t ifindex, attach_type;
  int program;
  bool absent, first = false;
  union bpf_attr attr;
  if (!args_get(env, info, 4, argv) || !arg_fd(env, argv[0], "program", &program) ||
      !arg_u32(env, argv[1], "ifindex", 1, INT32_MAX, &ifindex) ||
      !arg_u32(env, argv[2], "attachType", TCX_INGRESS, TCX_EGRESS, &attach_type) ||
      !arg_absent(env, argv[3], "first", &absent) || (!absent && !arg_boolean(env, argv[3], "first", &first)))
    return NULL;
  memset(&attr, 0, sizeof(attr));
  attr.link_create.prog_fd = (uint32_t)program;
  attr.link_create.target_ifindex = ifindex;
  attr.link_create.attach_type = attach_type;
  if (first) attr.link_create.flags = TCX_BEFORE;
  int fd = bpf_call(BPF_LINK_CREATE, &attr);
  if (fd < 0) {
    throw_syscall(env, "bpf(LINK_CREATE)", errno, NULL);
    return NULL;
  }
  return result_i32(env, fd);
}

static napi_value link_update(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  int link, program;
  union bpf_attr attr;
  if (!args_get(env, info, 2, argv) || !arg_fd(env, argv[0], "link", &link) ||
      !arg_fd(env, argv[1], "program", &program))
    return NULL;
  memset(&attr, 0, sizeof(attr));
  attr.link_update.link_fd = (uint32_t)link;
  attr.link_update.new_prog_fd = (uint32_t)program;
  if (bpf_call(BPF_LINK_UPDATE, &attr) < 0) {
    throw_syscall(env, "bpf(LINK_UPDATE)", errno, NULL);
    return NULL;
  }
  return result_undefined(env);
}

static napi_value link_detach(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  int link;
  union bpf_attr attr;
  if (!args_get(env, info, 1, argv) || !arg_fd(env, argv[0], "link", &link)) return NULL;
  memset(&attr, 0, sizeof(attr));
  attr.link_detach.link_fd = (uint32_t)link;
  if (bpf_call(BPF_LINK_DETACH, &attr) < 0) {
    throw_syscall(env, "bpf(LINK_DETACH)", errno, NULL);
    return NULL;
  }
  return result_undefined(env);
}

// --- clsact ------------------------------------------------------------------------------------------------------

static bool read_hook(napi_env env, napi_value ifindex_value, napi_value egress_value, napi_value handle_value,
                      napi_value priority_value, struct bpf_tc_hook *hook, struct bpf_tc_opts *options) {
  uint32_t ifindex, handle, priority;
  bool egress;
  if (!arg_u32(env, ifindex_value, "ifindex", 1, INT32_MAX, &ifindex) ||
      !arg_boolean(env, egress_value, "egress", &egress) ||
      !arg_u32(env, handle_value, "handle", 1, UINT32_MAX, &handle) ||
      !arg_u32(env, priority_value, "priority", 1, UINT16_MAX, &priority))
    return false;
  memset(hook, 0, sizeof(*hook));
  hook->sz = sizeof(*hook);
  hook->ifindex = (int)ifindex;
  hook->attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS;
  memset(options, 0, sizeof(*options));
  options->sz = sizeof(*options);
  options->handle = handle;
  options->priority = priority;
  return true;
}

static napi_value tc_attach(napi_env env, napi_callback_info info) {
  napi_value argv[5];
  struct bpf_tc_hook hook;
  struct bpf_tc_opts options;
  int program;
  if (!args_get(env, info, 5, argv) || !arg_fd(env, argv[2], "program", &program) ||
      !read_hook(env, argv[0], argv[1], argv[3], argv[4], &hook, &options))
    return NULL;
  options.prog_fd = program;
  options.flags = BPF_TC_F_REPLACE;
  struct log log = {.length = 0};
  current_log = &log;
  const char *call = "bpf_tc_hook_create";
  int error = bpf_tc_hook_create(&hook);
  if (error == 0 || error == -EEXIST) {
    call = "bpf_tc_attach";
    error = bpf_tc_attach(&hook, &options);
  }
  current_log = NULL;
  if (error < 0) {
    throw_syscall(env, call, -error, log.length > 0 ? log.text : NULL);
    return NULL;
  }
  return result_undefined(env);
}

static napi_value tc_query(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  struct bpf_tc_hook hook;
  struct bpf_tc_opts options;
  if (!args_get(env, info, 4, argv) || !read_hook(env, argv[0], argv[1], argv[2], argv[3], &hook, &options))
    return NULL;
  struct log log = {.length = 0};
  current_log = &log;
  int error = bpf_tc_query(&hook, &options);
  current_log = NULL;
  // Without the filter ENOENT, without the qdisc EINVAL.
  if (error == -ENOENT || error == -EINVAL) return result_u32(env, 0);
  if (error < 0) {
    throw_syscall(env, "bpf_tc_query", -error, log.length > 0 ? log.text : NULL);
    return NULL;
  }
  return result_u32(env, options.prog_id);
}

static napi_value tc_detach(napi_env env, napi_callback_info info) {
  napi_value argv[4];
  struct bpf_tc_hook hook;
  struct bpf_tc_opts options;
  if (!args_get(env, info, 4, argv) || !read_hook(env, argv[0], argv[1], argv[2], argv[3], &hook, &options))
    return NULL;
  struct log log = {.length = 0};
  current_log = &log;
  int error = bpf_tc_detach(&hook, &options);
  current_log = NULL;
  if (error < 0) {
    throw_syscall(env, "bpf_tc_detach", -error, log.length > 0 ? log.text : NULL);
    return NULL;
  }
  return result_undefined(env);
}

bool bpf_program_register(napi_env env, napi_value exports) {
  static const struct function functions[] = {
      {"bpfObjectLoad", object_load},
      {"bpfProgTestRun", test_run},
      {"bpfLinkCreateTcx", link_create_tcx},
      {"bpfLinkUpdate", link_update},
      {"bpfLinkDetach", link_detach},
      {"bpfTcAttach", tc_attach},
      {"bpfTcQuery", tc_query},
      {"bpfTcDetach", tc_detach},
  };
  libbpf_set_print(print);
  return define_functions(env, exports, functions, ARRAY_LENGTH(functions));
}
