/* Numbers for Prometheus. The broker's thread publishes a snapshot now and then; whoever renders it
 * takes a copy of the last one, and never touches the core. */
#ifndef BROKER_METRICS_H
#define BROKER_METRICS_H

#include "base/buffer.h"
#include "broker/core.h"

struct broker_metrics;

/* broker_metrics_new: NULL without memory. `version` is borrowed. */
struct broker_metrics *broker_metrics_new(const char *version);
void broker_metrics_free(struct broker_metrics *metrics); /* NULL is fine */

/* How old what is shown may be. */
#define BROKER_METRICS_NS UINT64_C(500000000)

/* broker_metrics_publish takes note of how things stand. The broker's thread; it never waits: false, if
 * somebody is just taking a copy, and it is to be tried again soon. */
bool broker_metrics_publish(struct broker_metrics *metrics, const struct broker_core *core,
                            uint64_t malformed);
/* broker_metrics_render appends the text of version 0.0.4 of Prometheus's format. Any thread; lack of
 * memory shows in `out`. */
void broker_metrics_render(struct broker_metrics *metrics, struct base_buffer *out);

/* The HTTP server, in a thread of its own: GET /metrics, and nothing else. */
struct broker_metrics_server;

/* broker_metrics_serve starts it.
 *
 * address  ADDRESS:PORT, or PORT alone (on 127.0.0.1); a port of 0 is chosen by the system
 * error    gets what went wrong, in words: also if this was built without the library for it
 *
 * Returns NULL then. */
struct broker_metrics_server *broker_metrics_serve(struct broker_metrics *metrics,
                                                   const char *address, char *error,
                                                   size_t error_bytes);
/* broker_metrics_url is where it listens. */
const char *broker_metrics_url(const struct broker_metrics_server *server);
void broker_metrics_stop(struct broker_metrics_server *server); /* NULL is fine */

/* broker_metrics_is_address tells whether the text is one. */
bool broker_metrics_is_address(const char *address);

#endif
