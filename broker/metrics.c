#include "broker/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct snapshot {
    struct broker_stats stats;
    struct broker_report report;
    uint64_t malformed;
};

struct broker_metrics {
    const char *version;
    double started; /* seconds since 1970 */
    pthread_mutex_t lock;
    struct snapshot last;
};

struct broker_metrics *broker_metrics_new(const char *version) {
    struct broker_metrics *metrics = calloc(1, sizeof *metrics);
    struct timespec now;

    if (metrics != NULL) {
        (void)clock_gettime(CLOCK_REALTIME, &now);
        metrics->version = version;
        metrics->started = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
        pthread_mutex_init(&metrics->lock, NULL);
    }
    return metrics;
}

void broker_metrics_free(struct broker_metrics *metrics) {
    if (metrics != NULL) {
        pthread_mutex_destroy(&metrics->lock);
        free(metrics);
    }
}

bool broker_metrics_publish(struct broker_metrics *metrics, const struct broker_core *core,
                            uint64_t malformed) {
    if (pthread_mutex_trylock(&metrics->lock) != 0) {
        return false;
    }
    broker_get_stats(core, &metrics->last.stats);
    broker_get_report(core, &metrics->last.report);
    metrics->last.malformed = malformed;
    pthread_mutex_unlock(&metrics->lock);
    return true;
}

/* ------------------------------------------------------------------- the text */

static void add(struct base_buffer *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(struct base_buffer *out, const char *format, ...) {
    char text[512];
    va_list arguments;
    int size;

    va_start(arguments, format);
    size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    BASE_ASSERT(size >= 0 && (size_t)size < sizeof text);
    base_buffer_append(out, text, (size_t)size);
}

static void add_head(struct base_buffer *out, const char *name, const char *type,
                     const char *help) {
    add(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void add_number(struct base_buffer *out, const char *name, const char *type,
                       const char *help, uint64_t value) {
    add_head(out, name, type, help);
    add(out, "%s %" PRIu64 "\n", name, value);
}

/* Counts of a bucket include those of all below. */
static void add_histogram(struct base_buffer *out, const char *name, const char *help,
                          const struct broker_histogram *histogram) {
    uint64_t count = 0;

    add_head(out, name, "histogram", help);
    for (uint32_t i = 0; i < BROKER_BOUNDS; i++) {
        count += histogram->counts[i];
        add(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, (double)broker_bounds_ns[i] / 1e9,
            count);
    }
    count += histogram->counts[BROKER_BOUNDS];
    add(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
    add(out, "%s_sum %.9g\n%s_count %" PRIu64 "\n", name, (double)histogram->sum_ns / 1e9, name,
        count);
}

/* A text between the quotes of a label. */
static void add_label(struct base_buffer *out, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            base_buffer_append_u8(out, '\\');
        }
        base_buffer_append_u8(out, (uint8_t)(*text == '\n' ? ' ' : *text));
    }
}

static void add_tasks(struct base_buffer *out, const struct broker_stats *stats) {
    static const char finished[] = "furrow_tasks_finished_total";

    add_number(out, "furrow_tasks_submitted_total", "counter", "Tasks accepted from clients.",
               stats->submitted);
    add_head(out, finished, "counter", "Tasks that have ended, by how they did.");
    add(out, "%s{outcome=\"value\"} %" PRIu64 "\n", finished, stats->finished);
    add(out, "%s{outcome=\"failed\"} %" PRIu64 "\n", finished, stats->failed);
    add(out, "%s{outcome=\"cancelled\"} %" PRIu64 "\n", finished, stats->cancelled);
    add_number(out, "furrow_tasks_rerun_total", "counter",
               "Runs that were begun again after a worker's death or a failure.", stats->reruns);
    add_number(out, "furrow_results_stale_total", "counter",
               "Results dropped because the task was no longer leased to that worker.",
               stats->stale_results);
    add_number(out, "furrow_leases_returned_total", "counter",
               "Leases that workers gave back unstarted.", stats->recalled);
    add_number(out, "furrow_tasks_queued", "gauge", "Tasks that wait for a worker.",
               stats->tasks_queued);
    add_number(out, "furrow_tasks_leased", "gauge", "Tasks that are with workers.",
               stats->tasks_leased);
}

static void add_peers(struct base_buffer *out, const struct broker_stats *stats,
                      const struct broker_report *report) {
    add_number(out, "furrow_clients", "gauge", "Clients connected.", stats->clients);
    add_number(out, "furrow_workers", "gauge", "Worker processes connected.", stats->workers);
    add_number(out, "furrow_worker_slots", "gauge", "Tasks that all workers together run at once.",
               report->slots);
    add_number(out, "furrow_supervisors", "gauge", "Supervisors of workers connected.",
               stats->supervisors);
}

/* What the conventions ask of every process; the rest of them the system has to tell. */
static void add_process(struct base_buffer *out, double started) {
    unsigned long long pages = 0, resident = 0;
    struct rusage usage;
    struct rlimit limit;
    unsigned fds = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    DIR *directory = opendir("/proc/self/fd");

    if (file != NULL) {
        if (fscanf(file, "%llu %llu", &pages, &resident) == 2) {
            uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

            add_number(out, "process_virtual_memory_bytes", "gauge", "Virtual memory size.",
                       pages * page);
            add_number(out, "process_resident_memory_bytes", "gauge", "Resident memory size.",
                       resident * page);
        }
        (void)fclose(file);
    }
    if (directory != NULL) {
        for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
            fds += entry->d_name[0] != '.';
        }
        (void)closedir(directory);
        add_number(out, "process_open_fds", "gauge", "Open file descriptors.", fds);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        add_number(out, "process_max_fds", "gauge", "Largest number of open file descriptors.",
                   limit.rlim_cur);
    }
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        add_head(out, "process_cpu_seconds_total", "counter", "User and system time spent.");
        add(out, "process_cpu_seconds_total %.6f\n",
            (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    }
    add_head(out, "process_start_time_seconds", "gauge", "When the process began, since 1970.");
    add(out, "process_start_time_seconds %.3f\n", started);
}

void broker_metrics_render(struct broker_metrics *metrics, struct base_buffer *out) {
    struct snapshot last;

    pthread_mutex_lock(&metrics->lock);
    last = metrics->last;
    pthread_mutex_unlock(&metrics->lock);
    add_head(out, "furrow_build_info", "gauge", "Which version runs.");
    base_buffer_append(out, "furrow_build_info{version=\"", strlen("furrow_build_info{version=\""));
    add_label(out, metrics->version);
    add(out, "\"} 1\n");
    add_tasks(out, &last.stats);
    add_peers(out, &last.stats, &last.report);
    add_histogram(out, "furrow_task_queue_seconds",
                  "How long tasks waited before a worker got them.", &last.report.waits);
    add_histogram(out, "furrow_task_run_seconds",
                  "How long tasks ran (the mean of those reported together).", &last.report.runs);
    add_number(out, "furrow_messages_rejected_total", "counter",
               "Messages refused, because they were wrong or not allowed.", last.stats.rejected);
    add_number(out, "furrow_messages_malformed_total", "counter",
               "Messages dropped that could not be of the protocol at all.", last.malformed);
    add_number(out, "furrow_memory_bytes", "gauge",
               "What tasks and results that wait take, as the memory limit counts it.",
               last.stats.memory_bytes);
    add_number(out, "furrow_memory_limit_bytes", "gauge", "The memory limit.",
               last.report.memory_max);
    add_process(out, metrics->started);
}
