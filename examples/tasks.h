/* The tasks of the examples. They stand in files of their own because they are used twice: linked
 * into the example that submits them, and together in the module tasks.so, which furrow-worker
 * --module serves to a fleet. */
#ifndef EXAMPLES_TASKS_H
#define EXAMPLES_TASKS_H

#include <furrow.h>

/* slow_foo(seconds) sleeps and returns the string "foo". */
FURROW_TASK_EXTERN(slow_foo);

/* do_work(seconds, i) sleeps and returns the string "foo-<i>". */
FURROW_TASK_EXTERN(do_work);

/* is_prime(n) returns a boolean. */
FURROW_TASK_EXTERN(is_prime);

/* count_words(path, offset, length) counts the words in a slice of a file, at most `length` bytes
 * from `offset`. Words may reach over the slice's edges, so it returns [words, head, tail]: how many
 * words have a beginning in it, whether the first begins at its very start, and in which state it
 * ends. */
FURROW_TASK_EXTERN(count_words);

typedef enum word_state {
    WORD_OUTSIDE,   /* behind white space */
    WORD_INSIDE,    /* in a word */
    WORD_UNCHANGED, /* as before: nothing but bytes that neither make nor end a word */
} word_state;

/* mandelbrot_tile(width, height, index) renders one tile of the picture of width x height pixels,
 * and returns its pixels as binary, one byte each, row by row. */
FURROW_TASK_EXTERN(mandelbrot_tile);

#define TILE_PIXELS 64 /* the tiles' width and height, but for those at the right and the bottom */

/* A tile's place in the picture, in pixels. Tiles are numbered row by row. */
struct tile {
    int64_t left, top, width, height;
};

int64_t tile_count(int64_t width, int64_t height);
struct tile tile_at(int64_t width, int64_t height, int64_t index);

#endif
