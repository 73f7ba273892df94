#!/bin/sh
# Installs the library into a directory of its own, and uses it from outside the tree.
#
#   sh check.sh WHAT BUILD SOURCE    WHAT is pkg-config, cmake, exports, strict, readme or module
#
# CC names the compiler.
set -eu

what=$1
build=$2
source=$3
consumer=$source/tests/packaging/consumer
: "${CC:=cc}"

work=$(mktemp -d)
broker=
worker=
clean_up() {
    for pid in $worker $broker; do
        kill "$pid" 2>/dev/null || continue
        wait "$pid" || :
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

fail() {
    echo "$what: $*" >&2
    exit 1
}

prefix=$work/prefix
cmake --install "$build" --prefix "$prefix" >"$work/install.log" || {
    cat "$work/install.log"
    fail "the installation failed"
}
pc=$(find "$prefix" -name furrow.pc)
[ -n "$pc" ] || fail "no furrow.pc was installed"
libdir=$(dirname "$(dirname "$pc")")
export PKG_CONFIG_PATH="$libdir/pkgconfig"
# Where the loader looks; an installed library would be in its cache.
export LD_LIBRARY_PATH="$libdir"
unset FURROW_EXECUTOR

# start_fleet MODULE: a broker and a worker, both from the installation; sets url.
start_fleet() {
    "$prefix/bin/furrow-broker" --listen "tcp://127.0.0.1:*" --port-file "$work/port" \
        --log-level error &
    broker=$!
    until [ -s "$work/port" ]; do
        kill -0 "$broker" 2>/dev/null || fail "the broker has not come up"
        sleep 0.05
    done
    url=$(cat "$work/port")
    "$prefix/bin/furrow-worker" --connect "$url" --module "$1" --processes 1 --log-level error &
    worker=$!
}

# answers PROGRAM MODULE: 42 on every executor.
answers() {
    start_fleet "$2"
    for executor in threads:2 processes:2 "processes:1?module=$2" "$url"; do
        [ "$("$1" "$executor")" = 42 ] || fail "no answer on $executor"
    done
}

check_pkg_config() {
    version=$(pkg-config --modversion furrow)
    grep -q "VERSION $version\$" "$source/CMakeLists.txt" || fail "furrow.pc has version $version"
    # shellcheck disable=SC2046 # words
    {
        $CC -std=c11 -Wall -Wextra -Wpedantic -Werror -o "$work/program" \
            "$consumer/program.c" "$consumer/tasks.c" $(pkg-config --cflags --libs furrow)
        $CC -std=c11 -Wall -Wextra -Wpedantic -Werror -shared -fPIC -o "$work/tasks.so" \
            "$consumer/tasks.c" $(pkg-config --cflags --libs furrow)
    }
    answers "$work/program" "$work/tasks.so"
}

check_cmake() {
    if ! cmake -S "$consumer" -B "$work/build" -G Ninja -DCMAKE_C_COMPILER="$CC" \
        -DCMAKE_PREFIX_PATH="$prefix" >"$work/log" 2>&1 ||
        ! cmake --build "$work/build" >>"$work/log" 2>&1; then
        cat "$work/log"
        fail "the consumer does not build"
    fi
    answers "$work/build/program" "$work/build/tasks.so"
}

# Programs that are warned of every conversion, in C and in C++, by every compiler that is here.
check_strict() {
    for compiler in "gcc -std=c11" "clang -std=c11" "g++ -std=c++11 -x c++" "g++ -std=c++20 -x c++" \
        "clang++ -std=c++11 -x c++"; do
        command -v "${compiler%% *}" >/dev/null || continue
        echo "with $compiler"
        # shellcheck disable=SC2046,SC2086 # words
        $compiler -Wall -Wextra -Wpedantic -Wconversion -Werror -c -o "$work/strict.o" \
            "$consumer/strict.c" $(pkg-config --cflags furrow)
        # shellcheck disable=SC2046 # words
        "${compiler%% *}" -o "$work/strict" "$work/strict.o" $(pkg-config --libs furrow)
        for executor in threads:1 processes:1; do
            said=$("$work/strict" "$executor") || fail "$compiler: failed on $executor"
            [ "$said" = "0.5 7 6 1 text in attempt 1" ] || fail "$compiler, $executor: $said"
        done
    done
    [ -e "$work/strict" ] || fail "there is no compiler"
}

# Only the interface is visible, and the name that programs are bound to has the major version.
check_exports() {
    library=$libdir/libfurrow.so
    foreign=$(nm -D --defined-only "$library" | awk '$NF !~ /^furrow_/ { print $NF }')
    [ -z "$foreign" ] || fail "exported besides furrow_*: $foreign"
    grep -o 'furrow_[a-z_]*(' "$prefix/include/furrow.h" | tr -d '(' | sort -u >"$work/named"
    # furrow_private_* is between the library and its own programs.
    nm -D --defined-only "$library" | awk '{ print $NF }' | sort -u |
        grep -v '^furrow_private_' | comm -23 - "$work/named" >"$work/undeclared"
    [ ! -s "$work/undeclared" ] || fail "exported but not declared: $(cat "$work/undeclared")"
    grep -A 3 '^FURROW_API' "$prefix/include/furrow.h" | tr '\n' ' ' | sed 's/FURROW_API/\n&/g' |
        sed -n 's/^FURROW_API[^(]*[ *]\(furrow_[a-z_]*\)(.*/\1/p' | sort -u >"$work/declared"
    [ -s "$work/declared" ] || fail "no declarations found in furrow.h"
    nm -D --defined-only "$library" | awk '{ print $NF }' | sort -u |
        comm -13 - "$work/declared" >"$work/missing"
    [ ! -s "$work/missing" ] || fail "declared but not exported: $(cat "$work/missing")"
    soname=$(objdump -p "$library" | awk '$1 == "SONAME" { print $2 }')
    [ "$soname" = libfurrow.so.0 ] || fail "the SONAME is $soname"
    [ -e "$libdir/$soname" ] || fail "there is no $soname"
}

# The first program of README.md, compiled and run with the commands printed there.
check_readme() {
    awk '/^```c$/ { on = 1; next } /^```$/ { if (on) exit } on' "$source/README.md" >"$work/first.c"
    [ -s "$work/first.c" ] || fail "README.md has no C program"
    lines=$(wc -l <"$work/first.c")
    [ "$lines" -le 20 ] || fail "the first program has $lines lines, more than 20"
    seq 1 10 | awk '{ print $1 * $1 }' >"$work/squares"
    cd "$work"
    grep '^cc .*first\.c' "$source/README.md" >commands
    [ "$(wc -l <commands)" -eq 2 ] || fail "README.md should say how to build program and module"
    sh -eu commands
    for executor in threads:2 processes:2; do
        FURROW_EXECUTOR=$executor ./first | cmp - squares || fail "wrong answer on $executor"
    done
    ./first | cmp - squares || fail "wrong answer on the default executor"
    start_fleet ./first.so
    FURROW_EXECUTOR=$url ./first | cmp - squares || fail "wrong answer on a fleet"
}

# The example of a module, built in a folder of its own and served by a fleet.
check_module() {
    sh "$source/deploy/example-module/build.sh" "$work/module"
    start_fleet "$work/module/collatz.so"
    for executor in threads:2 "$url"; do
        FURROW_EXECUTOR=$executor "$work/module/longest" 100000 >"$work/out"
        # The known answer: https://oeis.org/A006877
        grep -qx 'below 100000 the longest chain begins at 77031 and has 351 numbers' "$work/out" ||
            fail "wrong answer on $executor: $(cat "$work/out")"
    done
}

case $what in
module) check_module ;;
pkg-config) check_pkg_config ;;
cmake) check_cmake ;;
exports) check_exports ;;
strict) check_strict ;;
readme) check_readme ;;
*) fail "no such check" ;;
esac
