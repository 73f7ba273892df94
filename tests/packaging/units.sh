#!/bin/sh
# Checks the installed systemd units: that systemd finds nothing wrong in them, that they start what
# was installed, and that they are as closed as deploy-systemd.md says.
#
#   sh units.sh BUILD SOURCE
set -eu

build=$1
source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

fail() {
    echo "units: $*" >&2
    exit 1
}

cmake --install "$build" --prefix "$work/prefix" >"$work/log" || {
    cat "$work/log"
    fail "the installation failed"
}
units=$work/prefix/lib/systemd/system
for program in furrow-broker furrow-worker; do
    unit=$(echo "$units/$program"*.service)
    grep -q "^ExecStart=$work/prefix/bin/$program " "$unit" ||
        fail "$unit does not start what was installed"
    systemd-analyze verify --man=no "$unit" >"$work/verify" 2>&1 || {
        cat "$work/verify" >&2
        fail "systemd refuses $unit"
    }
    # Of others' units it may complain as it likes.
    ! grep "$program" "$work/verify" >&2 || fail "systemd finds something wrong in $unit"
    systemd-analyze security --offline=true "$unit" >"$work/security"
    score=$(sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p' "$work/security")
    echo "$program: systemd-analyze security says $score"
    grep -q "^| \`$program.*\` | $score |" "$source/docs/deploy-systemd.md" ||
        fail "docs/deploy-systemd.md does not say that the score of $program is $score"
done
