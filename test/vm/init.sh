#!/bin/sh
# First process of the guest: mounts, modules, then the entry named on the kernel's command line.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
/bin/busybox --install -s /bin/applets
mkdir -p /proc /sys /dev /tmp /run /root /var
ln -s /run /var/run
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t tmpfs tmp /tmp
/bin/busybox mount -t tmpfs run /run
/bin/busybox mount -t bpf bpf /sys/fs/bpf
export PATH=$PATH:/bin/applets
for module in /modules/*.ko; do insmod "$module" || echo "@@MODULE $module"; done
ip link set lo up
# The kernel patches its code for the first filter, program, tunnel or socket of a kind. It does so now, without traffic: an emulated processor
# may run what stood there for a moment (seen on 6.12: "Oops: int3" in __dev_queue_xmit and __netif_receive_skb_core).
# By path: the shell would take its own.
/usr/bin/ip link add first type dummy
/usr/bin/tc qdisc add dev first clsact
# Before 6.6 it finds no tcx, and says so.
/sekisho/build/vm/programs/early first
/usr/bin/ip link add first-tunnel type wireguard
/usr/bin/ip link set first-tunnel up
for hook in prerouting input forward output postrouting; do
  echo "add chain inet first $hook { type filter hook $hook priority 0; }"
done | { echo 'add table inet first' && cat; } > /tmp/first.nft
nft -f /tmp/first.nft
# The firmware leaves the cursor amid a line of escapes.
echo
echo "@@BOOT $(uname -r) $(cut -d' ' -f1 /proc/uptime)"
cd /sekisho || exit 1
# What the tests start by themselves makes no code either (bundle.ts). The guest that measures has other flags.
case $(cat build/vm/node-flags) in *--jitless*) export NODE_OPTIONS=--jitless ;; esac
# shellcheck disable=SC2046 # words
node $(cat build/vm/node-flags) "$ENTRY" 2>&1
echo "@@END $?"
poweroff -f
