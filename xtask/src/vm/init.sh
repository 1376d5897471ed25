#!/bin/busybox sh
# The first process of the guest: mounts, modules, the stories, one line with the verdict.
export PATH=/sbin:/usr/sbin:/bin:/usr/bin HOME=/tmp CORDON_BIN=/bin/cordon RUST_BACKTRACE=1
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for folder in /dev/shm /tmp /run /var; do mount -t tmpfs tmpfs $folder; done
mkdir -p /var/lib /var/log /run/netns
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t securityfs securityfs /sys/kernel/security
for module in /modules/*; do insmod "$module" || echo "guest: cannot load $module"; done
ip link set lo up
# Errors of the kernel belong on the console; its chatter does not.
dmesg -n 4
. /run.sh
echo "guest: exit $?"
poweroff -f
