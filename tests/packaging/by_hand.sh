#!/bin/sh
# Runs the commands of docs/deploy-by-hand.md as they stand there, on two machines: network namespaces
# with nothing but a cable between them. Takes root; ends with 77, "skipped", for anybody else.
#
#   sh by_hand.sh BUILD SOURCE
set -eu

build=$1
source=$2
# shellcheck source=tests/e2e/page.sh
. "$source/tests/e2e/page.sh"
skip() {
    echo "skipped, nothing was tested: $1"
    exit 77
}
[ "$(id -u)" -eq 0 ] || skip "two network namespaces take root"
work=$(mktemp -d)
alpha=furrow$$a
beta=furrow$$b
broker=
worker=
clean_up() {
    for pid in $worker $broker; do
        kill "$pid" 2>/dev/null || continue
        wait "$pid" || :
    done
    for name in $alpha $beta; do
        ip netns del "$name" 2>/dev/null || :
        rm -rf "/etc/netns/$name"
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

fail() {
    echo "by hand: $*" >&2
    cat "$work"/*.log >&2 || :
    exit 1
}

# The two machines.
for name in $alpha $beta; do
    if ! ip netns add "$name" || ! ip netns exec "$name" true; then
        skip "no network namespaces here (see above)"
    fi
    ip -n "$name" link set lo up
    # What `ip netns exec` puts over /etc/hosts.
    mkdir -p "/etc/netns/$name"
    printf '127.0.0.1 localhost\n10.0.0.1 alpha\n10.0.0.2 beta\n' >"/etc/netns/$name/hosts"
done
ip link add "$alpha" netns "$alpha" type veth peer name "$beta" netns "$beta"
ip -n "$alpha" addr add 10.0.0.1/24 dev "$alpha"
ip -n "$beta" addr add 10.0.0.2/24 dev "$beta"
ip -n "$alpha" link set "$alpha" up
ip -n "$beta" link set "$beta" up

# What "install" does, into a directory of its own.
cmake --install "$build" --prefix "$work/prefix" >"$work/install.log" || fail "no installation"
libdir=$(dirname "$(find "$work/prefix" -name libfurrow.so)")
export PATH="$work/prefix/bin:$PATH" PKG_CONFIG_PATH="$libdir/pkgconfig" LD_LIBRARY_PATH="$libdir"
mkdir -p "$work/clone/deploy"
cp -r "$source/deploy/example-module" "$work/clone/deploy"

page=$source/docs/deploy-by-hand.md
for name in $(page_names "$page"); do
    case $name in
    keys | alpha | build | cc | beta | program | status) page_block "$page" "$name" >"$work/$name.sh" ;;
    *) fail "the block $name of the page is not run" ;;
    esac
done

# Each machine has a directory of its own: what is on one is not on the other.
cp -r "$work/clone" "$work/beta"
on_alpha() {
    (cd "$work/clone" && ip netns exec "$alpha" "$@")
}
on_beta() {
    (cd "$work/beta" && ip netns exec "$beta" "$@")
}

on_alpha sh -eu "$work/keys.sh" >"$work/keys.log" 2>&1 || fail "no keys"
mkdir -m 700 "$work/beta/keys"
(cd "$work/clone/keys" && cp worker.key client.key broker.pub "$work/beta/keys")
# The two in the background are one command each, which exec makes the process to stop later.
cd "$work/clone"
ip netns exec "$alpha" sh -eu -c "exec $(cat "$work/alpha.sh")" >"$work/broker.log" 2>&1 &
broker=$!
cd "$work/beta"
sh -eu "$work/build.sh" || fail "the module can't be built"
(cd deploy/example-module && sh -eu "$work/cc.sh") || fail "the module can't be built by hand"
cp -r build "$work/clone"
ip netns exec "$beta" sh -eu -c "exec $(cat "$work/beta.sh")" >"$work/worker.log" 2>&1 &
worker=$!
# shellcheck disable=SC2016 # backquotes of Markdown
answer=$(sed -n 's/^prints `\([^`]*\)`.*/\1/p' "$page")
[ -n "$answer" ] || fail "the page does not say what the program prints"
for machine in on_beta on_alpha; do
    said=$($machine timeout 40 sh -eu "$work/program.sh") || fail "the program failed"
    [ "$said" = "$answer" ] || fail "the program printed \"$said\""
done
on_alpha timeout 40 sh -eu "$work/status.sh" >"$work/status.log" || fail "no status"
grep -q "2 workers with 2 slots" "$work/status.log" || fail "the status does not show the workers"
kill "$worker"
wait "$worker" || fail "the worker ended with $?"
worker=
kill "$broker"
wait "$broker" || fail "the broker ended with $?"
broker=
echo "by hand: $answer"
