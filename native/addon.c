// Entry of the addon: one instance for each environment, the table of functions, opaque handles.
// SPDX-License-Identifier: Apache-2.0
#include "addon.h"

#include <stdlib.h>

#include "args.h"

struct instance *instance_get(napi_env env) {
  void *data = NULL;
  if (!check(env, napi_get_instance_data(env, &data), "instance")) return NULL;
  if (data == NULL) throw_argument(env, "the addon has no instance in this environment");
  return data;
}

// Runs when the environment ends; Node may call the finalizers of handles before or after.
static void instance_free(napi_env env, void *data, void *hint) {
  struct instance *instance = data;
  (void)env;
  (void)hint;
  instance->ended = true;
  if (instance->handles == NULL) free(instance);
}

napi_value handle_create(napi_env env, struct handle *handle, enum handle_kind kind, napi_finalize finalize) {
  napi_value object;
  struct instance *instance = instance_get(env);
  if (instance == NULL) return NULL;
  handle->instance = instance;
  handle->kind = kind;
  handle->next = instance->handles;
  instance->handles = handle;
  // An external is read without the look-up of a property that an object with a wrapped pointer needs: a pump is asked
  // for with every turn.
  if (check(env, napi_create_external(env, handle, finalize, NULL, &object), "handle")) return object;
  instance->handles = handle->next;
  return NULL;
}

void handle_unlink(struct handle *handle) {
  struct instance *instance = handle->instance;
  for (struct handle **link = &instance->handles; *link != NULL; link = &(*link)->next) {
    if (*link == handle) {
      *link = handle->next;
      break;
    }
  }
  if (instance->ended && instance->handles == NULL) free(instance);
}

void *handle_get(napi_env env, napi_value value, enum handle_kind kind, const char *name) {
  struct instance *instance = instance_get(env);
  void *data = NULL;
  if (instance == NULL) return NULL;
  // Fails for what is no external; one of another addon is in no list of ours.
  if (napi_get_value_external(env, value, &data) == napi_ok)
    for (struct handle *handle = instance->handles; handle != NULL; handle = handle->next)
      if (handle == data && handle->kind == kind) return handle;
  throw_argument(env, "%s is not a handle of the right kind", name);
  return NULL;
}

bool define_functions(napi_env env, napi_value exports, const struct function *functions, size_t count) {
  for (size_t i = 0; i < count; i++) {
    napi_value function;
    const struct function *f = &functions[i];
    if (!check(env, napi_create_function(env, f->name, NAPI_AUTO_LENGTH, f->callback, NULL, &function), f->name))
      return false;
    if (!check(env, napi_set_named_property(env, exports, f->name, function), f->name)) return false;
  }
  return true;
}

static napi_value live_handles(napi_env env, napi_callback_info info) {
  (void)info;
  struct instance *instance = instance_get(env);
  napi_value result;
  if (instance == NULL) return NULL;
  if (!check(env, napi_create_int64(env, instance->live, &result), "result")) return NULL;
  return result;
}

NAPI_MODULE_INIT() {
  static const struct function functions[] = {{"liveHandles", live_handles}};
  struct instance *instance = calloc(1, sizeof(*instance));
  if (instance == NULL) {
    throw_syscall(env, "calloc", 12, NULL);
    return NULL;
  }
  if (!check(env, napi_set_instance_data(env, instance, instance_free, NULL), "instance")) {
    free(instance);
    return NULL;
  }
  if (!define_functions(env, exports, functions, ARRAY_LENGTH(functions))) return NULL;
  if (!sock_register(env, exports) || !pump_register(env, exports) || !bpf_map_register(env, exports) ||
      !bpf_batch_register(env, exports) || !bpf_program_register(env, exports) || !bpf_ring_register(env, exports) ||
      !netlink_register(env, exports) || !netlink_async_register(env, exports) || !wgkey_register(env, exports) ||
      !wguapi_register(env, exports) || !wgsock_register(env, exports) || !watch_register(env, exports))
    return NULL;
  return exports;
}
