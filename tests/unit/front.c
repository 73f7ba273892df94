#include "front.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void gate_init(struct gate *gate) {
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->changed, NULL);
    gate->inside = 0;
    gate->open = false;
}

void gate_fini(struct gate *gate) {
    pthread_mutex_destroy(&gate->lock);
    pthread_cond_destroy(&gate->changed);
}

void gate_open(struct gate *gate) {
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

void gate_pass(struct gate *gate) {
    pthread_mutex_lock(&gate->lock);
    gate->inside++;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open) {
        pthread_cond_wait(&gate->changed, &gate->lock);
    }
    pthread_mutex_unlock(&gate->lock);
}

void gate_wait(struct gate *gate, int count) {
    pthread_mutex_lock(&gate->lock);
    while (gate->inside < count) {
        pthread_cond_wait(&gate->changed, &gate->lock);
    }
    pthread_mutex_unlock(&gate->lock);
}

static int front_identity(furrow_task *task) {
    size_t size, count;
    const void *data = furrow_task_args_raw(task, &size, &count);

    return furrow_task_return_packed(task, data, size);
}
FURROW_TASK(front_identity);

static int front_square(furrow_task *task) {
    int64_t value;

    if (furrow_task_args(task, "i", &value) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", value * value);
}
FURROW_TASK(front_square);

static int front_add(furrow_task *task) {
    int64_t a, b;

    if (furrow_task_args(task, "ii", &a, &b) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", a + b);
}
FURROW_TASK(front_add);

static int front_fail(furrow_task *task) {
    int64_t code;

    if (furrow_task_args(task, "i", &code) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_fail(task, (int32_t)code, "failed on purpose");
}
FURROW_TASK(front_fail);

static int front_hold(furrow_task *task) {
    void *gate;

    if (furrow_task_args(task, "p", &gate) != FURROW_OK) {
        return FURROW_EARGS;
    }
    gate_pass(gate);
    return FURROW_OK;
}
FURROW_TASK(front_hold);

static int front_until_cancelled(furrow_task *task) {
    void *gate;

    if (furrow_task_args(task, "p", &gate) != FURROW_OK) {
        return FURROW_EARGS;
    }
    gate_pass(gate);
    while (!furrow_task_cancelled(task)) {
        if (furrow_task_sleep(task, 60) == FURROW_ECANCELLED) {
            return FURROW_ECANCELLED;
        }
    }
    return FURROW_ECANCELLED;
}
FURROW_TASK(front_until_cancelled);

static int front_string(furrow_task *task) {
    int64_t length;
    char *text;
    int status;

    if (furrow_task_args(task, "i", &length) != FURROW_OK) {
        return FURROW_EARGS;
    }
    text = malloc((size_t)length + 1);
    if (text == NULL) {
        return FURROW_ENOMEM;
    }
    memset(text, 'x', (size_t)length);
    status = furrow_task_return(task, "S", text, (size_t)length);
    free(text);
    return status;
}
FURROW_TASK(front_string);

static int front_length(furrow_task *task) {
    const char *text;
    size_t size;

    if (furrow_task_args(task, "S", &text, &size) != FURROW_OK) {
        return FURROW_EARGS;
    }
    return furrow_task_return(task, "i", (int64_t)size);
}
FURROW_TASK(front_length);

static int front_count_arguments(furrow_task *task) {
    size_t size, count;

    (void)furrow_task_args_raw(task, &size, &count);
    return furrow_task_return(task, "i", (int64_t)count);
}
FURROW_TASK(front_count_arguments);

static int front_fail_at_5(furrow_task *task) {
    int64_t value;

    if (furrow_task_args(task, "i", &value) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (value == 5) {
        return furrow_task_fail(task, 55, "five");
    }
    return furrow_task_return(task, "i", value);
}
FURROW_TASK(front_fail_at_5);

static int front_hold_at_1(furrow_task *task) {
    int64_t value;
    void *gate;

    if (furrow_task_args(task, "pi", &gate, &value) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (value >= 1) {
        gate_pass(gate);
    }
    return furrow_task_return(task, "i", value);
}
FURROW_TASK(front_hold_at_1);

void front_log(void *user, furrow_log_level level, const char *line) {
    struct front_log *log = user;

    (void)level;
    log->lines++;
    snprintf(log->last, sizeof log->last, "%s", line);
}
