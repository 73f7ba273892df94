#!/bin/sh
# The systemd units, started for real: a Debian of its own in a container (systemd-nspawn) whose first
# process is systemd. There the commands of docs/deploy-systemd.md are run, and broker and worker are
# killed, stopped and made to stand still (systemd_inside.sh).
#
#   sh tests/e2e/systemd.sh [BUILD]    BUILD is a release build; build/release unless given
#
# Takes root, debootstrap and systemd-nspawn (deploy/install-deps.sh systemd); ends with 77, "skipped",
# where a container can't be started. Nothing stays.
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/page.sh
. tests/e2e/debian.sh

build=${1:-build/release}
page=docs/deploy-systemd.md
began=$(date +%s)

say() {
    printf '== %3d s  %s\n' $(($(date +%s) - began)) "$*"
}
skip() {
    echo "SKIPPED, nothing was tested: $1"
    exit 77
}
[ "$(id -u)" -eq 0 ] || skip "only root can start a container with systemd"
command -v systemd-nspawn >/dev/null || skip "there is no systemd-nspawn (package systemd-container)"

work=$(mktemp -d)
machine=furrow-test-$$
container=
clean_up() {
    if [ -n "$container" ]; then
        kill -TERM "$container" 2>/dev/null || :
        kill -TERM "$container" 2>/dev/null || : # the second time at once
        wait "$container" 2>/dev/null || :
    fi
    # Where /run is not in memory, nspawn leaves its directory there.
    rmdir "/run/systemd/nspawn/propagate/$machine" 2>/dev/null || :
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

say "a Debian with systemd"
root=$work/root
debian_make "$root" systemd-sysv dbus procps libzmq5 libmsgpackc2 libmicrohttpd12 libjansson4 || skip "no Debian can be made"

say "installing what was built"
DESTDIR=$root cmake --install "$build" >"$work/log" || {
    cat "$work/log"
    fail "the installation failed"
}
ldconfig -r "$root"
pages=$root/root/pages
mkdir -p "$pages/clone/deploy" "$pages/files"
cp -r deploy/example-module "$pages/clone/deploy"
cp tests/e2e/systemd_inside.sh "$root/root"
page_names $page >"$pages/names"
while read -r name; do
    page_block $page "$name" >"$pages/$name.sh"
done <"$pages/names"
sed -n 's/^<!-- file: \(.*\) -->$/\1/p' $page >"$work/files"
while read -r path; do
    mkdir -p "$pages/files/$(dirname "$path")"
    page_file $page "$path" >"$pages/files/$path"
done <"$work/files"
# shellcheck disable=SC2016 # backquotes of Markdown
sed -n 's/^| `\(furrow-.*\)\.service` | \([0-9.]*\) |$/\1 \2/p' $page >"$pages/scores"
# There is no compiler in there.
pc=$(find "$root/usr/local" -name furrow.pc)
(cd "$pages/clone" && PKG_CONFIG_PATH=$(dirname "$pc") sh -eu "$pages/module.sh") ||
    fail "the module can't be built"

# The test is a unit itself. Its result becomes that of the container.
cat >"$root/etc/systemd/system/furrow-test.service" <<'END'
[Unit]
After=multi-user.target
SuccessAction=exit
FailureAction=exit
FailureActionExitStatus=1

[Service]
Type=oneshot
ExecStart=/bin/sh /root/systemd_inside.sh /root/pages
StandardOutput=append:/root/output
StandardError=append:/root/output
TimeoutStartSec=180

[Install]
WantedBy=graphical.target
END
mkdir -p "$root/etc/systemd/system/graphical.target.wants"
ln -s /etc/systemd/system/furrow-test.service "$root/etc/systemd/system/graphical.target.wants"

say "starting it"
options="--register=no --keep-unit"
[ ! -d /run/systemd/system ] || options=--register=no
# shellcheck disable=SC2086 # words
systemd-nspawn --quiet --directory="$root" --machine="$machine" $options --private-network \
    --console=pipe --boot </dev/null >"$work/console" 2>&1 &
container=$!
code=0
wait "$container" || code=$?
container=
[ -s "$root/root/output" ] || {
    cat "$work/console" >&2
    skip "the container does not start (see above)"
}
cat "$root/root/output"
[ "$code" -eq 0 ] || fail "the test inside ended with $code"
grep -q 'all passed$' "$root/root/output" || fail "the test inside did not come to its end"
