/* The classes of an executor, as executor.c needs them. */
#ifndef CLIENT_EXECUTOR_CLASSES_H
#define CLIENT_EXECUTOR_CLASSES_H

#include "libclient/executor.h"

/* executor_classes_free frees all classes and tables; no future of the executor is left undone. */
void executor_classes_free(furrow_executor *executor);

#endif
