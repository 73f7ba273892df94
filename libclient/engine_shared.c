#include "libclient/engine_local.h"

#include <string.h>
#include <unistd.h>

#include "worker/wiring.h"

#define MIB              (UINT64_C(1) << 20)
#define DEFAULT_MIB      1024u
#define DEFAULT_FRACTION 4u /* of the machine's memory, at most */

static uint64_t default_bytes(void) {
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    uint64_t bytes = DEFAULT_MIB * MIB;

    if (pages > 0 && page_bytes > 0) {
        uint64_t part = (uint64_t)pages * (uint64_t)page_bytes / DEFAULT_FRACTION;

        bytes = part < bytes ? part : bytes;
    }
    return bytes;
}

void engine_shared_open(struct engine *engine) {
    struct local *local = engine_local_of(engine);
    int wanted = engine->base.options.shared_memory, error;

    if (wanted == 0) {
        return;
    }
    error =
        wire_shared_home_new(wanted == FURROW_DEFAULT ? default_bytes() : (uint64_t)wanted * MIB,
                             WORKER_FD_FREE, &local->shared);
    if (error != 0) {
        local->shared = NULL;
        base_log(&engine->base.log, wanted == FURROW_DEFAULT ? BASE_LOG_INFO : BASE_LOG_WARN,
                 "no shared memory for large payloads, they go through sockets: %s",
                 strerror(error));
    }
}
