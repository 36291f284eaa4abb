// Reading a BPF ring buffer (kernel/bpf/ringbuf.c): the positions and the data are mapped, the consumer's position is
// ours to write. By hand, because libbpf's reader hands over whole batches and cannot stop when the caller's memory
// is full.
// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bpf.h"

struct ring {
  struct handle handle;
  size_t page, data_length;
  // The consumer's page, and the producer's page followed by the data mapped twice, so that no record wraps.
  uint64_t *consumer;
  uint8_t *producer;
};

static void ring_close(struct ring *ring) {
  if (ring->producer == NULL) return;
  munmap(ring->producer, ring->page + 2 * ring->data_length);
  munmap(ring->consumer, ring->page);
  ring->producer = NULL;
  ring->handle.instance->live--;
}

static void ring_finalize(napi_env env, void *data, void *hint) {
  struct ring *ring = data;
  (void)env;
  (void)hint;
  ring_close(ring);
  handle_unlink(&ring->handle);
  free(ring);
}

static bool ring_map(struct ring *ring, int fd, size_t data_length) {
  ring->page = (size_t)sysconf(_SC_PAGESIZE);
  ring->data_length = data_length;
  void *consumer = mmap(NULL, ring->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (consumer == MAP_FAILED) return false;
  void *producer = mmap(NULL, ring->page + 2 * data_length, PROT_READ, MAP_SHARED, fd, (off_t)ring->page);
  if (producer == MAP_FAILED) {
    int error = errno;
    munmap(consumer, ring->page);
    errno = error;
    return false;
  }
  ring->consumer = consumer;
  ring->producer = producer;
  return true;
}

static napi_value ring_open(napi_env env, napi_callback_info info) {
  napi_value argv[1], handle;
  struct map_shape shape;
  int fd;
  struct instance *instance = instance_get(env);
  if (instance == NULL || !args_get(env, info, 1, argv) || !arg_fd(env, argv[0], "map", &fd) ||
      !map_shape_read(env, fd, &shape))
    return NULL;
  if (shape.info.type != BPF_MAP_TYPE_RINGBUF) {
    throw_argument(env, "map is not a ring buffer");
    return NULL;
  }
  struct ring *ring = calloc(1, sizeof(*ring));
  if (ring == NULL) {
    throw_syscall(env, "calloc", ENOMEM, NULL);
    return NULL;
  }
  if (!ring_map(ring, fd, shape.info.max_entries)) {
    throw_syscall(env, "mmap", errno, NULL);
    free(ring);
    return NULL;
  }
  instance->live++;
  ring->handle.instance = instance;
  handle = handle_create(env, &ring->handle, HANDLE_RING, ring_finalize);
  if (handle == NULL) {
    ring_close(ring);
    free(ring);
  }
  return handle;
}

static struct ring *open_ring(napi_env env, napi_value value) {
  struct ring *ring = handle_get(env, value, HANDLE_RING, "ring");
  if (ring == NULL || ring->producer != NULL) return ring;
  throw_argument(env, "the ring is closed");
  return NULL;
}

static size_t round_up(size_t length) { return (length + 7) & ~(size_t)7; }

// Returns the octets written; sets *too_long to a record's length when the first one does not fit.
static size_t drain(struct ring *ring, uint8_t *out, size_t room, size_t *too_long) {
  const uint8_t *data = ring->producer + ring->page;
  uint64_t at = *ring->consumer;
  uint64_t end = __atomic_load_n((const uint64_t *)(const void *)ring->producer, __ATOMIC_ACQUIRE);
  size_t written = 0;
  while (at < end) {
    const uint8_t *record = data + (at & (ring->data_length - 1));
    uint32_t header = __atomic_load_n((const uint32_t *)(const void *)record, __ATOMIC_ACQUIRE);
    if (header & BPF_RINGBUF_BUSY_BIT) break;
    uint32_t length = header & ~(uint32_t)BPF_RINGBUF_DISCARD_BIT;
    if (length > ring->data_length) break;
    if (!(header & BPF_RINGBUF_DISCARD_BIT)) {
      size_t size = round_up(sizeof(length) + length);
      if (size > room - written) {
        if (written == 0) *too_long = size;
        break;
      }
      memset(out + written + size - 8, 0, 8);
      memcpy(out + written, &length, sizeof(length));
      memcpy(out + written + sizeof(length), record + BPF_RINGBUF_HDR_SZ, length);
      written += size;
    }
    at += round_up((size_t)BPF_RINGBUF_HDR_SZ + length);
    __atomic_store_n(ring->consumer, at, __ATOMIC_RELEASE);
  }
  return written;
}

static napi_value ring_read(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  struct ring *ring;
  struct bytes out;
  size_t too_long = 0;
  if (!args_get(env, info, 2, argv) || (ring = open_ring(env, argv[0])) == NULL ||
      !arg_bytes(env, argv[1], "out", &out))
    return NULL;
  size_t written = drain(ring, out.data, out.length > UINT32_MAX ? UINT32_MAX : out.length, &too_long);
  if (too_long > 0) {
    throw_argument(env, "out must have at least %zu octets for the next record", too_long);
    return NULL;
  }
  return result_u32(env, (uint32_t)written);
}

static napi_value ring_close_call(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  struct ring *ring;
  if (!args_get(env, info, 1, argv) || (ring = open_ring(env, argv[0])) == NULL) return NULL;
  ring_close(ring);
  return result_undefined(env);
}

bool bpf_ring_register(napi_env env, napi_value exports) {
  static const struct function functions[] = {
      {"bpfRingOpen", ring_open},
      {"bpfRingRead", ring_read},
      {"bpfRingClose", ring_close_call},
  };
  return define_functions(env, exports, functions, ARRAY_LENGTH(functions));
}
