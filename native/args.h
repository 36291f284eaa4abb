// Checked readers of JavaScript arguments, and the two errors the addon throws.
// Every reader returns false with an exception pending when the value is not what it must be.
// SPDX-License-Identifier: Apache-2.0
#ifndef SEKISHO_ARGS_H
#define SEKISHO_ARGS_H

#include "addon.h"

struct bytes {
  uint8_t *data;
  size_t length;
};

// SEKISHO_NATIVE_ARGUMENT.
void throw_argument(napi_env env, const char *format, ...) __attribute__((format(printf, 2, 3)));
// SEKISHO_NATIVE_SYSCALL with syscall, errno and errnoName; `detail` (may be NULL) ends the message.
void throw_syscall(napi_env env, const char *call, int error, const char *detail);
// The same with a number property of its own, for calls that were done in part.
void throw_syscall_partial(napi_env env, const char *call, int error, const char *property, uint32_t value);

// True for napi_ok; otherwise makes sure that an exception is pending.
bool check(napi_env env, napi_status status, const char *what);

// Fills `argv` with exactly `count` values; what was not passed is undefined.
bool args_get(napi_env env, napi_callback_info info, size_t count, napi_value *argv);

// Sets `absent` for undefined.
bool arg_absent(napi_env env, napi_value value, const char *name, bool *absent);
bool arg_integer(napi_env env, napi_value value, const char *name, int64_t min, int64_t max, int64_t *out);
bool arg_u32(napi_env env, napi_value value, const char *name, uint32_t min, uint32_t max, uint32_t *out);
bool arg_fd(napi_env env, napi_value value, const char *name, int *out);
bool arg_boolean(napi_env env, napi_value value, const char *name, bool *out);
// A Uint8Array (a Buffer is one), not detached. The octets are valid until JavaScript runs again.
bool arg_bytes(napi_env env, napi_value value, const char *name, struct bytes *out);
// A typed array of `type`, not detached; `length` counts elements, `buffer` (may be NULL) is its ArrayBuffer.
bool arg_typed(napi_env env, napi_value value, const char *name, napi_typedarray_type type, void **data, size_t *length,
               napi_value *buffer);
// UTF-8 without NUL, shorter than `size`, not empty.
bool arg_text(napi_env env, napi_value value, const char *name, char *out, size_t size);
bool arg_object(napi_env env, napi_value value, const char *name);

// Properties of an options object. The optional forms leave `out` as it was when the property is undefined.
bool field(napi_env env, napi_value object, const char *name, napi_value *out);
bool field_u32(napi_env env, napi_value object, const char *name, uint32_t min, uint32_t max, uint32_t *out);
bool field_optional_u32(napi_env env, napi_value object, const char *name, uint32_t min, uint32_t max, uint32_t *out,
                        bool *present);
bool field_optional_boolean(napi_env env, napi_value object, const char *name, bool *out);

// Results. NULL with an exception pending on failure.
napi_value result_undefined(napi_env env);
napi_value result_i32(napi_env env, int32_t value);
napi_value result_u32(napi_env env, uint32_t value);
napi_value result_boolean(napi_env env, bool value);
napi_value result_double(napi_env env, double value);
// A new Uint8Array with a copy of the octets.
napi_value result_bytes(napi_env env, const void *data, size_t length);
bool set_u32(napi_env env, napi_value object, const char *name, uint32_t value);

#endif
