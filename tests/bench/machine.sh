#!/bin/sh
# Says in a paragraph where and on what something is measured.
set -eu
cd "$(dirname "$0")/../.."
zmq=$(pkg-config --modversion libzmq 2>/dev/null || echo unknown)
printf 'Measured on %s: %s processors (%s), %s GiB of memory, Linux %s, %s, gcc %s, libzmq %s. ' \
    "$(date -u +%Y-%m-%d)" "$(nproc)" \
    "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -1)" \
    "$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)" \
    "$(uname -r)" "$(. /etc/os-release && echo "$PRETTY_NAME")" "$(cc -dumpfullversion)" "$zmq"
echo "Client, broker, workers and peers share these processors, over loopback. Release build."
