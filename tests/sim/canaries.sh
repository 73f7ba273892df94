#!/bin/sh
# Breaks one rule of the cores at a time, in a copy, and demands that the swarm notices: a simulation
# that finds nothing must not be one that sees nothing.
#
#   sh tests/sim/canaries.sh SOURCE BUILD [CC]
#
# SOURCE is the root of the sources, BUILD a finished build of them (its archives are linked), CC the
# compiler, cc by default. Each canary is one line below: a name, a file, and what is changed in it by
# sed; one that no longer changes anything has to be adapted, and fails.
set -eu
source=$(cd "$1" && pwd)
lib=$(cd "$2/lib" && pwd)
cc=${3:-cc}
seeds=1..1000

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
total=0
failed=0

# canary NAME FILE SED [USER]: breaks FILE; if that is a header, as USER sees it.
canary() {
    total=$((total + 1))
    rm -rf "$work/broken"
    mkdir -p "$work/broken/${2%/*}"
    sed "$3" "$source/$2" >"$work/broken/$2"
    if cmp -s "$source/$2" "$work/broken/$2"; then
        echo "$1: nothing to change in $2"
        failed=$((failed + 1))
        return
    fi
    compiled=$work/broken/$2
    [ $# -lt 4 ] || compiled=$source/$4
    # What the broken file defines is not taken from its archive again.
    if ! "$cc" -std=gnu11 -D_GNU_SOURCE -O2 -w -I"$work/broken" -I"$source" \
        -I"$source/libclient/include" "$source/tests/sim/main.c" "$compiled" "$lib/libfurrow_sim.a" \
        "$lib/libfurrow_client_core.a" "$lib/libfurrow_worker_core.a" \
        "$lib/libfurrow_broker_core.a" "$lib/libfurrow_wire.a" "$lib/libfurrow_base.a" \
        $extra_libs -o "$work/furrow-sim" 2>"$work/log"; then
        echo "$1: does not build"
        cat "$work/log"
        failed=$((failed + 1))
        return
    fi
    status=0
    "$work/furrow-sim" --seeds $seeds --until-failure >"$work/log" 2>&1 || status=$?
    if [ "$status" -eq 0 ]; then
        echo "$1: NOT NOTICED in seeds $seeds"
        failed=$((failed + 1))
    else
        echo "$1: $({ grep -E '^seed|assertion' "$work/log" || echo "ended with $status"; } | head -n 1 |
            cut -c 1-120)"
    fi
}

extra_libs=
for archive in "$lib"/libfurrow_base_assert.a; do
    [ ! -f "$archive" ] || extra_libs="$extra_libs $archive"
done

canary "messages are delivered twice" wire/link.c \
    's/^        return LINK_DUPLICATE;/        return LINK_DELIVER;/'
canary "any acknowledgement is one of all" wire/link.c \
    's/if (envelope->ack > link->acknowledged) {/if (link->sent > link->acknowledged) {/;
     s/kept_drop(link, envelope->ack - link->acknowledged);/kept_drop(link, link->kept_count);/;
     s/link->acknowledged = envelope->ack;/link->acknowledged = link->sent;/'
canary "nothing is sent again" wire/link.c \
    's/^    \*count = link->kept_count;/    *count = 0;/'
canary "a gap is passed over" wire/link.c \
    's/if (envelope->seq != link->received + 1) {/if (false) {/;
     s/^    link->received++;/    link->received = envelope->seq;/'
canary "a lost tail is not noticed" wire/link.c \
    's/^    return link->heard > link->received;/    return false;/'
canary "streams begin at the same number" wire/link.c \
    's/link_stream(link, now_ns, base > used ? base : base_above(used));/link_stream(link, now_ns, 0);/;
     s/link_stream(link, now_ns, base_at(now_ns));/link_stream(link, now_ns, 0);/'
canary "a stale lease counts" broker/worker.h \
    's/task->lease != lease || task->worker != worker ||/task->worker == NULL ||/' broker/results.c
# Two leases have the same number only if the same task's place and count meet again: 9 seeds of the
# 12,000 that run in CI, of which these thousand have two.
seeds=6001..7000
canary "leases begin at the same number in each epoch" broker/core.c \
    's/core->lease_count = config->epoch.*;/core->lease_count = 0;/'
seeds=1..1000
canary "credit is taken for unlimited" libclient/core_tasks.c \
    's/if (core->used_tasks >= core->credit_tasks) {/if (false) {/'
canary "credit leaks away" broker/credit.c \
    's/client->sent_tasks += tasks;/client->sent_tasks += tasks + 1;/'
canary "what a client gives up is not dropped" libclient/core_limits.c \
    's/^ *link_dialer_renew(&core->dialer, now_ns);/            ;/'
canary "a cancel is forgotten" broker/client.c \
    's/^        if (!cancel_one(core, client, entry.values\[0\])) {/        if (false) {/'
canary "a cancel does not wait for claims" broker/client.c \
    's/if (task->state == BROKER_TASK_LEASED || task->state == BROKER_TASK_HELD) {/if (task->state == BROKER_TASK_LEASED) {/'
canary "a worker says it gives back what runs" worker/core_recall.c \
    's/return worker_put(core, core->returned, 0, lease, NULL, 0, NULL);/return worker_put(core, core->returned, 1, lease, NULL, 0, NULL);/'
canary "what was begun is queued again" broker/worker.c \
    's/if (task != NULL \&\& back) {/if (task != NULL) {/'
canary "what a dead worker had is forgotten" broker/recover.c \
    's/^        broker_queue_add(core, task, true);/        (void)core;/'
canary "at most once is forgotten" broker/recover.c \
    's/WIRE_FLAG_AT_MOST_ONCE) != 0/WIRE_FLAG_AT_MOST_ONCE) == 77/'
canary "tasks are not submitted again" libclient/core_tasks.c \
    's/^    base_list_splice(&core->sent, &core->waiting);\n    base_list_splice(&core->waiting, &core->sent);//;
     s/^    core->waiting_count += core->sent_count;//;
     s/^    core->sent_count = 0;//'
canary "an outcome is told twice" libclient/core_tasks.c \
    's/^        action->large = entry.large;/        action->large = entry.large; *client_act(core, CLIENT_RESOLVE) = *action;/'
canary "results are lost on the way to a new broker" worker/core_outgoing.c \
    's/^        if (outgoing.results > 0) {/        if (false) {/'
canary "attempts are not counted" broker/recover.c \
    's/^    task->attempt++;//'

canary "nobody waits for what is announced" wire/link.c \
    's/^    link->patience_ns = bytes .*;/    link->patience_ns = 0;/'
canary "what there is no room for is sent again" broker/no_room.c \
    's/^    link_kept_replace(&session->link, coming->seq, instead);/    wire_message_unref(instead);/'
canary "what was held back stays so" broker/credit.c \
    's/^    base_list_splice(&now, &client->clogged);//'

echo "$((total - failed)) of $total canaries were noticed"
[ "$failed" -eq 0 ]
