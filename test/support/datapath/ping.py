"""Echo requests over an ICMP datagram socket: ping.py ADDRESS COUNT INTERVAL_MS [PAYLOAD]; prints how many were answered."""
import select
import socket
import struct
import sys
import time

address, count, interval = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) / 1000
payload = bytes(int(sys.argv[4])) if len(sys.argv) > 4 else b""
six = ":" in address
family = socket.AF_INET6 if six else socket.AF_INET
ping = socket.socket(family, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)
ping.connect((address, 0))
answered = set()


def collect(seconds):
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        if left <= 0 or not select.select([ping], [], [], left)[0]:
            return
        data = ping.recv(65536)
        if data[0] == (129 if six else 0):
            answered.add(struct.unpack("!H", data[6:8])[0])


for sequence in range(count):
    try:
        ping.send(struct.pack("!BBHHH", 128 if six else 8, 0, 0, 0, sequence) + payload)
    except OSError:
        pass
    collect(interval)
if len(answered) < count:
    collect(0.5)
print(len(answered))
