/* A client of a broker that speaks the protocol by hand, over a real socket. */
#ifndef TESTS_E2E_DEALER_H
#define TESTS_E2E_DEALER_H

#include "wire/curve.h"
#include "wire/message.h"

struct dealer {
    void *context, *socket;
    uint64_t seq, received;
    struct wire_session session;
};

/* dealer_open connects; dealer_close closes. Both fail the test when something is wrong. */
void dealer_open(struct dealer *dealer, const char *url, uint64_t number);
void dealer_close(struct dealer *dealer);
/* dealer_open_as does so with keys. */
void dealer_open_as(struct dealer *dealer, const char *url, uint64_t number,
                    const struct wire_curve *curve);

/* dealer_send sends a message, numbered if its type is; takes it. */
void dealer_send(struct dealer *dealer, struct wire_message *message);
/* dealer_await waits for a message of that type, and drops others; NULL after `ms`. */
struct wire_message *dealer_await(struct dealer *dealer, enum wire_type type, int ms);

/* dealer_can_send: whether there is a connection, or is one within `ms`. */
bool dealer_can_send(struct dealer *dealer, int ms);
/* dealer_hello says HELLO in a role and gives the answer's type, WELCOME or REJECT, whose code goes to
 * *code; 0: there was none within 5 s. */
unsigned dealer_hello(struct dealer *dealer, enum wire_role role, enum wire_reject_code *code);
/* dealer_is_welcomed says HELLO as a client and waits for WELCOME, 5 s at most. */
bool dealer_is_welcomed(struct dealer *dealer);
/* dealer_submit defines class 0 of "f" and submits one task. */
void dealer_submit(struct dealer *dealer, uint64_t id);

#endif
