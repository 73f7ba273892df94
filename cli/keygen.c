#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "broker/authorized.h"
#include "cli/cli.h"
#include "wire/curve.h"

static const char usage[] =
    "usage: furrow keygen DIR [--name NAME] [--rights LIST]\n"
    "       furrow keygen DIR --fleet\n"
    "\n"
    "Makes a pair of keys: DIR/NAME.key, the secret one, and DIR/NAME.pub. Prints the line that\n"
    "lets its owner in, for the list that furrow-broker --authorized reads. Files that are there\n"
    "are never written over.\n"
    "\n"
    "  --name NAME    of the files, and in the list (default furrow)\n"
    "  --rights LIST  submit, work or admin, or several with commas (default submit)\n"
    "  --fleet        makes keys for a whole fleet: broker, worker (work), client (submit) and\n"
    "                 admin (admin), and the list of them, DIR/authorized\n"
    "  --help\n";

struct request {
    const char *directory, *name, *rights;
    bool fleet;
};

struct made {
    const char *name, *rights; /* rights NULL: it is in no list */
    char public[WIRE_KEY_TEXT_BYTES];
};

enum { FILE_BYTES = 512 };

/* ---------------------------------------------------------------------- files */

static bool path_of(char *path, const char *directory, const char *name, const char *ending) {
    if ((size_t)snprintf(path, PATH_MAX, "%s/%s%s", directory, name, ending) < PATH_MAX) {
        return true;
    }
    (void)fprintf(stderr, "furrow keygen: %s: the path is too long\n", directory);
    return false;
}

static bool write_all(int fd, const char *text, size_t size) {
    while (size > 0) {
        ssize_t wrote = write(fd, text, size);

        if (wrote < 0 && errno != EINTR) {
            return false;
        }
        if (wrote > 0) {
            text += wrote;
            size -= (size_t)wrote;
        }
    }
    return true;
}

/* Writes a new file; one that is there stays as it is. */
static bool write_new(const char *path, mode_t mode, const char *text, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    bool good;

    if (fd < 0) {
        (void)fprintf(stderr, "furrow keygen: %s: %s\n", path,
                      errno == EEXIST ? "is there already, and stays as it is" : strerror(errno));
        return false;
    }
    good = fchmod(fd, mode) == 0 && write_all(fd, text, size) && fsync(fd) == 0;
    good = close(fd) == 0 && good;
    if (!good) {
        (void)fprintf(stderr, "furrow keygen: %s: %s\n", path, strerror(errno));
        (void)unlink(path);
    }
    return good;
}

/* ----------------------------------------------------------------------- keys */

static bool write_secret(const char *path, const struct made *made, const char *secret) {
    char text[FILE_BYTES];
    int size = snprintf(text, sizeof text,
                        "# The secret key of %s: whoever has it can pass for its owner.\n"
                        "# Its public key is %s\n"
                        "secret %s\n",
                        made->name, made->public, secret);
    bool good = write_new(path, 0600, text, (size_t)size);

    explicit_bzero(text, sizeof text);
    return good;
}

static bool write_public(const char *path, const struct made *made) {
    char text[FILE_BYTES];
    int size = snprintf(text, sizeof text, "# The public key of %s.\npublic %s\n", made->name,
                        made->public);

    return write_new(path, 0644, text, (size_t)size);
}

/* Makes one pair; if a file can't be written there is none of them. */
static bool make_pair(const char *directory, struct made *made) {
    char secret_path[PATH_MAX], public_path[PATH_MAX], secret[WIRE_KEY_TEXT_BYTES];
    bool good = path_of(secret_path, directory, made->name, ".key") &&
                path_of(public_path, directory, made->name, ".pub");

    if (good && zmq_curve_keypair(made->public, secret) != 0) {
        (void)fprintf(stderr, "furrow keygen: no keys: %s\n", zmq_strerror(zmq_errno()));
        good = false;
    }
    good = good && write_secret(secret_path, made, secret);
    explicit_bzero(secret, sizeof secret);
    if (good && !write_public(public_path, made)) {
        (void)unlink(secret_path);
        good = false;
    }
    if (good) {
        (void)fprintf(stderr, "%s: secret, to be kept; %s: for all to see\n", secret_path,
                      public_path);
    }
    return good;
}

static void unmake(const char *directory, const struct made *made) {
    char path[PATH_MAX];

    if (path_of(path, directory, made->name, ".key")) {
        (void)unlink(path);
    }
    if (path_of(path, directory, made->name, ".pub")) {
        (void)unlink(path);
    }
}

static int print_line(char *text, size_t bytes, const struct made *made) {
    return snprintf(text, bytes, "%s %s name=%s\n", made->rights, made->public, made->name);
}

