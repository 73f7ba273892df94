#!/bin/sh
# Checks what users get against what a compiler can do to make a bug harder to exploit: programs at
# random addresses (PIE), tables of the linker that can't be written to (full RELRO), stacks that can't
# be executed and are guarded, string functions that know their buffer. Then it checks that it would have
# noticed: a program without all that must fail.
#
#   sh tests/checks/hardening.sh BUILD_DIRECTORY [COMPILER]
set -eu
build=$1
cc=${2:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# has FILE WHAT PATTERN SECTION...: readelf shows that.
has() {
    file=$1 what=$2 pattern=$3
    shift 3
    readelf -W "$@" "$file" >"$work/shown"
    grep -Eq "$pattern" "$work/shown" || {
        echo "$(basename "$file"): $what"
        return 1
    }
}

# hardened FILE KIND: all of it; KIND is program or library. What is missing is listed.
hardened() {
    bad=0
    has "$1" "is not position independent" '^ *Type: +DYN' -h || bad=1
    if [ "$2" = program ]; then
        has "$1" "is not a PIE" '\(FLAGS_1\).*PIE' -d || bad=1
    fi
    has "$1" "has no RELRO" 'GNU_RELRO' -l || bad=1
    has "$1" "binds lazily, so its RELRO is partial" '\((BIND_NOW|FLAGS)\).*(BIND_NOW)|\(FLAGS_1\).*NOW' -d || bad=1
    has "$1" "may have an executable stack" 'GNU_STACK.* RW +0x' -l || bad=1
    has "$1" "has no guarded stacks" '__stack_chk_fail' --dyn-syms || bad=1
    has "$1" "has no checked string functions" '__[a-z]+_chk' --dyn-syms || bad=1
    return $bad
}

status=0
for program in furrow furrow-broker; do
    hardened "$build/bin/$program" program || status=1
done
# furrow-worker has next to no code of its own: what there is is in the library.
has "$build/bin/furrow-worker" "is not a PIE" '\(FLAGS_1\).*PIE' -d || status=1
has "$build/bin/furrow-worker" "has no RELRO" 'GNU_RELRO' -l || status=1
has "$build/bin/furrow-worker" "may have an executable stack" 'GNU_STACK.* RW +0x' -l || status=1
hardened "$build/lib/libfurrow.so" library || status=1

printf '#include <stdio.h>\nint main(int c, char **v) { char b[99]; return sprintf(b, "%%s", v[c - 1]); }\n' \
    >"$work/soft.c"
"$cc" -O0 -U_FORTIFY_SOURCE -fno-stack-protector -fno-pie -no-pie -Wl,-z,norelro -Wl,-z,lazy \
    -Wl,-z,execstack -o "$work/soft" "$work/soft.c" 2>"$work/noise" || {
    cat "$work/noise"
    exit 1
}
hardened "$work/soft" program >"$work/missed" && status=1
if [ "$(wc -l <"$work/missed")" -ne 7 ]; then
    echo "of a program without any hardening this was noticed, and not seven things:"
    cat "$work/missed"
    status=1
fi
exit $status
