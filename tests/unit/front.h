/* What the tests of the client's front share: tasks, and a gate that holds tasks until it is opened. */
#ifndef TEST_FRONT_H
#define TEST_FRONT_H

#include <furrow.h>

#include <pthread.h>
#include <stdbool.h>

/* Tasks that pass a gate wait in it until it is open. Only for `threads:`, where it goes by pointer. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int inside; /* have come, and perhaps gone */
    bool open;
};
void gate_init(struct gate *gate);
void gate_fini(struct gate *gate);
void gate_open(struct gate *gate);
void gate_pass(struct gate *gate);
/* gate_wait waits until `count` have come. */
void gate_wait(struct gate *gate, int count);

FURROW_TASK_EXTERN(front_identity); /* (v) -> v */
FURROW_TASK_EXTERN(front_square);   /* (i) -> i */
FURROW_TASK_EXTERN(front_add);      /* (i, i) -> i */
FURROW_TASK_EXTERN(front_fail);     /* (i): fails with this code and "failed on purpose" */
FURROW_TASK_EXTERN(front_hold);     /* (p) -> nil: passes the gate */
FURROW_TASK_EXTERN(
    front_until_cancelled);       /* (p) -> nil: passes the gate, sleeps until asked to end */
FURROW_TASK_EXTERN(front_string); /* (i) -> a string of so many 'x' */
FURROW_TASK_EXTERN(front_length); /* (s) -> i: its length */
FURROW_TASK_EXTERN(front_count_arguments); /* (...) -> i: how many there are */
FURROW_TASK_EXTERN(front_fail_at_5);       /* (i) -> i; 5 fails with code 55 and "five" */
FURROW_TASK_EXTERN(front_hold_at_1);       /* (p, i) -> i; 1 and above pass the gate */

/* A log hook that counts lines and keeps the last one. */
struct front_log {
    int lines;
    char last[512];
};
furrow_log_function front_log;

#endif