static enum cli_exit make_one(const struct request *request) {
    struct made made = {.name = request->name, .rights = request->rights};
    char line[FILE_BYTES];

    if (!make_pair(request->directory, &made)) {
        return CLI_FAILED;
    }
    (void)print_line(line, sizeof line, &made);
    (void)fputs(line, stdout);
    return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
}

static bool write_list(const char *directory, const struct made *made, int count) {
    char path[PATH_MAX], text[8 * FILE_BYTES];
    int size =
        snprintf(text, sizeof text,
                 "# Who may come in, for furrow-broker --authorized: rights, key, options.\n");

    for (int i = 0; i < count; i++) {
        if (made[i].rights != NULL) {
            size += print_line(text + size, sizeof text - (size_t)size, &made[i]);
        }
    }
    if (!path_of(path, directory, "authorized", "") || !write_new(path, 0644, text, (size_t)size)) {
        return false;
    }
    (void)fprintf(stderr, "%s: the list of them\n", path);
    return true;
}

static enum cli_exit make_fleet(const struct request *request) {
    struct made made[] = {{.name = "broker"},
                          {.name = "worker", .rights = "work"},
                          {.name = "client", .rights = "submit"},
                          {.name = "admin", .rights = "admin"}};
    int count = 0, all = (int)(sizeof made / sizeof made[0]);

    while (count < all && make_pair(request->directory, &made[count])) {
        count++;
    }
    if (count == all && write_list(request->directory, made, all)) {
        return CLI_OK;
    }
    while (count > 0) {
        unmake(request->directory, &made[--count]);
    }
    return CLI_FAILED;
}

/* ----------------------------------------------------------------- arguments */

/* A name that a file may have and that a list's line can hold. */
static bool is_name(const char *name) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "-_.@+";

    return name[0] != '\0' && name[0] != '.' && name[0] != '-' &&
           strlen(name) < BROKER_AUTHORIZED_NAME_BYTES && strspn(name, allowed) == strlen(name);
}

/* The list's own reader is asked. */
static bool is_rights(const char *rights) {
    static const uint8_t key[WIRE_KEY_BYTES];
    char letters[WIRE_KEY_TEXT_BYTES], line[128];
    struct broker_authorized_fault fault;
    struct broker_authorized *list;

    wire_key_encode(key, letters);
    if (rights[0] == '\0' || strpbrk(rights, "# \t\r\n") != NULL ||
        (size_t)snprintf(line, sizeof line, "%s %s", rights, letters) >= sizeof line) {
        return false;
    }
    list = broker_authorized_parse(line, strlen(line), &fault);
    broker_authorized_free(list);
    return list != NULL;
}

static enum cli_exit wrong_use(const char *what, const char *text) {
    (void)fprintf(stderr, "furrow keygen: %s%s\nTry --help.\n", text, what);
    return CLI_USAGE;
}

/* Reads the arguments. CLI_OK and a directory: go on; CLI_OK without one: --help was answered. */
static enum cli_exit read_arguments(struct request *request, int argc, char **argv) {
    static const struct option options[] = {{"name", required_argument, NULL, 'n'},
                                            {"rights", required_argument, NULL, 'r'},
                                            {"fleet", no_argument, NULL, 'f'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int option;

    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":n:r:fh", options, NULL)) != -1) {
        switch (option) {
        case 'n':
            request->name = optarg;
            break;
        case 'r':
            request->rights = optarg;
            break;
        case 'f':
            request->fleet = true;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return CLI_OK;
        default:
            return wrong_use(argv[optind - 1], "no such option, or without its value: ");
        }
    }
    if (optind + 1 != argc) {
        return wrong_use("", "one directory is expected");
    }
    if (request->fleet && (request->name != NULL || request->rights != NULL)) {
        return wrong_use("", "--fleet has names and rights of its own");
    }
    request->name = request->name == NULL ? "furrow" : request->name;
    request->rights = request->rights == NULL ? "submit" : request->rights;
    if (!is_name(request->name)) {
        return wrong_use(request->name, "a name is of letters, digits and -_.@+, not: ");
    }
    if (!is_rights(request->rights)) {
        return wrong_use(request->rights, "rights are submit, work, admin with commas, not: ");
    }
    request->directory = argv[optind];
    return CLI_OK;
}

enum cli_exit cli_keygen(int argc, char **argv) {
    struct request request = {.directory = NULL};
    enum cli_exit code = read_arguments(&request, argc, argv);

    if (code != CLI_OK || request.directory == NULL) {
        return code;
    }
    if (mkdir(request.directory, 0700) != 0 && errno != EEXIST) {
        (void)fprintf(stderr, "furrow keygen: %s: %s\n", request.directory, strerror(errno));
        return CLI_FAILED;
    }
    return request.fleet ? make_fleet(&request) : make_one(&request);
}
