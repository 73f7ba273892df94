/* libuv's thread pool, uv_queue_work. Its results come back through the loop. */
#include <uv.h>

#include "tests/bench/peers/peer.h"

enum { COUNT = 1000000, TRIPS = 5000 };

struct job {
    uv_work_t work;
    long argument, result;
};

static long finished;

static void run(uv_work_t *work) {
    struct job *job = work->data;

    job->result = job->argument;
}

static void after(uv_work_t *work, int status) {
    struct job *job = work->data;

    finished += status == 0 && job->result == job->argument;
}

int main(void) {
    static struct job jobs[COUNT];
    static double times[TRIPS];
    uv_loop_t *loop = uv_default_loop();

    setenv("UV_THREADPOOL_SIZE", "2", 1);
    for (int round = 0; round < 2; round++) {
        double start = peer_now();
        finished = 0;
        for (long i = 0; i < COUNT; i++) {
            jobs[i] = (struct job){.argument = i, .result = -1};
            jobs[i].work.data = &jobs[i];
            uv_queue_work(loop, &jobs[i].work, run, after);
        }
        uv_run(loop, UV_RUN_DEFAULT);
        if (finished != COUNT) {
            peer_die("libuv", "a wrong result");
        }
        if (round == 1) {
            peer_print("libuv", "noop", COUNT / (peer_now() - start), "tasks/s");
        }
    }
    for (int i = 0; i < TRIPS; i++) {
        double start = peer_now();
        uv_queue_work(loop, &jobs[0].work, run, after);
        uv_run(loop, UV_RUN_DEFAULT);
        times[i] = peer_now() - start;
    }
    peer_print_round_trips("libuv", times, TRIPS);
    return 0;
}
