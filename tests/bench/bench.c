#include "tests/bench/bench.h"
#include "tests/support/fleet.h"

#include <dirent.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct bench_case *const tables[] = {
    bench_chain_cases, bench_rate_cases,  bench_queue_cases, bench_time_cases,
    bench_metg_cases,  bench_mixed_cases, bench_load_cases,  bench_crowd_cases,
};
enum { TABLES = sizeof tables / sizeof tables[0] };

enum { NAME_BYTES = 64, MEASURED_MAX = 16, RUNS_MAX = 101 };

/* The values of one name over the runs of a case. */
struct measured {
    char name[NAME_BYTES];
    const char *unit;
    double values[RUNS_MAX];
    size_t count;
};

static struct {
    struct measured measured[MEASURED_MAX + 1]; /* the last one stays empty */
    double scale;
    bool json, first;
    struct fleet fleet;
    char url[512]; /* of the fleet, with keys if it has some */
    char directory[64];
} bench = {.scale = 1, .first = true};

int64_t bench_count(int64_t count) {
    double scaled = (double)count * bench.scale;

    return scaled < 1 ? 1 : (int64_t)scaled;
}

static void print_line(const char *name, double value, const char *unit) {
    if (bench.json) {
        printf("%s\n  {\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"}",
               bench.first ? "[" : ",", name, value, unit);
    } else {
        printf("%s\t%.6g\t%s\n", name, value, unit);
    }
    bench.first = false;
    fflush(stdout);
}

static void note(const char *name, double value, const char *unit) {
    struct measured *each = bench.measured;

    while (each->count > 0 && strcmp(each->name, name) != 0) {
        each++;
    }
    if (each == &bench.measured[MEASURED_MAX] || each->count == RUNS_MAX) {
        return;
    }
    snprintf(each->name, sizeof each->name, "%s", name);
    each->unit = unit;
    each->values[each->count++] = value;
}

void bench_also(const struct bench_case *self, const char *suffix, double value, const char *unit) {
    char name[NAME_BYTES];
    const char *cut = suffix[0] == '_' ? strrchr(self->name, '_') : NULL;
    int kept = cut != NULL ? (int)(cut - self->name) : (int)strlen(self->name);

    snprintf(name, sizeof name, "%.*s%s", kept, self->name, suffix);
    note(name, value, unit);
}

double bench_now(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int bench_compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_percentile(double *values, size_t count, double fraction) {
    qsort(values, count, sizeof *values, bench_compare_doubles);
    size_t rank = (size_t)ceil(fraction * (double)count - 1e-9);

    return values[rank > 0 ? rank - 1 : 0];
}

/* ------------------------------------------------------------------ processes */

static double clock_seconds(clockid_t clock) {
    struct timespec time;

    return clock_gettime(clock, &time) == 0 ? (double)time.tv_sec + (double)time.tv_nsec * 1e-9 : 0;
}

double bench_cpu_seconds(pid_t pid) {
    clockid_t clock;

    return pid > 0 && clock_getcpuclockid(pid, &clock) == 0 ? clock_seconds(clock) : 0;
}

double bench_own_cpu_seconds(void) {
    return clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
}

double bench_thread_cpu_seconds(void) {
    return clock_seconds(CLOCK_THREAD_CPUTIME_ID);
}

void bench_settle(pid_t pid) {
    double last = -1, now, until = bench_now() + 30;

    for (int quiet = 0; quiet < 3 && bench_now() < until; last = now) {
        nanosleep(&(struct timespec){0, 50000000}, NULL);
        now = bench_cpu_seconds(pid) + bench_own_cpu_seconds();
        quiet = now - last < 0.002 ? quiet + 1 : 0;
    }
}

static double family_cpu_seconds(pid_t pid) {
    char path[64];
    double sum = 0;
    int child;

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return 0;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char children[PATH_MAX];
        snprintf(children, sizeof children, "%s/%s/children", path, entry->d_name);
        FILE *file = fopen(children, "re");
        while (file != NULL && fscanf(file, "%d", &child) == 1) {
            sum += bench_cpu_seconds(child) + family_cpu_seconds(child);
        }
        if (file != NULL) {
            fclose(file);
        }
    }
    closedir(dir);
    return sum;
}

