// The pool that textbooks show: a queue of packaged tasks under a mutex, a condition variable, threads
// that wait for it, a std::future each.
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/bench/peers/peer.h"

static constexpr long COUNT = 1000000;
static constexpr int TRIPS = 10000;

class Pool {
  public:
    explicit Pool(int threads) {
        for (int i = 0; i < threads; i++) {
            workers.emplace_back([this] { serve(); });
        }
    }
    ~Pool() {
        {
            std::lock_guard<std::mutex> guard(mutex);
            stopping = true;
        }
        wake.notify_all();
        for (auto &worker : workers) {
            worker.join();
        }
    }
    std::future<long> submit(std::function<long()> function) {
        std::packaged_task<long()> task(std::move(function));
        auto future = task.get_future();
        {
            std::lock_guard<std::mutex> guard(mutex);
            queue.push_back(std::move(task));
        }
        wake.notify_one();
        return future;
    }

  private:
    void serve() {
        for (;;) {
            std::packaged_task<long()> task;
            {
                std::unique_lock<std::mutex> lock(mutex);
                wake.wait(lock, [this] { return stopping || !queue.empty(); });
                if (queue.empty()) {
                    return;
                }
                task = std::move(queue.front());
                queue.pop_front();
            }
            task();
        }
    }

    std::mutex mutex;
    std::condition_variable wake;
    std::deque<std::packaged_task<long()>> queue;
    std::vector<std::thread> workers;
    bool stopping = false;
};

int main() {
    Pool pool(2);
    std::vector<double> times(TRIPS);

    for (int round = 0; round < 2; round++) {
        std::vector<std::future<long>> futures;
        futures.reserve(COUNT);
        double start = peer_now();
        for (long i = 0; i < COUNT; i++) {
            futures.push_back(pool.submit([i] { return i; }));
        }
        for (long i = 0; i < COUNT; i++) {
            if (futures[i].get() != i) {
                peer_die("textbook", "a wrong result");
            }
        }
        if (round == 1) {
            peer_print("textbook", "noop", COUNT / (peer_now() - start), "tasks/s");
        }
    }
    for (auto &time : times) {
        double start = peer_now();
        pool.submit([] { return 1L; }).get();
        time = peer_now() - start;
    }
    peer_print_round_trips("textbook", times.data(), times.size());
}
