#!/bin/sh
# Counts the instructions that a no-op costs each role, with valgrind's callgrind, and prints a Markdown
# table. Unlike times they don't depend on what else the machine does; on how batches form they do, a
# little.
#
#     sh tests/bench/instructions.sh [-b BUILD] [-k DIRECTORY]     -k keeps callgrind's output there
#
# Each executor runs twice, with different numbers of tasks, so that what starting and ending cost cancels
# out: instructions a task = difference of instructions / difference of tasks.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
source=$root/tests/bench
. "$source/install.sh"
build=$root/build/release
keep=
while [ $# -ge 2 ]; do
    case $1 in
    -b) build=$2 ;;
    -k) keep=$2 ;;
    esac
    shift 2
done
command -v valgrind >/dev/null || packages_install valgrind
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Scales of a case of 1,000,000, each of which runs twice: once to warm up.
few=0.02
many=0.12
tasks=200000

# count EXECUTOR SCALE: role<TAB>instructions, one line a role and thread.
count() {
    directory=$work/$1.$2
    mkdir "$directory"
    valgrind --quiet --tool=callgrind --trace-children=yes --separate-threads=yes \
        --callgrind-out-file="$directory/%p" "$build/bin/furrow-bench" --scale "$2" "$1.noop" \
        >"$directory.out" 2>&1 || {
        cat "$directory.out" >&2
        return 1
    }
    for file in "$directory"/*-*; do
        awk '
            /^cmd:/ { command = $0 }
            /^thread:/ { thread = $2 }
            /^(totals|summary):/ { total = $2 }
            END {
                if (command ~ /--furrow-child=/)
                    role = thread == 1 ? "worker, I/O thread" : "worker, task threads"
                else if (command ~ /furrow-broker/)
                    role = "broker"
                else if (command ~ /furrow-worker/)
                    role = "supervisor"
                else
                    role = thread == 1 ? "client, calling thread" : "client, other threads"
                if (total > 0)
                    printf "%s\t%.0f\n", role, total
            }' "$file"
    done
}

echo "| executor | role | instructions a no-op |"
echo "|---|---|---:|"
for executor in threads processes tcp; do
    count $executor $few >"$work/few"
    count $executor $many >"$work/many"
    awk -F '\t' -v executor=$executor -v tasks=$tasks '
        FNR == NR { few[$1] += $2; next }
        { many[$1] += $2 }
        END {
            for (role in many) {
                each = (many[role] - few[role]) / tasks
                sum += each
                if (each >= 1)
                    printf "| `%s:` | %s | %.0f |\n", executor, role, each
            }
            printf "| `%s:` | all together | %.0f |\n", executor, sum
        }' "$work/few" "$work/many" | sort
    if [ -n "$keep" ]; then
        mkdir -p "$keep"
        cp -r "$work/$executor.$many" "$keep/"
    fi
done
echo
echo "By \`sh tests/bench/instructions.sh\`, from $tasks tasks more or less."
