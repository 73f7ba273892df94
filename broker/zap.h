/* Who is let in: answers ZeroMQ's questions (ZAP, RFC 27) about the keys of those who connect. In the
 * broker's own thread, so an answer is a look into a table and nothing that could wait. */
#ifndef BROKER_ZAP_H
#define BROKER_ZAP_H

#include "base/log.h"
#include "broker/authorized.h"

struct broker_zap {
    void *socket; /* NULL: not open */
    uint64_t told_ns;
    uint64_t refused; /* and not told of */
};

/* broker_zap_open makes it ready to answer for all sockets of the context; before any of them is bound.
 * Returns 0 or an errno (EADDRINUSE: somebody else answers already). */
int broker_zap_open(struct broker_zap *zap, void *context);
void broker_zap_close(struct broker_zap *zap);

/* broker_zap_serve answers what has been asked so far, `most` questions at a time, so that a crowd at
 * the door does not keep the broker from its work. Keys that are not in the list are refused; so is
 * what is malformed. Returns whether there may be more. */
bool broker_zap_serve(struct broker_zap *zap, const struct broker_authorized *list, unsigned most,
                      uint64_t now_ns, const struct base_log *log);

#endif
