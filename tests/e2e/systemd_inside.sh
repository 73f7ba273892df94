#!/bin/sh
# What systemd.sh runs in its container, as a unit among others: the units of Furrow, started by the
# systemd that is process 1 there, and what may happen to them. Ends with 0 if all is as it should be.
#
#   sh systemd_inside.sh DIRECTORY    with the commands, files and scores of docs/deploy-systemd.md, and
#                                     the example module in clone/build/example-module
set -eu
pages=$1
cd "$pages/clone"
began=$(date +%s)

say() {
    printf '== %3d s  %s\n' $(($(date +%s) - began)) "$*"
}

fail() {
    echo "FAILED: $*"
    systemctl --no-pager --full status 'furrow-*' || :
    journalctl --no-pager -n 60 -u 'furrow-*' || :
    exit 1
}

# page NAME: the commands of that name, as they stand on the page; there is no sudo here, nor need of it.
page() {
    sed 's/^sudo //; s/ && sudo / \&\& /' "$pages/$1.sh" >"$pages/now.sh"
    sh -eu "$pages/now.sh" >"$pages/log" 2>&1 || {
        cat "$pages/log"
        fail "the commands \"$1\""
    }
    echo "$1" >>"$pages/ran"
}

# file PATH: puts that file of the page where it says.
file() {
    mkdir -p "$(dirname "$1")"
    cp "$pages/files/$1" "$1"
}

# eventually SECONDS COMMAND...: until it succeeds.
eventually() {
    limit=$(($(date +%s) + $1))
    shift
    until "$@"; do
        [ "$(date +%s)" -lt "$limit" ] || return 1
        sleep 0.2
    done
}

property() { # UNIT NAME
    systemctl show -P "$2" "$1"
}

restarted() { # UNIT TIMES: so often by systemd itself, and serving again
    [ "$(property "$1" NRestarts)" -eq "$2" ] && [ "$(property "$1" ActiveState)" = active ]
}

said() { # UNIT TEXT
    journalctl --no-pager -u "$1" | grep -q "$2"
}

ended_well() { # UNIT
    [ "$(property "$1" ActiveState) $(property "$1" Result) $(property "$1" ExecMainStatus)" = \
        "inactive success 0" ] || fail "$1 has not ended well"
}