double bench_children_cpu_seconds(void) {
    return family_cpu_seconds(getpid());
}

size_t bench_resident_bytes(pid_t pid) {
    char path[64];
    size_t pages = 0, resident = 0;

    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    if (fscanf(file, "%zu %zu", &pages, &resident) != 2) {
        resident = 0;
    }
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

pid_t bench_broker_pid(void) {
    return bench.fleet.broker;
}

const char *bench_fleet_url(void) {
    return bench.url;
}

bool bench_complain(const char *what) {
    fprintf(stderr, "furrow-bench: %s: %s\n", what, furrow_last_error());
    return false;
}

void bench_unref_all(furrow_future **futures, int64_t count) {
    for (int64_t i = 0; futures != NULL && i < count; i++) {
        furrow_future_unref(&futures[i]);
    }
}

bool bench_submit_and_read(furrow_executor *executor, furrow_future **futures, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        futures[i] = furrow_submit(executor, bench_noop, "i", i);
        if (futures[i] == NULL) {
            return bench_complain("submit");
        }
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t value = -1;
        if (furrow_future_result(futures[i], -1, "i", &value) != FURROW_OK || value != i) {
            return bench_complain("result");
        }
        furrow_future_unref(&futures[i]);
    }
    return true;
}

/* ------------------------------------------------------------------ executors */

/* Keys for the fleet, the options that name them, and what the client's URL says of them. */
static bool make_keys(struct fleet_options *options, char *parameters, size_t bytes) {
    static char broker_key[128], broker_public[128], worker_key[128], authorized[128];
    static const char *broker_more[] = {"--key", broker_key, "--authorized", authorized, NULL};
    static const char *worker_more[] = {"--key", worker_key, "--server", broker_public, NULL};
    const char *in = bench.directory;
    char command[512];

    snprintf(command, sizeof command, "%s keygen %s --fleet 2>/dev/null", FURROW_PATH, in);
    snprintf(broker_key, sizeof broker_key, "%s/broker.key", in);
    snprintf(broker_public, sizeof broker_public, "%s/broker.pub", in);
    snprintf(worker_key, sizeof worker_key, "%s/worker.key", in);
    snprintf(authorized, sizeof authorized, "%s/authorized", in);
    snprintf(parameters, bytes, "?key=%s/client.key&server=%s", in, broker_public);
    options->broker_more = broker_more;
    options->worker_more = worker_more;
    return system(command) == 0;
}

static void remove_keys(void) {
    static const char *const names[] = {"broker.key", "broker.pub", "worker.key",
                                        "worker.pub", "client.key", "client.pub",
                                        "admin.key",  "admin.pub",  "authorized"};
    char path[256];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", bench.directory, names[i]);
        unlink(path);
    }
}

static bool start_fleet(const char *url, int workers) {
    static char listen[128];
    char parameters[256] = "";
    struct fleet_options options = {
        .broker_path = FURROW_BROKER_PATH,
        .worker_path = FURROW_WORKER_PATH,
        .module = FURROW_BENCH_TASKS_PATH,
        .directory = bench.directory,
        .workers = workers,
    };

    snprintf(bench.directory, sizeof bench.directory, "/tmp/furrow-bench.XXXXXX");
    if (mkdtemp(bench.directory) == NULL) {
        return false;
    }
    if (strcmp(url, "ipc") == 0) {
        snprintf(listen, sizeof listen, "ipc://%s/socket", bench.directory);
        options.listen = listen;
    }
    if (strcmp(url, "tcp_curve") == 0 && !make_keys(&options, parameters, sizeof parameters)) {
        fprintf(stderr, "furrow-bench: no keys\n");
        return false;
    }
    if (!fleet_start(&bench.fleet, &options)) {
        fprintf(stderr, "furrow-bench: %s\n", bench.fleet.error);
        return false;
    }
    snprintf(bench.url, sizeof bench.url, "%s%s", bench.fleet.url, parameters);
    return true;
}

static void stop_fleet(void) {
    char path[256];

    fleet_stop(&bench.fleet);
    snprintf(path, sizeof path, "%s/endpoint", bench.directory);
    unlink(path);
    snprintf(path, sizeof path, "%s/socket", bench.directory);
    unlink(path);
    remove_keys();
    rmdir(bench.directory);
}

