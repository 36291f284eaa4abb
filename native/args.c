// Checked readers of JavaScript arguments, and the two errors the addon throws.
// SPDX-License-Identifier: Apache-2.0
#include "args.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Kernel-internal, yet bpf(2) lets it out (include/linux/errno.h).
#define KERNEL_ENOTSUPP 524

static bool set_text(napi_env env, napi_value object, const char *name, const char *text) {
  napi_value value;
  return napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value) == napi_ok &&
         napi_set_named_property(env, object, name, value) == napi_ok;
}

static napi_value make_error(napi_env env, const char *code, const char *message) {
  napi_value code_value, message_value, error;
  if (napi_create_string_utf8(env, code, NAPI_AUTO_LENGTH, &code_value) != napi_ok) return NULL;
  if (napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &message_value) != napi_ok) return NULL;
  if (napi_create_error(env, code_value, message_value, &error) != napi_ok) return NULL;
  return error;
}

// What is left when an error object cannot be made: the environment is ending, or memory is gone.
static void throw_plain(napi_env env, const char *code, const char *message) {
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending) return;
  if (napi_throw_error(env, code, message) != napi_ok) return;
}

void throw_argument(napi_env env, const char *format, ...) {
  char message[512];
  va_list list;
  va_start(list, format);
  vsnprintf(message, sizeof(message), format, list);
  va_end(list);
  throw_plain(env, "SEKISHO_NATIVE_ARGUMENT", message);
}

static napi_value syscall_error(napi_env env, const char *call, int error, const char *detail) {
  const char *name = error == KERNEL_ENOTSUPP ? "ENOTSUPP" : strerrorname_np(error);
  const char *text = error == KERNEL_ENOTSUPP ? "Operation is not supported" : strerrordesc_np(error);
  if (name == NULL) name = "EUNKNOWN";
  if (text == NULL) text = "Unknown error";
  size_t size = strlen(call) + strlen(name) + strlen(text) + (detail == NULL ? 0 : strlen(detail)) + 16;
  char *message = malloc(size);
  if (message == NULL) return NULL;
  snprintf(message, size, "%s: %s (%s)%s%s", call, name, text, detail == NULL ? "" : ": ", detail == NULL ? "" : detail);
  napi_value object = make_error(env, "SEKISHO_NATIVE_SYSCALL", message);
  free(message);
  napi_value number;
  if (object == NULL || !set_text(env, object, "syscall", call) || !set_text(env, object, "errnoName", name) ||
      napi_create_int32(env, error, &number) != napi_ok ||
      napi_set_named_property(env, object, "errno", number) != napi_ok)
    return NULL;
  return object;
}

void throw_syscall(napi_env env, const char *call, int error, const char *detail) {
  napi_value object = syscall_error(env, call, error, detail);
  if (object == NULL || napi_throw(env, object) != napi_ok) throw_plain(env, "SEKISHO_NATIVE_SYSCALL", call);
}

void throw_syscall_partial(napi_env env, const char *call, int error, const char *property, uint32_t value) {
  napi_value object = syscall_error(env, call, error, NULL);
  if (object == NULL || !set_u32(env, object, property, value)) throw_plain(env, "SEKISHO_NATIVE_SYSCALL", call);
  else if (napi_throw(env, object) != napi_ok) throw_plain(env, "SEKISHO_NATIVE_SYSCALL", call);
}

bool check(napi_env env, napi_status status, const char *what) {
  if (status == napi_ok) return true;
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending) return false;
  throw_argument(env, "%s: Node-API status %d", what, (int)status);
  return false;
}

bool args_get(napi_env env, napi_callback_info info, size_t count, napi_value *argv) {
  size_t argc = count;
  return check(env, napi_get_cb_info(env, info, &argc, argv, NULL, NULL), "arguments");
}

static bool type_of(napi_env env, napi_value value, const char *name, napi_valuetype *type) {
  return check(env, napi_typeof(env, value, type), name);
}

bool arg_absent(napi_env env, napi_value value, const char *name, bool *absent) {
  napi_valuetype type;
  if (!type_of(env, value, name, &type)) return false;
  *absent = type == napi_undefined;
  return true;
}

bool arg_integer(napi_env env, napi_value value, const char *name, int64_t min, int64_t max, int64_t *out) {
  double number = 0;
  napi_status status = napi_get_value_double(env, value, &number);
  if (status == napi_number_expected) {
    throw_argument(env, "%s must be a number", name);
    return false;
  }
  if (!check(env, status, name)) return false;
  // The conversion is defined only within the bounds; what is no number is not within them.
  bool within = number >= (double)min && number <= (double)max;
  if (!within || (double)(int64_t)number != number) {
    throw_argument(env, "%s must be an integer from %lld to %lld", name, (long long)min, (long long)max);
    return false;
  }
  *out = (int64_t)number;
  return true;
}

bool arg_u32(napi_env env, napi_value value, const char *name, uint32_t min, uint32_t max, uint32_t *out) {
  int64_t number;
  if (!arg_integer(env, value, name, min, max, &number)) return false;
  *out = (uint32_t)number;
  return true;
}

bool arg_fd(napi_env env, napi_value value, const char *name, int *out) {
  int64_t number;
  if (!arg_integer(env, value, name, 0, INT_MAX, &number)) return false;
  *out = (int)number;
  return true;
}

