# shellcheck shell=sh
# A Docker engine for a test: the one that runs, else one of its own. Read with `.`; use:
#
#   engine_use DIR       after it, docker and docker-compose talk to an engine, or it has returned 1
#   engine_base IMAGE    the base image is there: pulled, or made of Debian's packages
#   engine_release       stops what engine_use started; always safe to call
#
# An engine of its own keeps everything under DIR, which is left behind as a cache of images. What it
# does to the machine's network is undone by engine_release. It takes root; Debian's docker.io is
# installed if there is no engine to start. engine_own is true after it was started.

engine_own=false
engine_dir=
engine_pid=

engine_answers() {
    docker info >/dev/null 2>&1
}

# engine_start: starts dockerd in engine_dir, which takes a few seconds.
engine_start() {
    [ "$(id -u)" -eq 0 ] || {
        echo "No Docker engine runs, and starting one takes root" >&2
        return 1
    }
    mkdir -p "$engine_dir"
    engine_forward=$(cat /proc/sys/net/ipv4/ip_forward)
    engine_policy=$(iptables -S FORWARD | sed -n 's/^-P FORWARD //p')
    # A path for a socket has at most 107 bytes: not under engine_dir, which may be deep.
    engine_socket=$(mktemp -d)/docker.sock
    rm -f "$engine_dir/pid"
    dockerd --data-root "$engine_dir/data" --exec-root "$engine_dir/exec" \
        --pidfile "$engine_dir/pid" -H "unix://$engine_socket" >"$engine_dir/log" 2>&1 &
    engine_pid=$!
    # shellcheck disable=SC2034 # for who reads this file
    engine_own=true
    DOCKER_HOST=unix://$engine_socket
    export DOCKER_HOST
    tries=0
    until engine_answers; do
        tries=$((tries + 1))
        if [ "$tries" -gt 60 ] || ! kill -0 "$engine_pid" 2>/dev/null; then
            echo "dockerd does not come up:" >&2
            tail -n 20 "$engine_dir/log" >&2
            return 1
        fi
        sleep 0.5
    done
}

engine_use() {
    engine_dir=$1
    if engine_answers; then
        echo "Using the Docker engine that runs"
    else
        if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
            sh deploy/install-deps.sh compose || return 1
        fi
        echo "Starting a Docker engine in $engine_dir"
        engine_start || return 1
    fi
    docker version --format 'Docker {{.Server.Version}}, client {{.Client.Version}}'
}

# engine_make_base IMAGE: what the registry's bookworm-slim is, made of Debian's packages: the minimal
# system without documentation and package lists.
engine_make_base() {
    # shellcheck disable=SC2016 # apt expands it
    mirror=$(apt-get indextargets --format '$(SITE)' \
        'Created-By: Packages' 'Label: Debian' 'Codename: bookworm' | head -n 1)
    [ -n "$mirror" ] || {
        echo "This machine's apt knows no mirror of Debian bookworm" >&2
        return 1
    }
    command -v debootstrap >/dev/null || sh deploy/install-deps.sh compose || return 1
    root=$(mktemp -d)
    echo "Making $1 of Debian's packages"
    if ! debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1; then
        cat "$root.log" >&2
        rm -rf --one-file-system "$root" "$root.log"
        return 1
    fi
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
        "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/usr/share/info/* \
        "$root"/var/log/*.log
    find "$root/usr/share/doc" -type f ! -name copyright -delete
    status=0
    tar -C "$root" -c . | docker import - "$1" >/dev/null || status=1
    rm -rf --one-file-system "$root" "$root.log"
    return "$status"
}

engine_base() {
    ! docker image inspect "$1" >/dev/null 2>&1 || return 0
    if docker pull -q "$1" >/dev/null 2>&1; then
        return 0
    fi
    engine_make_base "$1"
}

engine_release() {
    [ -n "$engine_pid" ] || return 0
    kill "$engine_pid" 2>/dev/null || :
    wait "$engine_pid" 2>/dev/null || :
    engine_pid=
    rm -rf "$(dirname "$engine_socket")"
    # dockerd leaves its bridge and its rules behind.
    ip link del docker0 2>/dev/null || :
    iptables-save | grep -v -e DOCKER -e docker0 | iptables-restore || :
    iptables -P FORWARD "$engine_policy" || :
    echo "$engine_forward" >/proc/sys/net/ipv4/ip_forward || :
}
