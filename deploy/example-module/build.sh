#!/bin/sh
# Builds the module and the program that uses it, against the installed library:
#
#   sh build.sh [DIRECTORY]    where they go; here unless given
set -eu
to=$(mkdir -p "${1:-.}" && cd "${1:-.}" && pwd)
cd "$(dirname "$0")"
flags=$(pkg-config --cflags --libs furrow)
# shellcheck disable=SC2086 # words
{
    ${CC:-cc} -O2 -shared -fPIC -o "$to/collatz.so" collatz.c $flags
    ${CC:-cc} -O2 -o "$to/longest" longest.c collatz.c $flags
}
