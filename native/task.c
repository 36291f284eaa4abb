// Promises settled by the thread pool, and memory for secrets.
// SPDX-License-Identifier: Apache-2.0
#include "task.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "args.h"

static void execute(napi_env env, void *data) {
  struct task *task = data;
  (void)env;
  task->run(task);
}

static void complete(napi_env env, napi_status status, void *data) {
  struct task *task = data;
  napi_value result = NULL;
  // A cancelled task means that the environment ends: nobody waits for its promise.
  if (status == napi_ok) {
    result = task->settle(env, task);
    napi_value error;
    if (result != NULL) check(env, napi_resolve_deferred(env, task->deferred, result), "promise");
    else if (napi_get_and_clear_last_exception(env, &error) == napi_ok)
      check(env, napi_reject_deferred(env, task->deferred, error), "promise");
  }
  check(env, napi_delete_async_work(env, task->work), "work");
  task->release(task);
}

napi_value task_start(napi_env env, struct task *task, const char *name) {
  napi_value promise, label;
  if (!check(env, napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &label), name)) goto failed;
  if (!check(env, napi_create_async_work(env, NULL, label, execute, complete, task, &task->work), name)) goto failed;
  if (!check(env, napi_create_promise(env, &task->deferred, &promise), name) ||
      !check(env, napi_queue_async_work(env, task->work), name)) {
    napi_delete_async_work(env, task->work);
    goto failed;
  }
  return promise;
failed:
  task->release(task);
  return NULL;
}

void *secret_alloc_large(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return NULL;
  if (madvise(memory, size, MADV_DONTDUMP) < 0 || madvise(memory, size, MADV_WIPEONFORK) < 0) {
    int error = errno;
    munmap(memory, size);
    errno = error;
    return NULL;
  }
  // munmap unlocks again.
  (void)!mlock(memory, size);
  return memory;
}

void *secret_alloc(size_t size) {
  void *memory = secret_alloc_large(size);
  if (memory != NULL && mlock(memory, size) < 0) {
    int error = errno;
    munmap(memory, size);
    errno = error;
    return NULL;
  }
  return memory;
}

void secret_free(void *memory, size_t size) {
  if (memory == NULL) return;
  explicit_bzero(memory, size);
  munmap(memory, size);
}
