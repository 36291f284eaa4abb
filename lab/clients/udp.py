"""Datagrams that a socket program does not send by itself. Prints one word.

udp.py echo ADDRESS SIZE        SIZE octets to the echo port, in fragments where they do not fit; prints how many came back
udp.py closed ADDRESS           to a port where nobody listens: "refused" when the ICMP error arrives, else "silence"
udp.py ttl ADDRESS HOPS         with a short life: the address that sent "time exceeded", else "silence"
udp.py spoof SOURCE ADDRESS N [PORT HEX]   N datagrams to the echo port, or PORT, under another's source address
"""

import errno
import ipaddress
import socket
import struct
import sys

ECHO = 7
CLOSED = 9


def open_socket(address, kind=socket.SOCK_DGRAM, protocol=0):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, kind, protocol)
    made.settimeout(1)
    return made


def echo(address, size):
    with open_socket(address) as s:
        # IP_PMTUDISC_DONT: fragments are wanted.
        s.setsockopt(socket.IPPROTO_IP, 10, 0) if ":" not in address else s.setsockopt(socket.IPPROTO_IPV6, 23, 0)
        s.connect((address, ECHO))
        s.send(b"f" * int(size))
        try:
            return len(s.recv(65535))
        except socket.timeout:
            return 0


def closed(address):
    with open_socket(address) as s:
        s.connect((address, CLOSED))
        s.send(b"x")
        try:
            s.recv(1)
        except ConnectionRefusedError:
            return "refused"
        except socket.timeout:
            return "silence"
    return "answer"


def ttl(address, hops):
    v6 = ":" in address
    with open_socket(address) as s:
        if v6:
            s.setsockopt(socket.IPPROTO_IPV6, 16, int(hops))  # IPV6_UNICAST_HOPS
            s.setsockopt(socket.IPPROTO_IPV6, 25, 1)  # IPV6_RECVERR
        else:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(hops))
            s.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
        s.connect((address, ECHO))
        s.send(b"x")
        try:
            s.recv(1)
            return "answer"
        except socket.timeout:
            return "silence"
        except OSError as error:
            if error.errno not in (errno.EHOSTUNREACH, errno.ENETUNREACH):
                return errno.errorcode[error.errno]
        _, ancillary, _, _ = s.recvmsg(512, 512, socket.MSG_ERRQUEUE)
        for _, _, data in ancillary:
            # struct sock_extended_err (16 octets), then the offender's socket address.
            if v6:
                return str(ipaddress.IPv6Address(data[24:40]))
            return str(ipaddress.IPv4Address(data[20:24]))
    return "silence"


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def spoof(source, address, count, port=ECHO, message=b"spoofed".hex()):
    payload = bytes.fromhex(message)
    length = 8 + len(payload)
    src, dst = (ipaddress.ip_address(a).packed for a in (source, address))
    udp = struct.pack("!HHHH", 4321, int(port), length, 0)
    pseudo = src + dst + (struct.pack("!IHBB", length, 0, 0, 17) if len(src) == 16 else struct.pack("!BBH", 0, 17, length))
    udp = struct.pack("!HHHH", 4321, int(port), length, checksum(pseudo + udp + payload))
    if len(src) == 16:
        header = struct.pack("!IHBB", 6 << 28, length, 17, 64) + src + dst
    else:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 1, 0, 64, 17, 0) + src + dst
    with open_socket(address, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
        for _ in range(int(count)):
            s.sendto(header + udp + payload, (address, 0))
    return "sent"


print({"echo": echo, "closed": closed, "ttl": ttl, "spoof": spoof}[sys.argv[1]](*sys.argv[2:]))
