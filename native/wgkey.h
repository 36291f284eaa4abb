// Private keys of WireGuard: made here, handed to who needs them, wiped. They never reach JavaScript.
// SPDX-License-Identifier: Apache-2.0
#ifndef SEKISHO_WGKEY_H
#define SEKISHO_WGKEY_H

#include <stdint.h>

// WG_KEY_LEN, include/uapi/linux/wireguard.h
#define WG_KEY_BYTES 32

// A clamped Curve25519 private key (RFC 7748, section 5) into memory of secret_alloc. 0, or -1 with errno set.
int wg_make_key(uint8_t *key);

#endif
