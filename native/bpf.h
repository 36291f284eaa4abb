// What the bpf files share: bpf(2) itself, and the sizes of a map.
// SPDX-License-Identifier: Apache-2.0
#ifndef SEKISHO_BPF_H
#define SEKISHO_BPF_H

#include <linux/bpf.h>

#include "addon.h"
#include "args.h"

// include/uapi/linux/bpf.h as of 6.6; the headers this is compiled with may be of 6.1.
#define TCX_INGRESS 46
#define TCX_EGRESS 47
// BPF_F_BEFORE; with no program named: before all.
#define TCX_BEFORE (1u << 3)

// What bpf(2) takes and gives for one entry.
struct map_shape {
  struct bpf_map_info info;
  // info.value_size, or for per-CPU maps that rounded up to 8, times the possible CPUs.
  uint32_t value_octets;
};

// bpf(2), again when a signal interrupted it. -1 with errno set on failure.
int bpf_call(int command, union bpf_attr *attr);
// False with errno set.
bool map_shape_get(int fd, struct map_shape *shape);
// The same, throwing.
bool map_shape_read(napi_env env, int fd, struct map_shape *shape);
// Throws unless `bytes` has exactly `length` octets.
bool exact_length(napi_env env, const struct bytes *bytes, size_t length, const char *name);

static inline uint64_t pointer64(const void *pointer) { return (uint64_t)(uintptr_t)pointer; }

#endif
