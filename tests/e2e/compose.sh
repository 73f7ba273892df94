#!/bin/sh
# docker-compose.yml and the images, started for real: builds them, brings up a broker and three
# workers, and runs jobs while containers are killed, restarted, added and removed.
#
#   sh tests/e2e/compose.sh [--cache DIR]
#
# Uses the Docker engine that runs, else one of its own (docker_engine.sh; takes root). With --cache
# that one keeps its images in DIR, which makes the next run shorter.
#
# Ends with 77, "skipped", where there is no engine and none can be started, or FURROW_NO_COMPOSE=1 says
# that it needn't run.
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/page.sh
. tests/e2e/debian.sh
. tests/e2e/docker_engine.sh

skip() {
    echo "SKIPPED, nothing was tested: $1"
    exit 77
}
[ "${FURROW_NO_COMPOSE:-0}" != 1 ] || skip "FURROW_NO_COMPOSE is set"
if ! engine_answers && [ "$(id -u)" -ne 0 ]; then
    skip "no Docker engine answers, and starting one takes root"
fi

work=$(mktemp -d)
cache=$work/engine
case "${1:-}" in
"") ;;
--cache)
    mkdir -p "$2"
    cache=$(cd "$2" && pwd)
    ;;
*)
    echo "usage: sh tests/e2e/compose.sh [--cache DIR]" >&2
    exit 2
    ;;
esac

# Names of its own, beside whatever else the engine has.
project=furrowtest$$
COMPOSE_PROJECT_NAME=$project
FURROW_TAG=test$$
FURROW_MODULES=$work/modules
FURROW_KEYS=$work/keys
FURROW_PROCESSES=2
export COMPOSE_PROJECT_NAME FURROW_TAG FURROW_MODULES FURROW_KEYS FURROW_PROCESSES
began=$(date +%s)

say() {
    printf '== %4d s  %s\n' $(($(date +%s) - began)) "$*"
}

# quietly COMMAND...: shows what it prints only if it fails, and then ends the test.
quietly() {
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        fail "$*"
    }
}

compose() {
    $docker_compose "$@"
}

# page NAME: runs a block of commands of docs/deploy-compose.md, as it stands there.
page() {
    page_block docs/deploy-compose.md "$1" >"$work/block.sh" || fail "no such block"
    sed "s/docker compose/$docker_compose/" "$work/block.sh" >"$work/page.sh"
    echo "$1" >>"$work/pages"
    quietly sh -eu "$work/page.sh"
}

# containers SERVICE [FILTER...]: the ids of its containers that run, the oldest last; with -a all.
containers() {
    service=$1
    shift
    docker ps -q --filter "label=com.docker.compose.project=$project" \
        --filter "label=com.docker.compose.service=$service" \
        --filter "label=com.docker.compose.oneoff=False" "$@"
}

fail() {
    echo "FAILED: $*" >&2
    for id in $(docker ps -aq --filter "label=com.docker.compose.project=$project"); do
        docker ps -a --filter "id=$id" --format '--- {{.Names}}: {{.Status}}' >&2
        docker logs --tail 15 "$id" >&2 2>&1 || :
    done
    exit 1
}

leftovers() {
    docker ps -aq --filter "label=com.docker.compose.project=$project"
    docker network ls -q --filter "label=com.docker.compose.project=$project"
    docker volume ls -q --filter "label=com.docker.compose.project=$project"
}

