/* The broker's end for the fuzzers of dialers' cores: it follows a script, and says what is right, what
 * is wrong and what is no message at all, comes and goes. It checks that what the core says is right in
 * itself, is for its role to say, and that nothing but HELLO goes before WELCOME. */
#ifndef TEST_FUZZ_FAR_END_H
#define TEST_FUZZ_FAR_END_H

#include "tests/fuzz/fuzz_input.h"
#include "wire/link.h"

#define FUZZ_SCRIPT_MAX 600u
#define FUZZ_BATCHES    8u

/* The core under test, and what the fuzzer knows of it. */
struct fuzz_near_end {
    enum wire_role role;
    uint32_t function_count;                       /* in its HELLO */
    enum wire_type batches[FUZZ_BATCHES];          /* that it is sent */
    enum wire_type rejected;                       /* that REJECTs are mostly about */
    void (*receive)(struct wire_message *message); /* borrowed */
    /* A message of the core's in order, other than the link's own. */
    void (*hear)(uint32_t type, const struct wire_message *message);
    /* A new stream begins. */
    void (*forget)(void);
    /* A message that can be read is about to be sent to the core. */
    void (*note)(uint32_t type, const struct wire_message *message);
    struct wire_message *(*make_batch)(struct fuzz_input *in, enum wire_type type);
    void (*tick)(void);
    void (*flush)(void);
    uint64_t (*deadline)(void);
};

struct fuzz_far_end {
    const struct fuzz_near_end *near;
    uint64_t now_ns, epoch;
    struct link link;
    bool known;   /* it has the session */
    bool sane;    /* says nothing wrong any more */
    bool crooked; /* has said what no broker does: the core's count and ours may differ */
    bool ended;   /* the core has */
    bool hello_came, resend;
    uint64_t hello_epoch, hello_received, resend_from;
};

void fuzz_far_init(struct fuzz_far_end *far, const struct fuzz_near_end *near);
void fuzz_far_fini(struct fuzz_far_end *far);
/* fuzz_far_hear takes in what the core sends; it is borrowed. */
void fuzz_far_hear(struct fuzz_far_end *far, const struct wire_message *message);
/* fuzz_far_deliver hands a message to the core as it is; fuzz_far_post numbers it first. Both take it. */
void fuzz_far_deliver(struct fuzz_far_end *far, struct wire_message *message);
void fuzz_far_post(struct fuzz_far_end *far, struct wire_message *message);
void fuzz_far_note(struct fuzz_far_end *far, const struct wire_message *message);
/* fuzz_far_welcome says a WELCOME that fits what the core said last, or one that doesn't. */
void fuzz_far_welcome(struct fuzz_far_end *far, struct fuzz_input *in, uint8_t how);
/* fuzz_far_pass lets time go by, with ticks at the core's deadlines. */
void fuzz_far_pass(struct fuzz_far_end *far, uint64_t duration_ns);
/* fuzz_far_play does what a line of the script says; false: `what` is the fuzzer's own. */
bool fuzz_far_play(struct fuzz_far_end *far, struct fuzz_input *in, uint8_t what, uint8_t how);
/* fuzz_far_mend makes it a sane broker from now on, and a new one, of which the core hears. */
void fuzz_far_mend(struct fuzz_far_end *far);

#endif
