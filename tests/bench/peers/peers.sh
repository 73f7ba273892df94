# Sourced by compare.sh: how each peer is installed, built, started, run and stopped. For a peer X
#
#     X_packages   what Debian calls it
#     X_start      builds it and starts what it needs; false if it can't
#     X_run CASE   measures one case, and prints name<TAB>value<TAB>unit
#
# What X_start begins in the background goes through `daemon`, and peers_stop ends just that. $work is a
# directory of our own, $source is tests/bench, $root the repository.

PYTHON=${PYTHON:-/usr/bin/python3} # Debian's: its packages are what is measured
daemons=

# daemon COMMAND...: starts it in the background; $daemon is its pid.
daemon() {
    "$@" >>"$work/daemons.log" 2>&1 </dev/null &
    daemon=$!
    daemons="$daemon $daemons"
}

# end_family PID: kills a process and all that it has started.
end_family() {
    for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do
        end_family "$child"
    done
    kill -9 "$1" 2>/dev/null
}

peers_stop() {
    for pid in $daemons; do
        kill "$pid" 2>/dev/null || continue
        tries=0
        while kill -0 "$pid" 2>/dev/null && [ $tries -lt 100 ]; do
            sleep 0.05
            tries=$((tries + 1))
        done
        end_family "$pid"
        wait "$pid" 2>/dev/null
    done
    daemons=
}

listens() {
    awk -v port=":$(printf '%04X' "$1")" \
        'substr($2, length($2) - 4) == port && $4 == "0A" { found = 1 } END { exit !found }' \
        /proc/net/tcp
}

# daemon_on_port COMMAND... with @PORT@ in it: starts it on a free port ($port), waits until it listens.
daemon_on_port() {
    for attempt in 1 2 3 4 5; do
        port=$((20000 + ($$ * 7 + attempt * 1013) % 12000))
        ! listens $port || continue
        # shellcheck disable=SC2046 # none of the arguments has a blank
        daemon $(printf '%s\n' "$@" | sed "s/@PORT@/$port/g")
        tries=0
        while kill -0 "$daemon" 2>/dev/null && [ $tries -lt 400 ]; do
            ! listens $port || return 0
            sleep 0.05
            tries=$((tries + 1))
        done
    done
    echo "it does not listen" >&2
    return 1
}

# compile_c PROGRAM SOURCE_OR_OPTION...
compile_c() {
    program=$1
    shift
    cc -O2 -I"$root" -o "$work/$program" "$@"
}

gearmand_packages="gearman-job-server libgearman-dev gcc libc6-dev"
gearmand_start() {
    compile_c gearman "$source/peers/gearman.c" "$source/work.c" -lgearman || return 1
    # One I/O thread: its default of four is slower by a quarter on two processors.
    daemon_on_port gearmand --port @PORT@ --listen 127.0.0.1 --threads 1 --log-file "$work/gearmand.log" \
        --verbose ERROR || return 1
    gearmand_port=$port
    gearmand_pid=$daemon
    daemon "$work/gearman" worker "$port"
    daemon "$work/gearman" worker "$port"
}
gearmand_run() {
    if [ "$1" = bytes_per_queued ]; then
        fill_and_look gearmand "$gearmand_pid" "$work/gearman" client "$gearmand_port" fill_100000
    else
        "$work/gearman" client "$gearmand_port" "$@"
    fi
}

beanstalkd_packages="beanstalkd gcc libc6-dev"
beanstalkd_start() {
    compile_c beanstalkd-peer "$source/peers/beanstalkd.c" -lpthread || return 1
    daemon_on_port beanstalkd -l 127.0.0.1 -p @PORT@ -z 2000000 || return 1
    beanstalkd_port=$port
    beanstalkd_pid=$daemon
    daemon "$work/beanstalkd-peer" worker "$port"
    beanstalkd_workers=$daemon
    daemon "$work/beanstalkd-peer" worker "$port"
    beanstalkd_workers="$beanstalkd_workers $daemon"
}
beanstalkd_run() {
    if [ "$1" = bytes_per_queued ]; then
        # Without its workers, which would take the jobs.
        # shellcheck disable=SC2086 # a list
        kill $beanstalkd_workers 2>/dev/null
        fill_and_look beanstalkd "$beanstalkd_pid" \
            "$work/beanstalkd-peer" client "$beanstalkd_port" fill_100000
    else
        "$work/beanstalkd-peer" client "$beanstalkd_port" "$@"
    fi
}

