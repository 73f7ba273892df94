#!/bin/sh
# Tries a command on a fresh Debian 12: makes a chroot with nothing but the base system, copies a
# clone of this repository's last commit into it and runs the command there, as root.
#
#   sh deploy/check-fresh.sh ['sh deploy/quickstart.sh']
#   sh deploy/check-fresh.sh --keep DIR 'sh tests/run.sh'    DIR is used again if it is there
#
# Needs root, git and debootstrap. The package mirror is the one that this machine uses itself.
set -eu
cd "$(dirname "$0")/.."

keep=false
if [ "${1:-}" = --keep ]; then
    keep=true
    root=$2
    shift 2
else
    root=$(mktemp -d)
fi
command=${1:-sh deploy/quickstart.sh}

[ "$(id -u)" -eq 0 ] || {
    echo "check-fresh.sh makes a chroot, and so needs root" >&2
    exit 1
}

unmount() {
    for dir in dev/shm proc; do
        ! mountpoint -q "$root/$dir" || umount "$root/$dir"
    done
}
clean_up() {
    unmount
    $keep || rm -rf --one-file-system "$root"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

if [ ! -x "$root/usr/bin/apt-get" ]; then
    # shellcheck disable=SC2016 # apt expands it
    mirror=$(apt-get indextargets --format '$(SITE)' \
        'Created-By: Packages' 'Label: Debian' 'Codename: bookworm' | head -n 1)
    [ -n "$mirror" ] || {
        echo "This machine's apt knows no mirror of Debian bookworm" >&2
        exit 1
    }
    mkdir -p "$root"
    echo "Making a fresh Debian 12 in $root"
    debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1 || {
        cat "$root.log"
        exit 1
    }
    rm -f "$root.log"
fi

# debootstrap has made the usual device nodes.
mount -t proc proc "$root/proc"
mkdir -p "$root/dev/shm"
mount -t tmpfs tmpfs "$root/dev/shm"
[ ! -f /etc/resolv.conf ] || cp -L /etc/resolv.conf "$root/etc/resolv.conf"

# A clone, so that what isn't committed can't help.
rm -rf "$root/root/furrow"
git clone -q --no-hardlinks . "$root/root/furrow"

echo "Running: $command"
chroot "$root" /usr/bin/env -i HOME=/root TERM="${TERM:-dumb}" \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
    sh -c "cd /root/furrow && $command"
