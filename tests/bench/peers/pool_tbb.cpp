// oneTBB's task_arena::enqueue from a thread outside. It gives no future, so every task writes its
// result into a place of its own, and the last one says so.
#include <tbb/global_control.h>
#include <tbb/task_arena.h>

#include <atomic>
#include <semaphore.h>
#include <vector>

#include "tests/bench/peers/peer.h"

static constexpr long COUNT = 1000000;
static constexpr int TRIPS = 10000;

int main() {
    tbb::global_control control(tbb::global_control::max_allowed_parallelism, 3);
    tbb::task_arena arena(2, 0); // two workers, no place for the thread that submits
    std::vector<long> results(COUNT);
    std::vector<double> times(TRIPS);
    std::atomic<long> left;
    sem_t done;

    sem_init(&done, 0, 0);
    for (int round = 0; round < 2; round++) { // the first one warms up
        left = COUNT;
        double start = peer_now();
        for (long i = 0; i < COUNT; i++) {
            arena.enqueue([i, &results, &left, &done] {
                results[i] = i;
                if (left.fetch_sub(1) == 1) {
                    sem_post(&done);
                }
            });
        }
        sem_wait(&done);
        long sum = 0;
        for (long result : results) {
            sum += result;
        }
        if (sum != COUNT / 2 * (COUNT - 1)) {
            peer_die("tbb", "a wrong result");
        }
        if (round == 1) {
            peer_print("tbb", "noop", COUNT / (peer_now() - start), "tasks/s");
        }
    }
    for (auto &time : times) {
        double start = peer_now();
        arena.enqueue([&done] { sem_post(&done); });
        sem_wait(&done);
        time = peer_now() - start;
    }
    peer_print_round_trips("tbb", times.data(), times.size());
}