bool bench_open(struct bench_pool *pool, const char *url, int workers) {
    char own[64];

    pool->has_fleet =
        strcmp(url, "tcp") == 0 || strcmp(url, "ipc") == 0 || strcmp(url, "tcp_curve") == 0;
    if (pool->has_fleet && !start_fleet(url, workers)) {
        return false;
    }
    snprintf(own, sizeof own, "%s:%d", url, workers);
    pool->executor = furrow_open(pool->has_fleet ? bench.url : own, NULL);
    if (pool->executor == NULL) {
        fprintf(stderr, "furrow-bench: %s\n", furrow_last_error());
        if (pool->has_fleet) {
            stop_fleet();
        }
        return false;
    }
    return true;
}

void bench_close(struct bench_pool *pool) {
    furrow_close(&pool->executor);
    if (pool->has_fleet) {
        stop_fleet();
        memset(&bench.fleet, 0, sizeof bench.fleet);
    }
}

/* ----------------------------------------------------------------------- main */

static void list_cases(void) {
    for (int t = 0; t < TABLES; t++) {
        for (const struct bench_case *each = tables[t]; each->name != NULL; each++) {
            printf("%s\t%s\n", each->name, each->unit);
        }
    }
}

static void usage(FILE *out) {
    fprintf(out,
            "usage: furrow-bench [--json] [--runs N] [--scale X] CASE...\n"
            "       furrow-bench --list\n"
            "Runs the cases named (\"all\": every one; a name that ends with . or * : all that "
            "begin so)\nand prints name<TAB>value<TAB>unit; with --runs the median of N runs.\n"
            "--scale multiplies the number of tasks.\n");
}

static bool matches(const char *pattern, const char *name) {
    size_t size = strlen(pattern);

    if (strcmp(pattern, "all") == 0 || strcmp(pattern, name) == 0) {
        return true;
    }
    if (size > 0 && pattern[size - 1] == '*') {
        return strncmp(pattern, name, size - 1) == 0;
    }
    return size > 0 && pattern[size - 1] == '.' && strncmp(pattern, name, size) == 0;
}

static bool run_case(const struct bench_case *self, int runs) {
    memset(bench.measured, 0, sizeof bench.measured);
    for (int i = 0; i < runs; i++) {
        double value = self->run(self);
        if (value < 0) {
            fprintf(stderr, "furrow-bench: %s failed\n", self->name);
            return false;
        }
        note(self->name, value, self->unit);
    }
    for (struct measured *each = bench.measured; each->count > 0; each++) {
        print_line(each->name, bench_percentile(each->values, each->count, 0.5), each->unit);
    }
    return true;
}

/* Runs what a pattern names. False: nothing is called so, or a case failed. */
static bool run_pattern(const char *pattern, int runs) {
    bool found = false, good = true;

    for (int t = 0; t < TABLES; t++) {
        for (const struct bench_case *each = tables[t]; each->name != NULL; each++) {
            if (matches(pattern, each->name)) {
                found = true;
                good = run_case(each, runs) && good;
            }
        }
    }
    if (!found) {
        fprintf(stderr, "furrow-bench: no case is called \"%s\"; see --list\n", pattern);
    }
    return found && good;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},       {"list", no_argument, NULL, 'l'},
        {"runs", required_argument, NULL, 'r'}, {"scale", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0},
    };
    int runs = 1;
    bool good = true;

    furrow_init(&argc, &argv);
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case 'j':
            bench.json = true;
            break;
        case 'l':
            list_cases();
            return 0;
        case 'r':
            runs = atoi(optarg);
            break;
        case 's':
            bench.scale = atof(optarg);
            break;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (optind == argc || runs < 1 || runs > RUNS_MAX || bench.scale <= 0) {
        usage(stderr);
        return 2;
    }
    for (int i = optind; i < argc; i++) {
        good = run_pattern(argv[i], runs) && good;
    }
    if (bench.json) {
        printf("%s\n", bench.first ? "[]" : "\n]");
    }
    return good ? 0 : 1;
}
