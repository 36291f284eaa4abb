"""Makes tun devices and throws away what is sent to them: sink.py NAME... Says "ready"; ends when its input does."""
import fcntl
import os
import select
import struct
import sys

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000

devices = []
for name in sys.argv[1:]:
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    devices.append(device)
print("ready", flush=True)
while True:
    for ready in select.select([0, *devices], [], [])[0]:
        if not os.read(ready, 65536) and ready == 0:
            sys.exit()
