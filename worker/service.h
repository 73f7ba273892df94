/* What furrow-worker is: a supervisor without task code, and a session of its own that tells the broker
 * of its children's deaths. It lives in libfurrow, because task modules find furrow.h's functions there
 * and there may be only one registry of them. */
#ifndef WORKER_SERVICE_H
#define WORKER_SERVICE_H

#include <furrow.h>

/* furrow_private_worker_main is the main function of furrow-worker, and of nobody else. */
FURROW_API int furrow_private_worker_main(int argc, char **argv);

#endif