resident_kib() {
    sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status"
}

# fill_and_look PEER PID COMMAND...: the server's memory for each of 100,000 that COMMAND queues.
fill_and_look() {
    filled=$1
    server=$2
    shift 2
    before=$(resident_kib "$server")
    "$@" || return 1
    after=$(resident_kib "$server")
    printf '%s.bytes_per_queued\t%d\tbytes\n' "$filled" $(((after - before) * 1024 / 100000))
}

cpython_processes_packages="python3"
cpython_processes_start() { :; }
cpython_processes_run() { "$PYTHON" "$source/peers/futures.py" processes "$@"; }

cpython_threads_packages="python3"
cpython_threads_start() { :; }
cpython_threads_run() { "$PYTHON" "$source/peers/futures.py" threads "$@"; }

mpi4py_packages="python3-mpi4py openmpi-bin"
mpi4py_start() {
    # Open MPI wants to be told twice that it may run as root. Nothing here leaves this machine.
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
}
mpi4py_run() {
    mpirun --oversubscribe -n 3 "$PYTHON" -m mpi4py.futures "$source/peers/futures.py" mpi "$@"
}

dask_packages="python3-distributed"
dask_start() {
    export PYTHONPATH="$source/peers" # its workers import what the client sends them
    daemon_on_port "$PYTHON" -m distributed.cli.dask_scheduler --host 127.0.0.1 --port @PORT@ \
        --no-dashboard || return 1
    dask_port=$port
    for i in 1 2; do
        daemon "$PYTHON" -m distributed.cli.dask_worker "tcp://127.0.0.1:$port" --nthreads 1 \
            --no-dashboard --no-nanny --local-directory "$work/dask-$i"
    done
}
dask_run() { "$PYTHON" "$source/peers/dask_client.py" "tcp://127.0.0.1:$dask_port" "$@"; }

redis_start() {
    daemon_on_port redis-server --bind 127.0.0.1 --port @PORT@ --save "''" --appendonly no --dir "$work"
}

celery_packages="python3-celery python3-redis redis-server"
celery_start() {
    redis_start || return 1
    export PEER_REDIS="redis://127.0.0.1:$port" PYTHONPATH="$source/peers"
    daemon "$PYTHON" -m celery -A celery_tasks worker --pool prefork --concurrency 2 \
        --loglevel ERROR --without-gossip --without-mingle --pidfile "$work/celery.pid"
}
celery_run() { "$PYTHON" "$source/peers/celery_client.py" "$@"; }

rq_packages="python3-rq python3-redis redis-server"
rq_start() {
    redis_start || return 1
    export PEER_REDIS="redis://127.0.0.1:$port" PYTHONPATH="$source/peers"
    for i in 1 2; do
        daemon "$PYTHON" "$(command -v rq)" worker -u "$PEER_REDIS/2" \
            -w rq.worker.SimpleWorker -q
    done
}
rq_run() { "$PYTHON" "$source/peers/rq_client.py" "$@"; }

parallel_packages="parallel"
parallel_start() { mkdir -p "$work/parallel"; }
parallel_run() {
    start=$(date +%s%N)
    seq 500 | PARALLEL_HOME="$work/parallel" parallel -j2 true || return 1
    awk -v ns=$(($(date +%s%N) - start)) \
        'BEGIN { printf "parallel.noop\t%.6g\ttasks/s\n", 500e9 / ns }'
}

tbb_packages="libtbb-dev g++"
tbb_start() { g++ -O2 -std=c++17 -I"$root" -o "$work/pool_tbb" "$source/peers/pool_tbb.cpp" -ltbb; }
tbb_run() { "$work/pool_tbb"; }

textbook_packages="g++"
textbook_start() {
    g++ -O2 -std=c++17 -I"$root" -o "$work/pool_textbook" "$source/peers/pool_textbook.cpp" -lpthread
}
textbook_run() { "$work/pool_textbook"; }

libuv_packages="libuv1-dev gcc libc6-dev pkg-config"
libuv_start() { compile_c pool_libuv "$source/peers/pool_libuv.c" -luv -lpthread; }
libuv_run() { "$work/pool_libuv"; }

glib_packages="libglib2.0-dev gcc libc6-dev pkg-config"
glib_start() {
    # shellcheck disable=SC2046 # lists of options
    compile_c pool_glib "$source/peers/pool_glib.c" $(pkg-config --cflags --libs glib-2.0)
}
glib_run() { "$work/pool_glib"; }