clean_up() {
    status=$?
    trap - EXIT
    if engine_answers; then
        for id in $(docker ps -aq --filter "label=com.docker.compose.project=$project"); do
            docker rm -f "$id" >/dev/null 2>&1 || :
        done
        for id in $(docker network ls -q --filter "label=com.docker.compose.project=$project"); do
            docker network rm "$id" >/dev/null 2>&1 || :
        done
        for image in $(docker images --format '{{.Repository}}:{{.Tag}}' | grep ":$FURROW_TAG\$"); do
            docker rmi "$image" >/dev/null 2>&1 || :
        done
        if [ -n "$engine_base_image" ] && ! $engine_own; then
            docker rmi "$engine_base_image" >/dev/null 2>&1 || :
        fi
    fi
    engine_release || status=1
    rm -rf --one-file-system "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

# eventually SECONDS COMMAND...: until it succeeds.
eventually() {
    limit=$(($(date +%s) + $1))
    shift
    until "$@"; do
        [ "$(date +%s)" -lt "$limit" ] || return 1
        sleep 0.3
    done
}

running() {
    [ "$(containers "$1" | wc -l)" -eq "$2" ]
}

healthy() {
    [ "$(docker inspect -f '{{.State.Health.Status}}' "$(containers broker)")" = healthy ]
}

# finishes ID TEXT: the container ends by itself with code 0, and this is what it printed.
finishes() {
    code=$(timeout 120 docker wait "$1") || fail "a client does not end"
    [ "$code" -eq 0 ] || fail "a client ended with $code"
    [ "$(docker logs "$1" 2>/dev/null)" = "$2" ] ||
        fail "a client printed \"$(docker logs "$1" 2>/dev/null)\", not \"$2\""
}

# ------------------------------------------------------------------------------- the images

engine_use "$cache" || skip "no engine can be started (see above)"
if $engine_own; then
    # Debian's engine comes without BuildKit's client; a newer client may bring its own.
    DOCKER_BUILDKIT=0
    COMPOSE_DOCKER_CLI_BUILD=0
    export DOCKER_BUILDKIT COMPOSE_DOCKER_CLI_BUILD
fi
say "the base image"
engine_base debian:bookworm-slim || exit 1

say "building the images"
docker_compose=docker-compose
if docker compose version >/dev/null 2>&1; then
    docker_compose="docker compose"
elif ! command -v docker-compose >/dev/null; then
    fail "there is an engine, but neither docker compose nor docker-compose"
fi
quietly compose build
page sdk
mkdir "$FURROW_MODULES"
# shellcheck disable=SC2016 # for the shell in there
docker run --rm --user "$(id -u)" -v "$PWD/tests/e2e:/source:ro" -v "$FURROW_MODULES:/modules" \
    "furrow-sdk:$FURROW_TAG" sh -eu -c '
        flags=$(pkg-config --cflags --libs furrow)
        cc -O2 -o /modules/compose_job /source/compose_job.c $flags
        cc -O2 -shared -fPIC -o /modules/compose_job.so /source/compose_job.c $flags' ||
    fail "the job can't be built"
chmod -R a+rX "$FURROW_MODULES"

# ------------------------------------------------------------------------------- the fleet

say "keys"
page keys
for name in broker worker client admin; do
    [ "$(stat -c '%u %a' "$FURROW_KEYS/$name.key")" = "7700 600" ] || fail "others may have $name.key"
done
cksum "$FURROW_KEYS"/* >"$work/keys.before"
! compose run --rm keygen >"$work/log" 2>&1 || fail "keygen has written over keys"
cksum "$FURROW_KEYS"/* | cmp -s - "$work/keys.before" || fail "keygen has changed keys"

say "a broker, three workers and the client of docker-compose.yml"
page up
grep -q "3 supervisors" "$work/log" || fail "furrow status says: $(cat "$work/log")"
words=$(docker run --rm --network none "furrow-client:$FURROW_TAG" \
    sh -c 'find /usr/share/common-licenses -type f -exec cat {} + | LC_ALL=C wc -w')
finishes "$(containers client -a)" "$words"
echo "wordcount found $words words, as find and wc do"
page jobs
grep -q "97 is prime: true" "$work/log" || fail "$(cat "$work/log")"
eventually 30 healthy || fail "the broker does not become healthy"
running worker 3 || fail "not three workers"

say "who may do what"
for id in $(docker ps -q --filter "label=com.docker.compose.project=$project"); do
    docker top "$id" -eo pid,uid,args >"$work/top"
    [ "$(wc -l <"$work/top")" -gt 1 ] || fail "a container without processes"
    ! awk 'NR > 1 && $2 != 7700' "$work/top" | grep . || fail "a process that is not user 7700"
    [ -z "$(docker port "$id")" ] || fail "a port is published"
done
echo "every process is user 7700, and no port is published"
# stranger TEXT OPTION...: a client in the fleet's own network, started with those options, is told no
# within seconds, in words.
stranger() {
    text=$1
    shift
    asked=$(date +%s)
    ! docker run --rm --network "${project}_fleet" -v "$FURROW_KEYS:/keys:ro" \
        -e "FURROW_EXECUTOR=tcp://broker:7700?connect_timeout=30" "$@" \
        "furrow-client:$FURROW_TAG" primes 7 >"$work/log" 2>&1 || fail "a stranger was let in: $*"
    grep -q "$text" "$work/log" || fail "a stranger hears: $(cat "$work/log")"
    [ $(($(date +%s) - asked)) -lt 15 ] || fail "a stranger had to wait for 15 s"
}
docker run --rm --user 0:0 --network none -v "$work:/made" --entrypoint furrow \
    "furrow-broker:$FURROW_TAG" keygen /made/foreign --name foreign >/dev/null 2>&1 || fail "no keys"
cp "$work/foreign/foreign.key" "$FURROW_KEYS/foreign.key"
chown 7700:7700 "$FURROW_KEYS/foreign.key"
key() {
    echo "-e FURROW_KEY=/keys/$1.key -e FURROW_SERVER_KEY=/keys/broker.pub"
}
stranger "asks for a key"
# shellcheck disable=SC2046 # words
stranger "does not know this key" $(key foreign)
# shellcheck disable=SC2046
stranger "may not do that" $(key worker)
rm "$FURROW_KEYS/foreign.key"
echo "a client without a key, with an unknown one, or with a worker's, is refused"
page alice
alice() {
    # shellcheck disable=SC2046
    docker run --rm --user 0:0 --network "${project}_fleet" -v "$FURROW_KEYS:/keys:ro" \
        -e FURROW_EXECUTOR=tcp://broker:7700?connect_timeout=10 $(key alice) \
        "furrow-client:$FURROW_TAG" primes 7 >"$work/log" 2>&1
}
eventually 20 alice || fail "Alice is not let in: $(cat "$work/log")"
echo "a key that was added to the list is let in after SIGHUP"
address=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' \
    "$(containers broker)")
# shellcheck disable=SC2046
! docker run --rm -v "$FURROW_KEYS:/keys:ro" $(key client) \
    -e "FURROW_EXECUTOR=tcp://$address:7700?connect_timeout=3" \
    "furrow-client:$FURROW_TAG" primes 7 >"$work/log" 2>&1 ||
    fail "a client from outside of the network got in"
grep -q "timed out\|can't open the executor" "$work/log" || fail "$(cat "$work/log")"
echo "a container outside of the network does not reach the broker"

# ------------------------------------------------------------------------------- what can happen

cat >"$work/job.yml" <<END
services:
  worker:
    command: ["--connect", "tcp://broker:7700", "--module", "/modules/compose_job.so",
              "--processes", "$FURROW_PROCESSES"]
    volumes: ["$FURROW_MODULES:/modules:ro"]
  client:
    command: ["/modules/compose_job", "4800", "50"]
    volumes: ["$FURROW_MODULES:/modules:ro"]
END
say "a job for three workers with a module in a volume"
COMPOSE_FILE=docker-compose.yml:$work/job.yml
export COMPOSE_FILE
quietly compose up -d --scale worker=3
client=$(containers client -a)
going() {
    [ "$(docker inspect -f '{{.State.Running}}' "$client")" = true ] ||
        fail "the job was over too early: $1"
    say "$1"
}
sleep 2
going "killing a worker's container"
docker kill "$(containers worker | head -n 1)" >/dev/null
sleep 1
going "killing a worker's processes: it comes back by itself"
victim=$(containers worker | head -n 1)
# shellcheck disable=SC2016 # for the shell in there
docker exec "$victim" sh -c 'kill -9 $(pidof furrow-worker)' || :
restarted() {
    [ "$(docker inspect -f '{{.RestartCount}} {{.State.Running}}' "$victim")" = "1 true" ]
}
eventually 20 restarted || fail "the worker did not come back"
going "killing the broker, and starting it again"
docker kill "$(containers broker)" >/dev/null
docker start "$(containers broker -a)" >/dev/null
sleep 2
going "restarting the broker gently, although it can't finish in 2 s"
quietly compose restart -t 2 broker
going "one worker"
quietly compose up -d --no-recreate --scale worker=1 worker
eventually 20 running worker 1 || fail "not one worker"
going "four workers"
page scale
eventually 20 running worker 4 || fail "not four workers"
going "waiting for the job"
finishes "$client" "4800 results, all right"
say "the job's results are right"

say "stopping: each finishes and ends with 0"
for service in worker broker; do
    for id in $(containers $service); do
        docker stop -t 20 "$id" >/dev/null
        code=$(docker inspect -f '{{.State.ExitCode}}' "$id")
        [ "$code" -eq 0 ] || fail "the $service ended with $code"
    done
done
page down
unset COMPOSE_FILE
[ -z "$(leftovers)" ] || fail "down has left something behind: $(leftovers)"

# ------------------------------------------------------------------------------- modules

longest="below 1000000 the longest chain begins at 837799 and has 525 numbers"
say "the example of a module, in images FROM ours"
page image
finishes "$(containers client -a)" "$longest"

say "the same in a volume"
page volume
finishes "$(containers client -a)" "$longest"
quietly compose down
[ -z "$(leftovers)" ] || fail "down has left something behind: $(leftovers)"
echo "down has left no container, network or volume behind"

for name in $(page_names docs/deploy-compose.md); do
    grep -qx "$name" "$work/pages" || fail "the block $name of deploy-compose.md was not run"
done

say "sizes"
docker images --format '{{.Repository}}:{{.Tag}} {{.Size}}' |
    awk -v tag="$FURROW_TAG" '$1 == "debian:bookworm-slim" || $1 ~ ":" tag "$"' | sort
say "all passed"
