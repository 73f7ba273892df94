/* How the decoders say what is wrong: "SUBMIT: attempt: 0 is below 1". Texts hold names of ours and
 * numbers only, never bytes of a peer. */
#ifndef WIRE_FAULT_H
#define WIRE_FAULT_H

#include "wire/message.h"

/* wire_fault_set writes a fault and returns false, so that a decoder may end with it. */
bool wire_fault_set(struct wire_fault *fault, enum wire_reject_code code, const char *format, ...)
    __attribute__((cold, format(printf, 3, 4)));

#endif
