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

// Runs when the environment ends. Pumps and rings are freed by their own finalizers, which Node calls as well.
static void instance_free(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  free(data);
}

napi_value handle_create(napi_env env, void *data, napi_finalize finalize, const napi_type_tag *tag) {
  napi_value object;
  if (!check(env, napi_create_object(env, &object), "handle")) return NULL;
  if (!check(env, napi_type_tag_object(env, object, tag), "handle")) return NULL;
  if (!check(env, napi_wrap(env, object, data, finalize, NULL, NULL), "handle")) return NULL;
  return object;
}

void *handle_get(napi_env env, napi_value value, const napi_type_tag *tag, const char *name) {
  napi_valuetype type;
  bool ours = false;
  void *data = NULL;
  if (!check(env, napi_typeof(env, value, &type), name)) return NULL;
  if (type == napi_object && !check(env, napi_check_object_type_tag(env, value, tag, &ours), name)) return NULL;
  if (!ours) {
    throw_argument(env, "%s is not a handle of the right kind", name);
    return NULL;
  }
  if (!check(env, napi_unwrap(env, value, &data), name)) return NULL;
  return data;
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
      !netlink_register(env, exports))
    return NULL;
  return exports;
}
