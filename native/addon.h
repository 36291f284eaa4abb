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

struct handle;

// One for each environment (main thread, worker thread), so threads share nothing. Freed with the last handle or with
// the environment, whichever is later.
struct instance {
  bool ended;
  struct handle *handles;
  // Handles whose system resources are open.
  int64_t live;
};

enum handle_kind { HANDLE_PUMP, HANDLE_RING, HANDLE_WATCH };

// First member of what an opaque object owns. The list of the instance says which pointers are ours, so an external
// of another addon is never taken for one.
struct handle {
  struct instance *instance;
  struct handle *next;
  enum handle_kind kind;
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
bool netlink_async_register(napi_env env, napi_value exports);
bool wgkey_register(napi_env env, napi_value exports);
bool wguapi_register(napi_env env, napi_value exports);
bool wgsock_register(napi_env env, napi_value exports);
bool watch_register(napi_env env, napi_value exports);

// NULL with an exception pending when the environment has none.
struct instance *instance_get(napi_env env);

// An opaque object that owns `handle` from the moment it is made; `finalize` runs when it is collected or its
// environment ends, and must call handle_unlink. NULL with an exception pending, and `handle` still the caller's, on
// failure.
napi_value handle_create(napi_env env, struct handle *handle, enum handle_kind kind, napi_finalize finalize);
void handle_unlink(struct handle *handle);
// NULL with an exception pending when `value` is not a handle of this kind.
void *handle_get(napi_env env, napi_value value, enum handle_kind kind, const char *name);

#endif
