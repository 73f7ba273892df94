/* furrow-worker: see `furrow-worker --help`. */
#include "worker/service.h"

int main(int argc, char **argv) {
    return furrow_private_worker_main(argc, argv);
}
