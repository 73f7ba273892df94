#include <stdlib.h>

#include "tasks.h"

enum { MAX_ITERATIONS = 1000, INSIDE = 0, COLOURS = 255 };

static int64_t tiles_along(int64_t pixels) {
    return (pixels + TILE_PIXELS - 1) / TILE_PIXELS;
}

static int64_t at_most(int64_t value, int64_t limit) {
    return value < limit ? value : limit;
}

int64_t tile_count(int64_t width, int64_t height) {
    return tiles_along(width) * tiles_along(height);
}

struct tile tile_at(int64_t width, int64_t height, int64_t index) {
    int64_t left = index % tiles_along(width) * TILE_PIXELS;
    int64_t top = index / tiles_along(width) * TILE_PIXELS;
    return (struct tile){left, top, at_most(width - left, TILE_PIXELS),
                         at_most(height - top, TILE_PIXELS)};
}

/* The colour of a point: INSIDE if it doesn't escape, else 1 .. COLOURS by how long it takes. */
static unsigned char colour_at(double real, double imaginary) {
    double x = 0;
    double y = 0;
    for (int i = 0; i < MAX_ITERATIONS; i++) {
        double xx = x * x;
        double yy = y * y;
        if (xx + yy > 4) {
            return (unsigned char)(1 + 3 * i % COLOURS);
        }
        y = 2 * x * y + imaginary;
        x = xx - yy + real;
    }
    return INSIDE;
}

static int mandelbrot_tile(furrow_task *task) {
    int64_t width, height, index;
    if (furrow_task_args(task, "iii", &width, &height, &index) != FURROW_OK) {
        return FURROW_EARGS;
    }
    if (width < 1 || height < 1 || index < 0 || index >= tile_count(width, height)) {
        return furrow_task_fail(task, FURROW_EINVAL, "no such tile");
    }
    struct tile tile = tile_at(width, height, index);
    unsigned char pixels[TILE_PIXELS * TILE_PIXELS];
    unsigned char *pixel = pixels;
    double step = 3.45 / (double)width; /* the picture is 3.45 wide, around -0.7 */
    for (int64_t y = tile.top; y < tile.top + tile.height; y++) {
        for (int64_t x = tile.left; x < tile.left + tile.width; x++) {
            *pixel++ = colour_at(-0.7 + step * ((double)x + 0.5 - 0.5 * (double)width),
                                 step * (0.5 * (double)height - (double)y - 0.5));
        }
    }
    return furrow_task_return(task, "B", pixels, (size_t)(pixel - pixels));
}
FURROW_TASK(mandelbrot_tile);