# closed UNIT: it runs as one of systemd's dynamic users, without capabilities and without a way to new
# ones, behind a filter of system calls.
closed() {
    pid=$(property "$1" MainPID)
    uid=$(ps -o uid= -p "$pid")
    { [ "$uid" -ge 61184 ] && [ "$uid" -le 65519 ]; } || fail "$1 runs as user $uid"
    for pair in CapEff:0000000000000000 CapBnd:0000000000000000 NoNewPrivs:1 Seccomp:2; do
        [ "$(sed -n "s/^${pair%:*}:[[:space:]]*//p" "/proc/$pid/status")" = "${pair#*:}" ] ||
            fail "$1: ${pair%:*} is not ${pair#*:}"
    done
}

# answer: what the program says about numbers below a million.
answer="below 1000000 the longest chain begins at 837799 and has 525 numbers"

say "what systemd thinks of the units"
for unit in furrow-broker furrow-worker@; do
    path=/usr/local/lib/systemd/system/$unit.service
    systemd-analyze verify --man=no "$path" >"$pages/log" 2>&1 || fail "$(cat "$pages/log")"
    [ ! -s "$pages/log" ] || fail "$(cat "$pages/log")"
    systemd-analyze security --offline=true "$path" >"$pages/log"
    score=$(sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p' "$pages/log")
    echo "$unit: an exposure of $score"
    [ "$(grep "^$unit " "$pages/scores")" = "$unit $score" ] || fail "the page has another number"
done

say "the broker, which does not start without its key"
! systemctl start furrow-broker 2>/dev/null || fail "the broker starts without keys"
systemctl stop furrow-broker
page keys
[ "$(stat -c '%U %a' /etc/furrow/broker.key)" = "root 600" ] || fail "others may read broker.key"
page broker
grep -q "listening on tcp://127.0.0.1:7700" "$pages/log" || fail "the page shows no log"
[ "$(property furrow-broker ActiveState)" = active ] || fail "the broker is not active"
[ "$(property furrow-broker StatusText)" = serving ] || fail "the broker has not said that it serves"
closed furrow-broker
file /etc/furrow/broker.env
page restart
[ -S /run/furrow/broker ] || fail "the options of broker.env do not count"

say "a worker"
page install
file /etc/furrow/worker-main.env
page worker
[ "$(property furrow-worker@main StatusText)" = serving ] || fail "the worker does not serve"
closed furrow-worker@main
page program
[ "$(cat "$pages/log")" = "$answer" ] || fail "the program says \"$(cat "$pages/log")\""
page status
grep -q -- "-main-1" "$pages/log" || fail "furrow status says: $(cat "$pages/log")"
! FURROW_KEY=/etc/furrow/worker.key FURROW_SERVER_KEY=/etc/furrow/broker.pub furrow ping \
    --connect tcp://127.0.0.1:7700 >"$pages/log" 2>&1 || fail "a worker may look around"
grep -q "may not do that" "$pages/log" || fail "a worker hears: $(cat "$pages/log")"

say "who may come in"
export FURROW_SERVER_KEY=/etc/furrow/broker.pub
# refused TEXT ENVIRONMENT...: a program with this environment is told no, in words.
refused() {
    text=$1
    shift
    ! env "$@" FURROW_EXECUTOR="tcp://127.0.0.1:7700?connect_timeout=20" timeout 60 \
        build/example-module/longest 1000 >"$pages/log" 2>&1 || fail "$* is let in"
    grep -q "$text" "$pages/log" || fail "$* hears: $(cat "$pages/log")"
}
refused "asks for a key" FURROW_SERVER_KEY=
refused "may not do that" FURROW_KEY=/etc/furrow/worker.key
mkdir "$pages/new"
furrow keygen "$pages/new" --name new >"$pages/line" 2>"$pages/log" || fail "$(cat "$pages/log")"
refused "does not know this key" FURROW_KEY="$pages/new/new.key"
cat "$pages/line" >>/etc/furrow/authorized
page reload
FURROW_KEY=$pages/new/new.key FURROW_EXECUTOR="tcp://127.0.0.1:7700?connect_timeout=20" \
    timeout 60 build/example-module/longest 1000 >"$pages/log" 2>&1 || fail "$(cat "$pages/log")"
export FURROW_KEY=/etc/furrow/client.key

file /etc/systemd/system/furrow-worker@main.service.d/override.conf
page override
[ "$(property furrow-worker@main TimeoutStopUSec)" = 10min ] || fail "the override does not count"

say "a job, while the broker is killed"
FURROW_EXECUTOR=tcp://127.0.0.1:7700 timeout 100 build/example-module/longest 20000000 >"$pages/job" &
job=$!
sleep 1
kill -9 "$(property furrow-broker MainPID)"
eventually 20 restarted furrow-broker 1 || fail "the broker has not come back"
kill -0 $job || fail "the job was over too early"
say "the worker's main process is killed, and no child outlives it"
children=$(pgrep -P "$(property furrow-worker@main MainPID)")
kill -9 "$(property furrow-worker@main MainPID)"
eventually 20 restarted furrow-worker@main 1 || fail "the worker has not come back"
for child in $children; do
    ! kill -0 "$child" 2>/dev/null || fail "a worker process has outlived its parent"
done
wait $job || fail "the job failed"
[ "$(cat "$pages/job")" = "below 20000000 the longest chain begins at 15733191 and has 705 numbers" ] ||
    fail "the job says \"$(cat "$pages/job")\""

say "the watchdog: both stand still"
for unit in furrow-broker furrow-worker@main; do
    mkdir -p "/run/systemd/system/$unit.service.d"
    printf '[Service]\nWatchdogSec=2\n' >"/run/systemd/system/$unit.service.d/watchdog.conf"
done
systemctl daemon-reload
systemctl restart furrow-broker furrow-worker@main
sleep 5 # more than twice that: who is well must not be killed
for unit in furrow-broker furrow-worker@main; do
    restarted $unit 0 || fail "$unit was restarted without need"
    kill -STOP "$(property $unit MainPID)"
done
for unit in furrow-broker furrow-worker@main; do
    eventually 20 restarted $unit 1 || fail "$unit was not restarted"
    said $unit "Watchdog timeout" || fail "it was not the watchdog"
done
page program
[ "$(cat "$pages/log")" = "$answer" ] || fail "the program says \"$(cat "$pages/log")\""

say "what can't start says so"
printf 'FURROW_WORKER_OPTIONS=--module=/nowhere.so\n' >/etc/furrow/worker-nowhere.env
! systemctl start furrow-worker@nowhere 2>/dev/null || fail "a worker without its module has started"
said furrow-worker@nowhere /nowhere.so || fail "the log does not name the module"
systemctl stop furrow-worker@nowhere
printf 'FURROW_WORKER_OPTIONS=--bogus\n' >/etc/furrow/worker-bogus.env
! systemctl start furrow-worker@bogus 2>/dev/null || fail "a worker with a wrong option has started"
sleep 2
[ "$(property furrow-worker@bogus ActiveState) $(property furrow-worker@bogus NRestarts)" = \
    "failed 0" ] || fail "a wrong option is tried again"
systemctl reset-failed

say "stopping"
page stop
ended_well furrow-worker@main
ended_well furrow-broker
[ ! -e /run/furrow ] || fail "/run/furrow has stayed"
! pgrep furrow || fail "a process has stayed"

while read -r name; do
    grep -qx "$name" "$pages/ran" || [ "$name" = module ] || fail "\"$name\" of the page was not run"
done <"$pages/names"
say "all passed"
