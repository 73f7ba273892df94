/* The inside of furrow_buffer, for libclient/. */
#ifndef TASK_VALUE_H
#define TASK_VALUE_H

#include <furrow.h>

#include "base/buffer.h"

struct furrow_buffer {
    struct base_buffer bytes;
};

#endif
