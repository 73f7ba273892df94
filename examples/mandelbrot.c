/* Renders the Mandelbrot set into a PNG. Its tiles are tasks, and are put in place in whichever
 * order they come; the picture is the same, byte for byte, wherever they were rendered. */
#include <inttypes.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "tasks.h"

enum { MAX_PIXELS = 16384 }; /* of the picture's width and height */

static void render(furrow_executor *pool, unsigned char *picture, int64_t width, int64_t height) {
    furrow_map_options how = FURROW_MAP_OPTIONS_INIT;
    how.unordered = true;
    furrow_partial *work = furrow_partial_new(mandelbrot_tile, "ii", width, height);
    furrow_input *indices = furrow_input_range(0, tile_count(width, height), 1);
    furrow_results *results = furrow_map_partial(pool, work, &how, &indices);
    if (results == NULL) {
        example_die("map");
    }
    furrow_status status;
    const void *pixels;
    size_t size;
    while ((status = furrow_results_next(results, "B", &pixels, &size)) == FURROW_OK) {
        struct tile tile = tile_at(width, height, (int64_t)furrow_results_index(results));
        if (size != (size_t)(tile.width * tile.height)) {
            fprintf(stderr, "a tile has the wrong size\n");
            exit(EXIT_FAILURE);
        }
        for (int64_t row = 0; row < tile.height; row++) {
            memcpy(picture + (tile.top + row) * width + tile.left,
                   (const unsigned char *)pixels + row * tile.width, (size_t)tile.width);
        }
    }
    if (status != FURROW_EEND) {
        example_die("mandelbrot_tile");
    }
    furrow_results_close(&results);
    furrow_partial_free(&work);
}

/* Black inside; outside, from dark blue over white and gold back to dark blue. */
static void make_colours(unsigned char colours[256][3]) {
    static const int stops[][4] = {
        {1, 9, 1, 47},      {40, 57, 125, 209}, {90, 255, 255, 255},
        {150, 255, 170, 0}, {200, 106, 52, 3},  {255, 9, 1, 47},
    };
    memset(colours[0], 0, 3);
    const int(*stop)[4] = stops;
    for (int i = 1; i < 256; i++) {
        if (i > stop[1][0]) {
            stop++;
        }
        int part = i - stop[0][0];
        int whole = stop[1][0] - stop[0][0];
        for (int c = 0; c < 3; c++) {
            int from = stop[0][c + 1];
            int to = stop[1][c + 1];
            colours[i][c] = (unsigned char)(from + (to - from) * part / whole);
        }
    }
}

static void write_png(const char *path, const unsigned char *picture, int64_t width,
                      int64_t height) {
    unsigned char colours[256][3];
    make_colours(colours);
    png_image image = {
        .version = PNG_IMAGE_VERSION,
        .width = (png_uint_32)width,
        .height = (png_uint_32)height,
        .format = PNG_FORMAT_RGB_COLORMAP,
        .colormap_entries = 256,
    };
    if (!png_image_write_to_file(&image, path, 0, picture, 0, colours)) {
        fprintf(stderr, "%s: %s\n", path, image.message);
        exit(EXIT_FAILURE);
    }
}

int main(int argc, char **argv) {
    furrow_init(&argc, &argv); /* in a worker process this never returns */
    example_options options = example_parse(argc, argv, "[FILE [WIDTH HEIGHT]]");
    int given = options.operand_count;
    if (given == 2 || given > 3) {
        fprintf(stderr, "mandelbrot: give a file, and a width and a height or none\n");
        return 2;
    }
    const char *path = given > 0 ? options.operands[0] : "mandelbrot.png";
    int64_t width = given > 1 ? example_number(options.operands[1], 1, MAX_PIXELS) : 1200;
    int64_t height = given > 1 ? example_number(options.operands[2], 1, MAX_PIXELS) : 800;
    unsigned char *picture = malloc((size_t)(width * height));
    if (picture == NULL) {
        perror("mandelbrot");
        return EXIT_FAILURE;
    }
    FURROW_SCOPED furrow_executor *pool = example_open(&options);
    render(pool, picture, width, height);
    write_png(path, picture, width, height);
    free(picture);

    printf("%s: %" PRId64 " x %" PRId64 " pixels in %" PRId64 " tiles\n", path, width, height,
           tile_count(width, height));
    return 0;
}
