# shellcheck shell=sh
# A Docker engine for a test: the one that runs, else one of its own. Read with `.`, after debian.sh; use:
#
#   engine_use DIR       after it, docker and docker-compose talk to an engine, or it has returned 1
#   engine_base IMAGE    the base image is there: pulled, or made of Debian's packages; engine_base_image
#                        is its name if it was not there before
#   engine_release       stops what engine_use started; always safe to call. Returns 1 if the
#                        machine's network is not as it was
#
# An engine of its own keeps everything under DIR, which is left behind as a cache of images. What it
# does to the machine's network is undone by engine_release. It takes root; Debian's docker.io is
# installed if there is no engine to start. engine_own is true after it was started.

engine_own=false
engine_dir=
engine_pid=
# shellcheck disable=SC2034 # for who reads this file
engine_base_image=

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
    # A path for a socket has at most 107 bytes: not under engine_dir, which may be deep.
    engine_state=$(mktemp -d)
    engine_socket=$engine_state/docker.sock
    engine_cgroup=furrow-engine-$$
    # Under systemd they are slices, which go away by themselves.
    engine_parent=
    [ -d /run/systemd/system ] || engine_parent="--cgroup-parent=/$engine_cgroup"
    engine_network >"$engine_state/network"
    rm -f "$engine_dir/pid"
    dockerd --data-root "$engine_dir/data" --exec-root "$engine_dir/exec" \
        --pidfile "$engine_dir/pid" ${engine_parent:+"$engine_parent"} \
        -H "unix://$engine_socket" >"$engine_dir/log" 2>&1 &
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

# engine_make_base IMAGE: what the registry's bookworm-slim is, made of Debian's packages.
engine_make_base() {
    command -v debootstrap >/dev/null || sh deploy/install-deps.sh compose || return 1
    echo "Making $1 of Debian's packages"
    engine_root=$(mktemp -d)/root
    engine_status=0
    if ! debian_make "$engine_root"; then
        engine_status=1
    else
        debian_slim "$engine_root"
        tar -C "$engine_root" -c . | docker import - "$1" >/dev/null || engine_status=1
    fi
    rm -rf --one-file-system "${engine_root%/root}"
    return "$engine_status"
}

engine_base() {
    ! docker image inspect "$1" >/dev/null 2>&1 || return 0
    engine_base_image=$1
    if docker pull -q "$1" >/dev/null 2>&1; then
        return 0
    fi
    engine_make_base "$1"
}

# engine_network: what an engine changes in the machine's network; without counters.
engine_network() {
    for engine_file in net/ipv4/ip_forward net/bridge/bridge-nf-call-iptables \
        net/bridge/bridge-nf-call-ip6tables; do
        [ ! -e "/proc/sys/$engine_file" ] || echo "$engine_file $(cat "/proc/sys/$engine_file")"
    done
    ip -o link show type bridge | awk '{ print $2 }'
    nft list tables 2>/dev/null || :
    # Asking iptables for a table makes it.
    for engine_table in $({
        nft list tables 2>/dev/null | sed -n 's/^table ip //p'
        cat /proc/net/ip_tables_names 2>/dev/null
    } | sort -u); do
        iptables-save -t "$engine_table" 2>/dev/null | sed '/^#/d; s/\[[0-9:]*\]//'
    done
}

# Takes away the bridge, rules and tables that came with the engine, and leaves others' alone.
engine_restore_network() {
    ip link del docker0 2>/dev/null || :
    iptables-save | grep -v -e DOCKER -e docker0 | iptables-restore || :
    engine_policy=$(sed -n 's/^:FORWARD \([A-Z]*\).*/\1/p' "$engine_state/network" | head -n 1)
    iptables -P FORWARD "${engine_policy:-ACCEPT}" || :
    nft list tables 2>/dev/null | grep -E '^table ip6? (filter|nat)$' |
        grep -Fvx -f "$engine_state/network" | while read -r engine_table; do
        # shellcheck disable=SC2086 # three words
        nft delete $engine_table || :
    done
    sed -n '/^net\//p' "$engine_state/network" | while read -r engine_file engine_value; do
        echo "$engine_value" >"/proc/sys/$engine_file" || :
    done
}

engine_release() {
    [ -n "$engine_pid" ] || return 0
    kill "$engine_pid" 2>/dev/null || :
    wait "$engine_pid" 2>/dev/null || :
    engine_pid=
    engine_restore_network
    find /sys/fs/cgroup -depth -type d -path "*/$engine_cgroup*" -exec rmdir {} + 2>/dev/null || :
    rmdir /run/docker/plugins /run/docker 2>/dev/null || :
    engine_status=0
    engine_network | diff "$engine_state/network" - >&2 || {
        echo "The engine has left something behind in the network (see above)" >&2
        engine_status=1
    }
    rm -rf "$engine_state"
    return "$engine_status"
}
