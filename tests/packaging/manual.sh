#!/bin/sh
# Checks the manual pages of an installation: that they are there, well formed, refer to each other,
# and name every option of the programs and every call that furrow.h(3) should.
#
#   sh manual.sh BUILD SOURCE
set -eu

build=$1
source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

fail() {
    echo "manual: $*" >&2
    exit 1
}

cmake --install "$build" --prefix "$work/prefix" >"$work/log" || {
    cat "$work/log"
    fail "the installation failed"
}
pages=$(find "$work/prefix" -path '*/man/man*' -type f)
[ "$(echo "$pages" | wc -l)" -eq "$(find "$source/docs/man" -type f | wc -l)" ] ||
    fail "not every page is installed: $pages"

for page in $pages; do
    # A page refers to others that are not installed for good while this runs.
    mandoc -T lint -W style "$page" >"$work/lint" 2>&1 || :
    if grep -v 'referenced manual not found' "$work/lint" >&2; then
        fail "$page is not well formed"
    fi
    sed -n 's/^\.Xr \([^ ]*\) \([0-9]\).*/\1.\2/p' "$page" | sort -u >"$work/references"
    while read -r name; do
        echo "$pages" | grep -q "/$name\$" || fail "$page refers to $name, which is not there"
    done <"$work/references"
done

# options: the long options in a text, one a line.
options() {
    tr -c 'a-z-' '\n' | grep -- '^--[a-z]' | sort -u
}
for program in furrow-broker furrow-worker; do
    "$work/prefix/bin/$program" --help | options >"$work/help"
    [ -s "$work/help" ] || fail "$program --help says nothing"
    # Only where they are explained, not in the examples.
    sed -n '/^\.It Fl/p' "$source/docs/man/$program.1" | sed 's/\\-/--/g' | options >"$work/page"
    diff "$work/help" "$work/page" >&2 || fail "$program --help and $program.1 differ (< and >)"
done

# One page for all commands of furrow.
for command in ping status explain drain; do
    "$work/prefix/bin/furrow" $command --help | grep '^ *--'
done | options >"$work/help"
[ -s "$work/help" ] || fail "furrow's commands say nothing"
sed -n '/^\.It Fl/p' "$source/docs/man/furrow.1" | sed 's/\\-/--/g' | options >"$work/page"
diff "$work/help" "$work/page" >&2 || fail "furrow COMMAND --help and furrow.1 differ (< and >)"
for command in $("$work/prefix/bin/furrow" --help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
    grep -q "^\.Cm $command\$" "$source/docs/man/furrow.1" || fail "furrow.1 lacks $command"
done

grep -o 'furrow_[a-z_]*' "$source/docs/man/furrow.h.3" | sort -u >"$work/named"
while read -r name; do
    grep -qw "$name" "$source/libclient/include/furrow.h" ||
        fail "furrow.h.3 names $name, which furrow.h has not"
done <"$work/named"
# And the other way round: what furrow.h declares, or defines as a macro that is called.
{
    grep -A 3 '^FURROW_API' "$source/libclient/include/furrow.h" | tr '\n' ' ' |
        sed 's/FURROW_API/\n&/g' | sed -n 's/^FURROW_API[^(]*[ *]\(furrow_[a-z_]*\)(.*/\1/p'
    echo # the last line had no end
    sed -n 's/^#define \(furrow_[a-z_]*\)(.*/\1/p' "$source/libclient/include/furrow.h"
} | sort -u | sed '/^$/d' >"$work/declared"
[ "$(wc -l <"$work/declared")" -gt 80 ] || fail "few declarations were found in furrow.h"
while read -r name; do
    grep -q "^\.Fn $name\( ,\)\{0,1\}\$" "$source/docs/man/furrow.h.3" ||
        fail "furrow.h.3 does not name $name"
done <"$work/declared"