bool arg_boolean(napi_env env, napi_value value, const char *name, bool *out) {
  napi_valuetype type;
  if (!type_of(env, value, name, &type)) return false;
  if (type != napi_boolean) {
    throw_argument(env, "%s must be true or false", name);
    return false;
  }
  return check(env, napi_get_value_bool(env, value, out), name);
}

bool arg_typed(napi_env env, napi_value value, const char *name, napi_typedarray_type type, void **data, size_t *length,
               napi_value *buffer) {
  static const char *const names[] = {
      [napi_uint8_array] = "Uint8Array",     [napi_uint32_array] = "Uint32Array",
      [napi_int32_array] = "Int32Array",     [napi_float64_array] = "Float64Array",
  };
  bool is_typed = false;
  napi_typedarray_type actual = napi_int8_array;
  napi_value owner = NULL;
  size_t offset;
  if (!check(env, napi_is_typedarray(env, value, &is_typed), name)) return false;
  if (is_typed && !check(env, napi_get_typedarray_info(env, value, &actual, length, data, &owner, &offset), name))
    return false;
  if (!is_typed || actual != type) {
    throw_argument(env, "%s must be a %s", name, names[type]);
    return false;
  }
  bool detached = false;
  if (!check(env, napi_is_detached_arraybuffer(env, owner, &detached), name)) return false;
  if (detached || (*data == NULL && *length > 0)) {
    throw_argument(env, "%s is detached", name);
    return false;
  }
  if (buffer != NULL) *buffer = owner;
  return true;
}

bool arg_bytes(napi_env env, napi_value value, const char *name, struct bytes *out) {
  void *data = NULL;
  if (!arg_typed(env, value, name, napi_uint8_array, &data, &out->length, NULL)) return false;
  out->data = data;
  return true;
}

bool arg_text(napi_env env, napi_value value, const char *name, char *out, size_t size) {
  napi_valuetype type;
  size_t length = 0, copied = 0;
  if (!type_of(env, value, name, &type)) return false;
  if (type != napi_string) {
    throw_argument(env, "%s must be a string", name);
    return false;
  }
  if (!check(env, napi_get_value_string_utf8(env, value, NULL, 0, &length), name)) return false;
  if (length == 0 || length >= size) {
    throw_argument(env, "%s must have 1 to %zu octets", name, size - 1);
    return false;
  }
  if (!check(env, napi_get_value_string_utf8(env, value, out, size, &copied), name)) return false;
  if (copied != length || strlen(out) != length) {
    throw_argument(env, "%s must not contain NUL", name);
    return false;
  }
  return true;
}

bool arg_object(napi_env env, napi_value value, const char *name) {
  napi_valuetype type;
  if (!type_of(env, value, name, &type)) return false;
  if (type == napi_object) return true;
  throw_argument(env, "%s must be an object", name);
  return false;
}

bool field(napi_env env, napi_value object, const char *name, napi_value *out) {
  return check(env, napi_get_named_property(env, object, name, out), name);
}

bool field_u32(napi_env env, napi_value object, const char *name, uint32_t min, uint32_t max, uint32_t *out) {
  napi_value value;
  return field(env, object, name, &value) && arg_u32(env, value, name, min, max, out);
}

bool field_optional_u32(napi_env env, napi_value object, const char *name, uint32_t min, uint32_t max, uint32_t *out,
                        bool *present) {
  napi_value value;
  bool absent;
  if (!field(env, object, name, &value) || !arg_absent(env, value, name, &absent)) return false;
  *present = !absent;
  return absent || arg_u32(env, value, name, min, max, out);
}

bool field_optional_boolean(napi_env env, napi_value object, const char *name, bool *out) {
  napi_value value;
  bool absent;
  if (!field(env, object, name, &value) || !arg_absent(env, value, name, &absent)) return false;
  return absent || arg_boolean(env, value, name, out);
}

napi_value result_undefined(napi_env env) {
  napi_value result;
  return check(env, napi_get_undefined(env, &result), "result") ? result : NULL;
}

napi_value result_i32(napi_env env, int32_t value) {
  napi_value result;
  return check(env, napi_create_int32(env, value, &result), "result") ? result : NULL;
}

napi_value result_u32(napi_env env, uint32_t value) {
  napi_value result;
  return check(env, napi_create_uint32(env, value, &result), "result") ? result : NULL;
}

napi_value result_boolean(napi_env env, bool value) {
  napi_value result;
  return check(env, napi_get_boolean(env, value, &result), "result") ? result : NULL;
}

napi_value result_double(napi_env env, double value) {
  napi_value result;
  return check(env, napi_create_double(env, value, &result), "result") ? result : NULL;
}

napi_value result_bytes(napi_env env, const void *data, size_t length) {
  napi_value buffer, result;
  void *copy = NULL;
  if (!check(env, napi_create_arraybuffer(env, length, &copy, &buffer), "result")) return NULL;
  if (length > 0) memcpy(copy, data, length);
  if (!check(env, napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &result), "result")) return NULL;
  return result;
}

bool set_u32(napi_env env, napi_value object, const char *name, uint32_t value) {
  napi_value number;
  return check(env, napi_create_uint32(env, value, &number), name) &&
         check(env, napi_set_named_property(env, object, name, number), name);
}
