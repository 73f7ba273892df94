#include "tests/e2e/faults.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/e2e/fault_tasks.h"

extern char **environ;

enum { CHILDREN_MAX = 512, GONE_MS = 15000, SELF_END_MS = 60000 };

static struct {
    char directory[64];
    struct book *book;
    int fds, threads; /* before the test */
    uint64_t random;
} now;

double now_seconds(void) {
    return (double)stamp_ns() * 1e-9;
}

void pause_ms(long ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

bool faults_long(void) {
    const char *wish = getenv("FURROW_LONG");

    return wish != NULL && strcmp(wish, "0") != 0 && wish[0] != '\0';
}

const char *faults_directory(void) {
    return now.directory;
}

struct book *faults_book(void) {
    return now.book;
}

uint64_t random_below(uint64_t bound) {
    if (now.random == 0) {
        const char *seed = getenv("FURROW_SEED");

        now.random = seed != NULL ? strtoull(seed, NULL, 10) : stamp_ns() % 1000000007u;
        fprintf(stderr, "FURROW_SEED=%llu\n", (unsigned long long)now.random);
        now.random += 1;
    }
    now.random++;
    return (uint64_t)mixed((int64_t)now.random) % bound;
}

/* -------------------------------------------------------------------- figures */

void figure(const char *name, double value, const char *unit) {
    printf("%s\t%.6g\t%s\n", name, value, unit);
    fflush(stdout);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double percentile(const double *sorted, size_t count, double share) {
    size_t at = (size_t)(share * (double)count);

    return sorted[at < count ? at : count - 1];
}

void figures(const char *name, double *values, size_t count, const char *unit) {
    char text[128];

    qsort(values, count, sizeof *values, compare);
    snprintf(text, sizeof text, "%s_median", name);
    figure(text, percentile(values, count, 0.5), unit);
    snprintf(text, sizeof text, "%s_p99", name);
    figure(text, percentile(values, count, 0.99), unit);
    snprintf(text, sizeof text, "%s_max", name);
    figure(text, values[count - 1], unit);
}

/* ------------------------------------------------------------------ processes */

static int count_entries(const char *path) {
    DIR *dir = opendir(path);
    int count = 0;

    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}

static int children_of_thread(const char *path, pid_t *children, int max) {
    FILE *file = fopen(path, "re");
    int count = 0, pid;

    while (file != NULL && count < max && fscanf(file, "%d", &pid) == 1) {
        children[count++] = pid;
    }
    if (file != NULL) {
        fclose(file);
    }
    return count;
}

int children_of(pid_t pid, pid_t *children, int max) {
    char path[PATH_MAX];
    int count = 0;

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/children", (int)pid, entry->d_name);
        count += children_of_thread(path, children + count, max - count);
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}

/* The text behind a name in /proc/PID/status. */
static bool status_of(pid_t pid, const char *name, char *text, size_t size) {
    char path[64], line[256];
    bool found = false;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        found = strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':';
        if (found) {
            snprintf(text, size, "%s",
                     line + strlen(name) + 1 + strspn(line + strlen(name) + 1, "\t "));
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

static bool is_zombie(pid_t pid) {
    char state[64] = "";

    return status_of(pid, "State", state, sizeof state) && state[0] == 'Z';
}

int zombies_of(pid_t pid) {
    pid_t children[CHILDREN_MAX];
    int count = children_of(pid, children, CHILDREN_MAX), zombies = 0;

    for (int i = 0; i < count; i++) {
        zombies += is_zombie(children[i]);
    }
    return zombies;
}

int fds_of(pid_t pid) {
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    return count_entries(path);
}

int threads_of(pid_t pid) {
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    return count_entries(path);
}

long rss_kb(pid_t pid) {
    char text[64] = "0";

    (void)status_of(pid, "VmRSS", text, sizeof text);
    return strtol(text, NULL, 10);
}

pid_t run_self(const char *const *arguments) {
    char *argv[16] = {(char *)"client"};
    pid_t pid;
    int count = 1;

    for (; arguments[count - 1] != NULL && count < 15; count++) {
        argv[count] = (char *)arguments[count - 1];
    }
    argv[count] = NULL;
    return posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) == 0 ? pid : -1;
}

int end_of(pid_t pid) {
    int status;

    for (int ms = 0; ms < SELF_END_MS; ms++) {
        if (waitpid(pid, &status, WNOHANG) == pid) {
            return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
        }
        pause_ms(1);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

/* ------------------------------------------------------------------- the test */

/* A test that hangs ends with all that it has started: our process group. */
static void on_alarm(int signal_number) {
    static const char text[] = "the test takes too long\n";

    (void)signal_number;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    kill(0, SIGKILL);
}

void faults_init(unsigned limit_s) {
    setpgid(0, 0);
    signal(SIGALRM, on_alarm);
    signal(SIGTERM, on_alarm);
    alarm(faults_long() ? 0 : limit_s);
    /* Who outlives its parent becomes our child, so that it is seen. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

static bool make_book(void) {
    char path[128];
    int fd;

    snprintf(path, sizeof path, "%s/book", now.directory);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct book)) != 0) {
        return false;
    }
    now.book = mmap(NULL, sizeof(struct book), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return now.book != MAP_FAILED && setenv("FURROW_E2E_BOOK", path, 1) == 0;
}

int faults_set_up(void **state) {
    char path[128];
    (void)state;

    snprintf(now.directory, sizeof now.directory, "/tmp/e2e-furrow-XXXXXX");
    if (mkdtemp(now.directory) == NULL || !make_book()) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/run", now.directory);
    if (mkdir(path, 0700) != 0 || setenv("XDG_RUNTIME_DIR", path, 1) != 0) {
        return -1;
    }
    now.fds = fds_of(getpid());
    now.threads = threads_of(getpid());
    return 0;
}

/* Waits for what was left to us; it is to end by itself. Whatever doesn't is named and killed. */
static int left_processes(void) {
    pid_t children[CHILDREN_MAX];
    int count, left = 0;

    for (int ms = 0; ms < GONE_MS; ms++) {
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
        if (children_of(getpid(), children, CHILDREN_MAX) == 0) {
            return 0;
        }
        pause_ms(1);
    }
    count = children_of(getpid(), children, CHILDREN_MAX);
    for (int i = 0; i < count; i++) {
        char name[64] = "?", state[64] = "?";

        (void)status_of(children[i], "Name", name, sizeof name);
        (void)status_of(children[i], "State", state, sizeof state);
        print_error("left behind: process %d, %s, %s\n", (int)children[i], name, state);
        kill(children[i], SIGKILL);
        waitpid(children[i], NULL, 0);
        left++;
    }
    return left;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk) {
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

int faults_tear_down(void **state) {
    char path[128];
    int left = left_processes();
    (void)state;

    munmap(now.book, sizeof(struct book));
    now.book = NULL;
    /* A thread that was joined may be seen for a moment longer. */
    for (int ms = 0;
         ms < 2000 && (threads_of(getpid()) > now.threads || fds_of(getpid()) > now.fds); ms++) {
        pause_ms(1);
    }
    if (threads_of(getpid()) > now.threads || fds_of(getpid()) > now.fds) {
        print_error("left behind: %d threads (%d before), %d descriptors (%d)\n",
                    threads_of(getpid()), now.threads, fds_of(getpid()), now.fds);
        left++;
    }
    snprintf(path, sizeof path, "%s/run", now.directory);
    if (count_entries(path) != 0) {
        print_error("left behind: %d directories for sockets\n", count_entries(path));
        left++;
    }
    nftw(now.directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return left == 0 ? 0 : -1;
}

/* ---------------------------------------------------------------- the library */

static void on_log(void *user, furrow_log_level level, const char *line) {
    (void)user;
    (void)level;
    fprintf(stderr, "library: %s\n", line);
}

furrow_executor *open_pool(const char *url) {
    furrow_options options = FURROW_OPTIONS_INIT;

    options.log = on_log;
    return must(furrow_open(url, &options));
}

void close_pool(furrow_executor **pool) {
    furrow_executor_info info;
    pid_t child;

    furrow_executor_describe(*pool, &info);
    bool local = strcmp(info.scheme, "processes") == 0;
    assert_int_equal(furrow_close(pool), FURROW_OK);
    if (local && children_of(getpid(), &child, 1) != 0) {
        fail_msg("a worker process is left: %d", (int)child);
    }
}

void *must(void *pointer) {
    if (pointer == NULL) {
        fail_msg("%s", furrow_last_error());
    }
    return pointer;
}

int64_t take_int(furrow_future **future) {
    int64_t value = -1;
    furrow_status status = furrow_future_result(must(*future), 60, "i", &value);

    if (status != FURROW_OK) {
        const furrow_error *error = NULL;

        (void)furrow_future_error(*future, 0, &error);
        fail_msg("no value: %s: %s", furrow_status_text(status),
                 error != NULL ? error->message : furrow_last_error());
    }
    furrow_future_unref(future);
    return value;
}

/* ------------------------------------------------------------------- the site */

static void kill_now(pid_t *pid) {
    if (*pid > 0) {
        kill(*pid, SIGKILL);
        waitpid(*pid, NULL, 0);
        *pid = 0;
    }
}

void site_open(struct site *site, int machines, int processes, int threads,
               const char *const *broker_more) {
    memset(site, 0, sizeof *site);
    site->options = (struct fleet_options){
        .broker_path = FURROW_BROKER_PATH,
        .worker_path = FURROW_WORKER_PATH,
        .module = FAULT_TASKS_PATH,
        .directory = faults_directory(),
        .workers = 0,
        .threads = threads,
        .broker_more = broker_more,
    };
    assert_true(machines <= SITE_MACHINES_MAX);
    if (!fleet_start(&site->fleet, &site->options)) {
        fail_msg("%s", site->fleet.error);
    }
    site->options.listen = site->fleet.url;
    site->options.workers = processes;
    site->machine_count = machines;
    for (int i = 0; i < machines; i++) {
        if (!site_start_machine(site, i)) {
            fail_msg("%s", site->fleet.error);
        }
    }
}

void site_close(struct site *site) {
    bool good = true;

    for (int i = 0; i < site->machine_count; i++) {
        good &= fleet_end(&site->machines[i]);
    }
    good &= fleet_stop(&site->fleet);
    if (!good) {
        fail_msg("a daemon did not stop on SIGTERM within 10 s");
    }
}

void site_kill_broker(struct site *site) {
    kill_now(&site->fleet.broker);
}

bool site_start_broker(struct site *site) {
    return fleet_start_broker(&site->fleet, &site->options);
}

void site_kill_machine(struct site *site, int i) {
    kill_now(&site->machines[i]);
}

bool site_start_machine(struct site *site, int i) {
    site->machines[i] = fleet_start_worker(&site->fleet, &site->options);
    return site->machines[i] > 0;
}
