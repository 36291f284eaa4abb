"""Sends frames, given as hex lines on standard input, as they are: send-frames.py INTERFACE < LINES"""
import socket
import sys

raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind((sys.argv[1], 0))
for line in sys.stdin:
    raw.send(bytes.fromhex(line.strip()))
