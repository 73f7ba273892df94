/* Stands in for the engine in tests and measurements of the front: only `threads:` can be opened. */
#include "libclient/executor.h"
#include "task/status.h"

furrow_executor *executor_open_brokered(struct client_url *url) {
    (void)task_set_error(FURROW_EUNSUPPORTED, "%s: is not in this program",
                         client_scheme_name(url->scheme));
    return NULL;
}
