#!/bin/sh
# Checks the purity check: it must fail for what it is there to find.
#
#   sh test_purity.sh SOURCE    CC names the compiler
set -eu
purity=$1/tests/purity.sh
: "${CC:=cc}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/lib"

# archive NAME CODE: makes one of the archives from a line of C.
archive() {
    echo "$2" | $CC -O0 -x c -c -o "$work/code.o" -
    rm -f "$work/lib/lib$1.a"
    ar cr "$work/lib/lib$1.a" "$work/code.o"
}

# refused TEXT: the check fails now, and says this.
refused() {
    if sh "$purity" "$work" >"$work/out" 2>&1; then
        echo "purity.sh let pass: $1" >&2
        exit 1
    fi
    grep -qF -e "$1" "$work/out" || {
        echo "purity.sh did not say \"$1\":" >&2
        cat "$work/out" >&2
        exit 1
    }
}

archive furrow_base 'void *malloc(unsigned long); void *base_a(void) { return malloc(1); }'
archive furrow_wire 'void *base_a(void); void *wire_a(void) { return base_a(); }'
for core in broker worker client; do
    archive furrow_${core}_core "void *wire_a(void); void *${core}_a(void) { return wire_a(); }"
done
cp -r "$work/lib" "$work/pure"
sh "$purity" "$work" >/dev/null || {
    echo "purity.sh refuses what is pure" >&2
    exit 1
}

# after_that: puts the pure archives back.
after_that() {
    cp "$work/pure"/* "$work/lib/"
}

archive furrow_client_core 'long time(long *); long client_a(void) { return time(0); }'
refused "    time"
after_that
archive furrow_base 'int printf(const char *, ...); void base_a(void) { printf("%d", 1); }'
refused "    printf"
after_that
archive furrow_worker_core 'void broker_a(void); void worker_a(void) { broker_a(); }'
refused "    broker_a"
after_that
archive furrow_base 'void wire_a(void); void base_a(void) { wire_a(); }'
refused "    wire_a"
after_that
rm "$work/lib/libfurrow_broker_core.a"
refused "there is no"
after_that
archive furrow_wire ''
refused "empty"
