#!/bin/sh
# Installs what Furrow needs from the Debian packages, and only what is missing.
#
#   sh deploy/install-deps.sh build    what building the release and the examples needs
#   sh deploy/install-deps.sh test     that, and what tests/run.sh needs
#   sh deploy/install-deps.sh compose  a Docker engine with Compose, and what makes a base image:
#                                      for tests/e2e/compose.sh where no engine runs
#   sh deploy/install-deps.sh systemd  what starts a container with systemd, for tests/e2e/systemd.sh
#
# Needs root or sudo only if something is missing. On a system without apt it says what it would
# have installed, and fails only if a program or library really isn't there.
set -eu

build_packages="gcc libc6-dev cmake ninja-build pkg-config libzmq3-dev libmsgpack-dev libpng-dev \
libmicrohttpd-dev libjansson-dev"
test_packages="libcmocka-dev clang clang-format valgrind procps mandoc iproute2 jq"
compose_packages="docker.io docker-compose debootstrap iptables nftables iproute2 ca-certificates"
systemd_packages="systemd-container debootstrap"

case "${1:-}" in
build) packages=$build_packages ;;
test) packages="$build_packages $test_packages" ;;
compose) packages=$compose_packages ;;
systemd) packages=$systemd_packages ;;
*)
    echo "usage: sh deploy/install-deps.sh build|test|compose|systemd" >&2
    exit 2
    ;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "There is no apt-get here. Furrow needs what Debian calls: $packages"
    for program in cc cmake ninja pkg-config; do
        command -v "$program" >/dev/null || {
            echo "$program is missing; please install it" >&2
            exit 1
        }
    done
    exit 0
fi

# promtool alone, out of Debian's package of Prometheus, which would also start a server, and bring the
# pictures of its pages. Where it can't be had, the test that uses it says so.
promtool=/usr/local/lib/furrow/promtool
install_promtool() {
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # the directory as it is called now
    trap "rm -rf '$work'" EXIT
    chmod 755 "$work"
    (cd "$work" && apt-get -q download prometheus) || return 0
    dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$work" ./usr/bin/promtool
    $as_root install -D -m 755 "$work/usr/bin/promtool" "$promtool"
}

missing=
for package in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ] && { [ "$1" != test ] || [ -x "$promtool" ]; }; then
    echo "Every package is there."
    exit 0
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "Missing:$missing" >&2
        echo "Installing them takes root or sudo." >&2
        exit 1
    fi
    as_root=sudo
fi

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 "$@"
}

apt update
if [ -n "$missing" ]; then
    echo "Installing:$missing"
    # shellcheck disable=SC2086 # a list of words
    apt install --no-install-recommends $missing
fi
if [ "$1" = test ] && [ ! -x "$promtool" ]; then
    echo "Installing: promtool"
    install_promtool
fi
