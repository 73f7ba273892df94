#!/bin/sh
# Tries a command on a fresh Debian 12: makes a chroot with nothing but the base system, copies a
# clone of this repository's last commit into it and runs the command there.
#
#   sh deploy/check-fresh.sh [--user] [--keep DIR] [COMMAND]    sh deploy/quickstart.sh unless given
#
#   --user   not as root, but as a user with sudo
#   --keep   the chroot is DIR, used again if it is there, and stays; else it is gone afterwards
#
# Needs root, git and debootstrap. The package mirror is the one that this machine uses itself. What
# the command starts is ended with it, and nothing is mounted that others see: it has namespaces of
# its own for processes and mounts.
set -eu
cd "$(dirname "$0")/.."

usage() {
    echo "usage: sh deploy/check-fresh.sh [--user] [--keep DIR] [COMMAND]" >&2
    exit 2
}

user=root
home=/root
keep=
while [ $# -gt 0 ]; do
    case $1 in
    --user)
        user=fresh
        home=/home/fresh
        ;;
    --keep)
        keep=${2:-}
        [ -n "$keep" ] || usage
        shift
        ;;
    -*) usage ;;
    *) break ;;
    esac
    shift
done
[ $# -le 1 ] || usage
command=${1:-sh deploy/quickstart.sh}

[ "$(id -u)" -eq 0 ] || {
    echo "check-fresh.sh makes a chroot, and so needs root" >&2
    exit 1
}

log=$(mktemp)
if [ -n "$keep" ]; then
    mkdir -p "$keep"
    root=$(cd "$keep" && pwd)
else
    root=$(mktemp -d)
    chmod 755 "$root" # it is going to be somebody's /
fi
clean_up() {
    rm -f "$log"
    [ -n "$keep" ] || rm -rf --one-file-system "$root"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

quietly() {
    "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        exit 1
    }
}

if [ ! -x "$root/usr/bin/apt-get" ]; then
    # shellcheck disable=SC2016 # apt expands it
    mirror=$(apt-get indextargets --format '$(SITE)' \
        'Created-By: Packages' 'Label: Debian' 'Codename: bookworm' | head -n 1)
    [ -n "$mirror" ] || {
        echo "This machine's apt knows no mirror of Debian bookworm" >&2
        exit 1
    }
    echo "Making a fresh Debian 12 in $root"
    quietly debootstrap --variant=minbase bookworm "$root" "$mirror"
fi
[ ! -f /etc/resolv.conf ] || cp -L /etc/resolv.conf "$root/etc/resolv.conf"

# inside COMMAND...: in the chroot, as root, and nothing of it is left afterwards. debootstrap has made
# the usual device nodes. The root is a mount, as in any real system.
inside() {
    # shellcheck disable=SC2016 # for the shell in there
    unshare --mount --pid --fork --kill-child sh -eu -c '
        root=$1
        shift
        mount --bind "$root" "$root"
        mount -t proc proc "$root/proc"
        mkdir -p "$root/dev/shm"
        mount -t tmpfs tmpfs "$root/dev/shm"
        chroot "$root" /usr/bin/env -i "$@"' sh "$root" TERM="${TERM:-dumb}" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} "$@"
}

if [ "$user" != root ]; then
    # shellcheck disable=SC2016 # for the shell in there
    quietly inside DEBIAN_FRONTEND=noninteractive sh -eu -c '
        apt-get -q update
        apt-get -q -y install --no-install-recommends sudo
        id "$1" || useradd --create-home "$1"
        mkdir -p /etc/sudoers.d
        echo "$1 ALL=(ALL) NOPASSWD: ALL" >"/etc/sudoers.d/$1"' sh "$user"
fi

# A clone, so that what isn't committed can't help.
rm -rf "$root$home/furrow"
quietly git clone -q --no-hardlinks . "$root$home/furrow"
inside chown -R "$user:$user" "$home/furrow"

echo "Running as $user: $command"
inside HOME="$home" USER="$user" \
    setpriv --reuid "$user" --regid "$user" --init-groups \
    sh -c "cd $home/furrow && $command"
