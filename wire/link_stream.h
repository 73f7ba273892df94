/* Between link.c and dialer.c only. */
#ifndef WIRE_LINK_STREAM_H
#define WIRE_LINK_STREAM_H

#include "wire/link.h"

/* link_stream begins a stream with a base that the other end chose, and drops kept messages. */
void link_stream(struct link *link, uint64_t now_ns, uint64_t base);

#endif
