#include "wire/fault.h"

#include <stdarg.h>
#include <stdio.h>

bool wire_fault_set(struct wire_fault *fault, enum wire_reject_code code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fault->code = code;
    vsnprintf(fault->text, sizeof fault->text, format, arguments);
    va_end(arguments);
    return false;
}

const char *wire_reject_text(unsigned code) {
    switch ((enum wire_reject_code)code) {
    case WIRE_REJECT_MALFORMED:
        return "malformed";
    case WIRE_REJECT_TYPE:
        return "unknown type";
    case WIRE_REJECT_ROLE:
        return "not allowed for this role";
    case WIRE_REJECT_LIMIT:
        return "over a limit";
    case WIRE_REJECT_VERSION:
        return "no common version";
    case WIRE_REJECT_AUTH:
        return "not authorised";
    case WIRE_REJECT_DRAINING:
        return "draining";
    }
    return "unknown code";
}
