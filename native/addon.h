// What the files of the addon share: the instance, handles, and how each file registers its functions.
// SPDX-License-Identifier: Apache-2.0
#ifndef SEKISHO_ADDON_H
#define SEKISHO_ADDON_H

#ifndef NAPI_VERSION
#define NAPI_VERSION 8
#endif
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// One for each environment (main thread, worker thread), so threads share nothing.
struct instance {
  // Pumps and rings whose system resources are open.
  int64_t live;
};

struct function {
  const char *name;
  napi_callback callback;
};

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

bool define_functions(napi_env env, napi_value exports, const struct function *functions, size_t count);

bool sock_register(napi_env env, napi_value exports);
bool pump_register(napi_env env, napi_value exports);
bool bpf_map_register(napi_env env, napi_value exports);
bool bpf_batch_register(napi_env env, napi_value exports);
bool bpf_program_register(napi_env env, napi_value exports);
bool bpf_ring_register(napi_env env, napi_value exports);
bool netlink_register(napi_env env, napi_value exports);

// NULL with an exception pending when the environment has none.
struct instance *instance_get(napi_env env);

// An opaque object that owns `data` from the moment it is made; `finalize` runs when it is collected or its
// environment ends. NULL with an exception pending, and `data` still the caller's, on failure.
napi_value handle_create(napi_env env, void *data, napi_finalize finalize, const napi_type_tag *tag);
// NULL with an exception pending when `value` is not a handle with this tag.
void *handle_get(napi_env env, napi_value value, const napi_type_tag *tag, const char *name);

#endif
