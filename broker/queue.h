/* Demands, offers, and the queues between them. */
#ifndef BROKER_QUEUE_H
#define BROKER_QUEUE_H

#include "broker/client.h"
#include "broker/meter.h"
#include "broker/pace.h"
#include "broker/rivals.h"
#include "broker/timer.h"

struct broker_level;
struct broker_task;

/* Views over all offers: a bound on what many offers times many queues may cost. */
#define BROKER_VIEWS_MAX (1u << 22)

/* What tasks ask of a worker: a function and tags. Shared by all clients' classes that ask the same. */
struct broker_demand {
    struct base_map_node node;
    struct broker_roll roll;
    struct wire_text function;
    struct wire_text tags[WIRE_TAGS_MAX]; /* sorted, each once */
    uint32_t tag_count;
    struct base_list queues;
    uint32_t queue_count;
    struct base_list services;
    struct base_list suspects;   /* tasks that are to run alone */
    struct base_node suspicious; /* in core->suspicious while there are some */
    uint32_t queued;             /* tasks in its queues */
    uint32_t leased;             /* LEASED ones */
    struct broker_meter meter;
    struct broker_pace pace;
    uint64_t dispatch; /* for which `grain` was reckoned */
    uint32_t grain;    /* tasks that are worth a message */
    uint32_t suspect_count;
    uint32_t reserved;         /* workers that are being emptied for it */
    uint32_t value_bytes;      /* what a queue of it learnt last: a new one begins with that */
    struct broker_timer timer; /* while tasks wait and nobody offers the function */
    uint8_t key[];
};

/* The tasks of one client, one demand and one priority, first in first out. */
struct broker_queue {
    struct base_node in_client;
    struct base_node in_demand;
    struct broker_client *client;
    struct broker_demand *demand;
    struct base_list tasks;
    uint32_t count;
    int32_t priority;
    struct broker_ages ages;
    struct base_list resting; /* its views that are in no turn now */
    struct base_list views;
    uint32_t leased;          /* its tasks at workers */
    uint32_t value_bytes;     /* that a value of it is reckoned to have; 0: none has come yet */
    struct base_node waiting; /* in client->clogged or core->unproven: gets no leases meanwhile */
};

/* What workers offer: functions and tags. Workers that offer the same share it. */
struct broker_offer {
    struct base_map_node node;
    struct base_map functions; /* broker_offered */
    struct broker_offered *offered;
    uint32_t function_count;
    struct wire_text tags[WIRE_TAGS_MAX]; /* sorted, each once */
    uint32_t tag_count;
    struct base_list services;
    struct base_list levels; /* by falling priority */
    struct base_list workers;
    uint32_t worker_count;
    uint32_t slots;                /* of all of them */
    struct base_list idle, credit; /* workers with free threads; others with credit */
    uint32_t idle_count, credit_count;
    uint32_t laden;               /* workers that hold more than they have threads */
    uint32_t ready;               /* views in turns */
    uint32_t slice;               /* what a worker gets in this round of them */
    uint32_t round;               /* workers that are still to get theirs */
    bool round_idle;              /* it is one of the idle ones */
    uint64_t dispatch;            /* in which it began */
    struct broker_rivals clients; /* whose tasks it gives away */
    struct base_node active; /* in core->active: has both workers with credit and ready views */
    struct base_node
        uneven;         /* in core->uneven: to be looked at, since some idle and others don't */
    uint64_t looked_ns; /* when it last was, in vain */
    struct broker_timer timer;
    uint8_t key[];
};

struct broker_offered {
    struct base_map_node node;
    uint32_t index; /* in the worker's list */
};

/* An offer that meets a demand. */
struct broker_service {
    struct base_node in_demand;
    struct base_node in_offer;
    struct broker_demand *demand;
    struct broker_offer *offer;
    uint32_t function; /* as RUN says it */
};

/* A priority at an offer, with the clients that have something there, in turn. */
struct broker_level {
    struct base_node in_offer;
    struct broker_offer *offer;
    int32_t priority;
    uint32_t turns; /* all that there are, ready or not */
    struct base_list ring;
};

/* A client at a level of an offer. */
struct broker_turn {
    struct base_node in_ring; /* while it has ready views */
    struct base_node in_client;
    struct broker_level *level;
    struct broker_client *client;
    struct base_list views; /* ready ones, in turn */
    uint32_t view_count;    /* all that there are */
    uint32_t left;          /* tasks until the next client's turn */
};

/* A queue as an offer sees it. It rests when the offer, looking at it, finds nothing there, and is
 * made ready when something comes: so a look that was in vain is paid for by a task that came. */
struct broker_view {
    struct base_node node; /* of its turn when ready, else of its queue's `resting` */
    struct base_node in_queue;
    struct broker_queue *queue;
    struct broker_service *service;
    struct broker_turn *turn;
    bool ready;
};

/* broker_queue_get finds or makes the queue for a class. NULL: *fault, or (code 0) no memory. */
struct broker_queue *broker_queue_get(struct broker_core *core, struct broker_client *client,
                                      const struct wire_define *define, struct wire_fault *fault);
void broker_queue_free(struct broker_core *core, struct broker_queue *queue);
/* broker_offer_get finds or makes the offer of a worker. NULL: *fault, or (code 0) no memory. */
struct broker_offer *broker_offer_get(struct broker_core *core, const struct wire_hello *hello,
                                      struct wire_fault *fault);
/* broker_offer_release frees an offer that has no worker left. */
void broker_offer_release(struct broker_core *core, struct broker_offer *offer);
/* broker_queue_add queues a task, which is in no list, as QUEUED: at the end, or at the front. */
void broker_queue_add(struct broker_core *core, struct broker_task *task, bool front);
/* broker_queue_taken: the task was QUEUED and has been taken out of its list. */
void broker_queue_taken(struct broker_core *core, struct broker_queue *queue, uint32_t count);
/* broker_queue_wake makes its resting views ready. */
void broker_queue_wake(struct broker_core *core, struct broker_queue *queue);
void broker_view_rest(struct broker_core *core, struct broker_view *view);
/* broker_demand_watch starts or stops the clock of a demand that nobody offers. */
void broker_demand_watch(struct broker_core *core, struct broker_demand *demand);
void broker_demands_watch(struct broker_core *core);
void broker_demand_timer(struct broker_core *core, struct broker_demand *demand);
void broker_offer_activate(struct broker_core *core, struct broker_offer *offer);

#endif
