// Work off the event loop: a promise that a thread of the pool settles.
// SPDX-License-Identifier: Apache-2.0
#ifndef SEKISHO_TASK_H
#define SEKISHO_TASK_H

#include "addon.h"

// First member of what a call keeps while it runs.
struct task {
  napi_async_work work;
  napi_deferred deferred;
  // On a thread of the pool: no Node-API.
  void (*run)(struct task *task);
  // On the thread of the environment: the value, or NULL with an exception pending, which rejects.
  napi_value (*settle)(napi_env env, struct task *task);
  // Wipes and frees; called once, whatever happened.
  void (*release)(struct task *task);
};

// Starts the task and returns its promise. NULL with an exception pending, the task released, on failure.
napi_value task_start(napi_env env, struct task *task, const char *name);

// Memory for secrets: whole pages, locked, left out of core files and wiped in forked children. NULL with errno set.
void *secret_alloc(size_t size);
// As above, but pages that cannot be locked are used all the same: for what a kernel or daemon hands out to its root.
void *secret_alloc_large(size_t size);
void secret_free(void *memory, size_t size);

#endif
