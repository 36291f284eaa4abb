"""Sends datagrams, by a connected socket and by one that is not, prints "ready" and then the name of each error: COUNT ADDRESS..."""
import errno
import socket
import sys
import time

count, addresses = int(sys.argv[1]), sys.argv[2:]
sockets = []
for address in addresses:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connected = socket.socket(family, socket.SOCK_DGRAM)
    try:
        connected.connect((address, 4444))
    except OSError:
        connected.close()
        connected = None
    sockets.append((address, connected, socket.socket(family, socket.SOCK_DGRAM)))
print("ready", flush=True)
for number in range(count):
    for address, connected, free in sockets:
        try:
            if connected is not None and number % 2:
                connected.send(b"x" * 100)
            else:
                free.sendto(b"x" * 100, (address, 4444))
        except OSError as error:
            print(errno.errorcode[error.errno])
    time.sleep(0.0002)
