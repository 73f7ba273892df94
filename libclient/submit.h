/* Submitting, for the other files of the front. */
#ifndef CLIENT_SUBMIT_H
#define CLIENT_SUBMIT_H

#include "libclient/executor.h"

/* A partial: a function and its leading arguments. */
struct furrow_partial {
    const furrow_function *function;
    uint8_t *data; /* packed values */
    size_t size;
    size_t count;
    bool pointers; /* there are some among them */
};

/* submit_check_partial: FURROW_EUNSUPPORTED, with the error text set, if the executor can't take the
 * partial's pointers. */
furrow_status submit_check_partial(const furrow_executor *executor, const furrow_partial *partial);

/* submit_values submits a task of a class whose arguments are `head` and then the values of a format.
 * Returns its future, or NULL with the error set. */
furrow_future *submit_values(furrow_executor *executor, struct executor_class *class_,
                             const void *head, size_t head_size, const char *format,
                             va_list *arguments);

/* submit_new_packed makes a future of a class whose arguments are packed, and not over the limit.
 * NULL: with the error set. The caller submits it, or drops both references by submit_undo. */
furrow_future *submit_new_packed(furrow_executor *executor, struct executor_class *class_,
                                 const void *arguments, size_t size);

/* submit_send passes the gate and hands the future to the executor. Returns the future, or NULL with
 * the error set; then it is gone. */
furrow_future *submit_send(furrow_executor *executor, furrow_future *future);

/* submit_undo frees a future that was never submitted. */
void submit_undo(furrow_future *future);

#endif
