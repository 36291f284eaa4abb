// Descriptors that wake the event loop of their thread: uv_poll_t, so that nobody has to look whether there is something
// to read. One call of the function for each time it is armed.
// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <uv.h>

#include "addon.h"
#include "args.h"

// Freed when the loop, the collector and the environment have let go of it.
struct watch {
  struct handle handle;
  uv_poll_t poll;
  napi_env env;
  napi_ref function;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  int fd;
  bool open, closed, collected;
};

static void release(struct watch *watch) {
  if (watch->closed && watch->collected) free(watch);
}

static void on_closed(uv_handle_t *handle) {
  struct watch *watch = handle->data;
  watch->closed = true;
  // Also what a hook that runs waits for: the environment is there until this returns.
  napi_remove_async_cleanup_hook(watch->hook);
  release(watch);
}

static void watch_close(struct watch *watch) {
  if (!watch->open) return;
  watch->open = false;
  watch->handle.instance->live--;
  napi_delete_reference(watch->env, watch->function);
  napi_async_destroy(watch->env, watch->context);
  uv_close((uv_handle_t *)&watch->poll, on_closed);
}

static void on_end(napi_async_cleanup_hook_handle hook, void *data) {
  (void)hook;
  watch_close(data);
}

static void watch_finalize(napi_env env, void *data, void *hint) {
  struct watch *watch = data;
  (void)env;
  (void)hint;
  watch_close(watch);
  handle_unlink(&watch->handle);
  watch->collected = true;
  release(watch);
}

static void on_ready(uv_poll_t *poll, int status, int events) {
  struct watch *watch = poll->data;
  napi_env env = watch->env;
  napi_handle_scope scope;
  napi_value function, receiver, error;
  // What is wrong with a descriptor (status) the caller meets when it reads.
  (void)status;
  (void)events;
  uv_poll_stop(poll);
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  if (napi_get_reference_value(env, watch->function, &function) == napi_ok &&
      napi_get_global(env, &receiver) == napi_ok &&
      napi_make_callback(env, watch->context, receiver, function, 0, NULL, NULL) == napi_pending_exception &&
      napi_get_and_clear_last_exception(env, &error) == napi_ok)
    napi_fatal_exception(env, error);
  napi_close_handle_scope(env, scope);
}

static bool arg_function(napi_env env, napi_value value, const char *name) {
  napi_valuetype type;
  if (!check(env, napi_typeof(env, value, &type), name)) return false;
  if (type == napi_function) return true;
  throw_argument(env, "%s must be a function", name);
  return false;
}

static bool make_callback(napi_env env, struct watch *watch, napi_value function) {
  napi_value label;
  if (!check(env, napi_create_string_utf8(env, "sekisho.watch", NAPI_AUTO_LENGTH, &label), "watch") ||
      !check(env, napi_async_init(env, NULL, label, &watch->context), "watch"))
    return false;
  if (check(env, napi_create_reference(env, function, 1, &watch->function), "watch")) return true;
  napi_async_destroy(env, watch->context);
  return false;
}

// libuv sees only those that are armed.
static bool watched(const struct instance *instance, int fd) {
  for (const struct handle *handle = instance->handles; handle != NULL; handle = handle->next) {
    const struct watch *watch = (const struct watch *)handle;
    if (handle->kind == HANDLE_WATCH && watch->open && watch->fd == fd) return true;
  }
  return false;
}

static napi_value watch_open(napi_env env, napi_callback_info info) {
  napi_value argv[2], object;
  uv_loop_t *loop;
  int fd;
  struct instance *instance = instance_get(env);
  if (instance == NULL || !args_get(env, info, 2, argv) || !arg_fd(env, argv[0], "fd", &fd) ||
      !arg_function(env, argv[1], "ready") || !check(env, napi_get_uv_event_loop(env, &loop), "loop"))
    return NULL;
  if (watched(instance, fd)) {
    throw_syscall(env, "watchOpen", EEXIST, NULL);
    return NULL;
  }
  struct watch *watch = calloc(1, sizeof(*watch));
  if (watch == NULL) {
    throw_syscall(env, "calloc", ENOMEM, NULL);
    return NULL;
  }
  watch->env = env;
  watch->fd = fd;
  watch->handle.instance = instance;
  if (!make_callback(env, watch, argv[1])) goto unmade;
  if (!check(env, napi_add_async_cleanup_hook(env, on_end, watch, &watch->hook), "watch")) goto uncalled;
  int error = uv_poll_init(loop, &watch->poll, fd);
  if (error < 0) {
    throw_syscall(env, "uv_poll_init", -error, NULL);
    napi_remove_async_cleanup_hook(watch->hook);
    goto uncalled;
  }
  watch->poll.data = watch;
  uv_unref((uv_handle_t *)&watch->poll);
  watch->open = true;
  instance->live++;
  object = handle_create(env, &watch->handle, HANDLE_WATCH, watch_finalize);
  if (object != NULL) return object;
  watch->collected = true;
  watch_close(watch);
  return NULL;
uncalled:
  napi_delete_reference(env, watch->function);
  napi_async_destroy(env, watch->context);
unmade:
  free(watch);
  return NULL;
}

static struct watch *open_watch(napi_env env, napi_value value) {
  struct watch *watch = handle_get(env, value, HANDLE_WATCH, "watch");
  if (watch == NULL || watch->open) return watch;
  throw_argument(env, "the watch is closed");
  return NULL;
}

static napi_value watch_arm(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  struct watch *watch;
  if (!args_get(env, info, 1, argv) || (watch = open_watch(env, argv[0])) == NULL) return NULL;
  int error = uv_poll_start(&watch->poll, UV_READABLE, on_ready);
  if (error == 0) return result_undefined(env);
  throw_syscall(env, "uv_poll_start", -error, NULL);
  return NULL;
}

static napi_value watch_close_call(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  struct watch *watch;
  if (!args_get(env, info, 1, argv) || (watch = open_watch(env, argv[0])) == NULL) return NULL;
  watch_close(watch);
  return result_undefined(env);
}

bool watch_register(napi_env env, napi_value exports) {
  static const struct function functions[] = {
      {"watchOpen", watch_open},
      {"watchArm", watch_arm},
      {"watchClose", watch_close_call},
  };
  return define_functions(env, exports, functions, ARRAY_LENGTH(functions));
}
