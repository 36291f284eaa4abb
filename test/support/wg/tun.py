"""Makes a tun device and hands it the packets that come as hex lines: tun.py NAME. Says "ready", then a line a packet."""
import fcntl
import struct
import subprocess
import sys

device = open("/dev/net/tun", "r+b", buffering=0)
fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", sys.argv[1].encode(), 0x1001))
subprocess.run(["ip", "link", "set", sys.argv[1], "up"], check=True)
print("ready", flush=True)
for line in sys.stdin:
    device.write(bytes.fromhex(line.strip()))
    print("written", flush=True)
