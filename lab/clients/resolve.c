// SPDX-License-Identifier: Apache-2.0
// getaddrinfo of the C library this is linked to (glibc, or musl and static): resolve NAME [4|6|any].
// Prints one JSON line; exit 0 when the name has an address, 1 when the resolver says no.
#include <netdb.h>
#include "wire.h"

static const char *code(int rc)
{
	switch (rc) {
	case EAI_NONAME: return "EAI_NONAME";
	case EAI_AGAIN: return "EAI_AGAIN";
	case EAI_FAIL: return "EAI_FAIL";
#ifdef EAI_NODATA
	case EAI_NODATA: return "EAI_NODATA";
#endif
	default: return "EAI_OTHER";
	}
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	const char *family = argc > 2 ? argv[2] : "any";
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	hints.ai_family = *family == '4' ? AF_INET : *family == '6' ? AF_INET6 : AF_UNSPEC;
	struct addrinfo *list = NULL;
	double start = now_ms();
	int rc = getaddrinfo(argv[1], NULL, &hints, &list);
	printf("{\"name\":\"%s\",\"code\":\"%s\",\"ms\":%.1f,\"addresses\":[", argv[1], rc ? code(rc) : "OK", now_ms() - start);
	for (struct addrinfo *a = list; a; a = a->ai_next) {
		char text[64] = "";
		const void *bytes = a->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)a->ai_addr)->sin_addr
							    : (void *)&((struct sockaddr_in6 *)a->ai_addr)->sin6_addr;
		inet_ntop(a->ai_family, bytes, text, sizeof text);
		printf("%s\"%s\"", a == list ? "" : ",", text);
	}
	printf("]}\n");
	return rc != 0;
}
