// Records of the probe sockets. The numbers are those of src/native/binding.ts; test/native/layout.test.ts compares them.
// SPDX-License-Identifier: Apache-2.0
#ifndef SEKISHO_WGSOCK_H
#define SEKISHO_WGSOCK_H

enum { PROBE_WORDS = 8, PROBE_LENGTH = 0, PROBE_PORT = 1, PROBE_AGE = 2, PROBE_ERRNO = 3, PROBE_ADDRESS = 4 };

#endif
