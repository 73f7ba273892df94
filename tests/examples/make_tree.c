/* Makes a tree of files that are hard to count words in: make_tree DIR SEED ENTRIES.
 *
 * Files without white space at the end, so that words reach from one to the next; bytes that are
 * neither visible nor white space; files of several slices with words across the edges; empty ones,
 * odd names, links, a pipe, nested directories, and one directory of ENTRIES small files. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t random_state;

static uint64_t next_random(void) {
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static _Noreturn void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

/* Bytes of three kinds, in runs: words, white space, and what is neither. */
static void write_file(const char *path, size_t size) {
    static const char words[] = "abcXYZ019~!";
    static const char spaces[] = " \t\n\v\f\r";
    static const unsigned char neither[] = {0, 1, 8, 14, 27, 31, 127, 128, 133, 160, 255};
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        die(path);
    }
    while (size > 0) {
        uint64_t kind = next_random() % 8;
        for (size_t run = 1 + next_random() % 6; run > 0 && size > 0; run--, size--) {
            uint64_t pick = next_random();
            int byte = kind < 4   ? words[pick % (sizeof words - 1)]
                       : kind < 6 ? spaces[pick % (sizeof spaces - 1)]
                                  : neither[pick % sizeof neither];
            putc(byte, file);
        }
    }
    if (fclose(file) != 0) {
        die(path);
    }
}

static void make_directory(const char *path) {
    if (mkdir(path, 0777) != 0) {
        die(path);
    }
}

/* One word as long as the file, so that most slices have neither a beginning nor an end in them. */
static void write_one_word(const char *path, size_t size) {
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        die(path);
    }
    for (; size > 0; size--) {
        putc('w', file);
    }
    if (fclose(file) != 0) {
        die(path);
    }
}

static void make_odd_names(void) {
    static const char *const names[] = {
        "odd/two words", "odd/new\nline", "odd/-dash",  "odd/*",
        "odd/\xff\xfe",  "odd/quote'\"",  "odd/trail ", "odd/\xc3\xa9t\xc3\xa9",
    };
    make_directory("odd");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        write_file(names[i], next_random() % 40);
    }
    write_file("odd/empty", 0);
    if (symlink("two words", "odd/link") != 0 || symlink("..", "odd/up") != 0 ||
        symlink("nowhere", "odd/dangling") != 0 || mkfifo("odd/pipe", 0600) != 0 ||
        link("odd/*", "odd/hard") != 0) {
        die("odd");
    }
}

static void make_nested(void) {
    char path[512] = "deep";
    for (int depth = 0; depth < 30; depth++) {
        make_directory(path);
        size_t length = strlen(path);
        strcpy(path + length, "/a");
        write_file(path, next_random() % 20);
        strcpy(path + length, "/z");
        write_file(path, next_random() % 20);
        strcpy(path + length, "/d");
    }
}

static void make_large(void) {
    const size_t slice = 4 << 20;
    make_directory("large");
    write_file("large/one slice", slice);
    write_file("large/a byte more", slice + 1);
    write_file("large/a byte less", slice - 1);
    write_file("large/many", 2 * slice + next_random() % slice);
    write_one_word("large/word", 2 * slice + 3);
}

static void make_many(long entries) {
    make_directory("many");
    for (long i = 0; i < entries; i++) {
        char path[64];
        snprintf(path, sizeof path, "many/%" PRIu64 "-%ld", next_random() % 1000, i);
        write_file(path, next_random() % 8);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: make_tree DIR SEED ENTRIES\n");
        return 2;
    }
    random_state = strtoull(argv[2], NULL, 10);
    make_directory(argv[1]);
    if (chdir(argv[1]) != 0) {
        die(argv[1]);
    }
    make_odd_names();
    make_nested();
    make_large();
    make_many(strtol(argv[3], NULL, 10));
    return 0;
}
