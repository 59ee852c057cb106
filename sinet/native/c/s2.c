/* The S2 modules: a grouped pointwise convolution, then twice pool, depthwise, pointwise, enlarge. A row goes from the
   depthwise to the pointwise convolution while it is in the nearest cache; channels are not shuffled, the weights are. */

#include <string.h>

#include "steps.h"

#include "convolutions.h"

struct branch {
    int kernel, pool;
};

static const struct branch LEVEL2[][2] = {{{3, 1}, {5, 1}}, {{3, 1}, {3, 1}}};
static const struct branch LEVEL3[][2] = {
    {{3, 1}, {5, 1}}, {{3, 1}, {3, 1}}, {{5, 1}, {3, 2}}, {{5, 2}, {3, 4}},
    {{3, 1}, {3, 1}}, {{5, 1}, {5, 1}}, {{3, 2}, {3, 4}}, {{3, 1}, {5, 2}},
};
#define MODULES(level) ((int)(sizeof(level) / sizeof(level[0])))

struct range {
    int start, count;
};

/* The input channels that a tile of the grouped pointwise convolution reads: those of one group, or of both where the tile
   lies across them. */
static struct range read_by(int tile_start, int half, int channels_in)
{
    int group = half / 2, start = tile_start < group ? 0 : channels_in / 2;
    int end = tile_start + tile_at(tile_start, half) <= group ? channels_in / 2 : channels_in;
    return (struct range){start, end - start};
}

static size_t module_floats(int channels_in, int channels_out, const struct branch *branches)
{
    int half = channels_out / 2;
    size_t floats = 0;
    for (int t = 0; t < half; t += TILE)
        floats += (size_t)read_by(t, half, channels_in).count * tile_at(t, half);
    for (int b = 0; b < 2; b++)
        floats += (size_t)half * (branches[b].kernel * branches[b].kernel + 2 + half + 3);
    return floats;
}

size_t s2_floats(const struct channels *c)
{
    size_t floats = 0;
    for (int i = 0; i < MODULES(LEVEL2); i++)
        floats += module_floats(i ? c->detail : c->start2, c->detail, LEVEL2[i]);
    for (int i = 0; i < MODULES(LEVEL3); i++)
        floats += module_floats(i ? c->deep : c->start3, c->deep, LEVEL3[i]);
    return floats;
}

static int padded(int width) { return width + BORDER + BEHIND; }

/* The first pixel of a row inside the border. */
static float *inside(float *squeezed, int y, int width, int channels)
{
    return squeezed + ((size_t)(y + BORDER) * padded(width) + BORDER) * channels;
}

static void clear_border(float *squeezed, struct size size, int channels)
{
    size_t pixel = channels * sizeof(float), row = padded(size.width) * pixel;
    memset(squeezed, 0, BORDER * row);
    memset(inside(squeezed, size.height, size.width, channels) - BORDER * channels, 0, BORDER * row);
    for (int y = 0; y < size.height; y++) {
        float *start = inside(squeezed, y, size.width, channels);
        memset(start - BORDER * channels, 0, BORDER * pixel);
        memset(start + (size_t)size.width * channels, 0, BEHIND * pixel);
    }
}

/* The grouped pointwise convolution, from channels_in to half. */
INLINE void squeeze(
    const float *x, struct size size, int channels_in, int half, const float **weights, float *squeezed)
{
    for (int t = 0; t < half; t += TILE) {
        int tile = tile_at(t, half);
        struct range read = read_by(t, half, channels_in);
        const float *matrix = take(weights, (size_t)read.count * tile);
        for (int y = 0; y < size.height; y++) {
            const float *row = x + (size_t)y * size.width * channels_in + read.start;
            float *out = inside(squeezed, y, size.width, half) + t;
            pointwise_only(row, channels_in, read.count, matrix, tile, out, half, size.width);
        }
    }
}

/* The mean of each pool x pool pixels, with a border of its own. */
static void average(float *squeezed, struct size size, int pool, int channels, float *pooled)
{
    struct size small = {size.height / pool, size.width / pool};
    float part = 1.0f / (float)(pool * pool);
    clear_border(pooled, small, channels);
    for (int y = 0; y < small.height; y++) {
        float *out = inside(pooled, y, small.width, channels);
        for (int i = 0; i < small.width * channels; i += LANES) {
            int x = i / channels, c = i % channels;
            v8 sum = {0};
            for (int row = 0; row < pool; row++) {
                const float *from = inside(squeezed, y * pool + row, size.width, channels) + x * pool * channels + c;
                for (int t = 0; t < pool; t++)
                    sum += load(from + t * channels);
            }
            store(out + i, sum * part);
        }
    }
}

struct branch_weights {
    const float *taps, *bias, *slope, *matrix;
    struct finish finish;
};

static struct branch_weights take_branch(const float **weights, int half, int kernel)
{
    struct branch_weights taken;
    taken.taps = take(weights, (size_t)half * kernel * kernel);
    taken.bias = take(weights, half);
    taken.slope = take(weights, half);
    taken.matrix = take(weights, (size_t)half * half);
    taken.finish.bias = take(weights, half);
    taken.finish.scale = take(weights, half);
    taken.finish.slope = take(weights, half);
    return taken;
}

/* Depthwise and pointwise of a whole picture, row by row. Where it is `finished`, with what comes behind: the norm and
   PReLU of the module and, if there is one, the residual, which stands in `out`. Strides in floats. */
INLINE void separable(
    float *x, struct size size, int half, int kernel, const struct branch_weights *w, float *line, float *out,
    int row_stride, int stride, int finished, int residual)
{
    int down = padded(size.width) * half, reach = kernel / 2;
    for (int y = 0; y < size.height; y++) {
        const float *corner = inside(x, y, size.width, half) - (size_t)reach * down - (size_t)reach * half;
        depthwise(corner, half, down, kernel, w->taps, w->bias, w->slope, line, size.width);
        for (int t = 0; t < half; t += TILE) {
            float *row = out + (size_t)y * row_stride + t;
            struct finish finish = {w->finish.bias + t, w->finish.scale + t, w->finish.slope + t};
            const float *matrix = w->matrix + (size_t)half * t;
            int tile = tile_at(t, half);
            if (residual)
                pointwise_residual(line, half, half, matrix, tile, row, stride, size.width, &finish);
            else if (finished)
                pointwise_finished(line, half, half, matrix, tile, row, stride, size.width, &finish);
            else
                pointwise_only(line, half, half, matrix, tile, row, stride, size.width);
        }
    }
}

/* Adds the enlarged picture to the residual, which stands in `out`, and does what comes behind; modules without a
   residual do not pool. `out` has `stride` channels, of which these are `half`. */
static void enlarge(
    const float *small, struct size from, int half, const struct finish *finish, float *line, float *out, int stride,
    struct size size)
{
    int row = (from.width + PIXELS) * half;
    for (int y = 0; y < size.height; y++) {
        struct between down = look(y, from.height, size.height);
        const float *first = small + (size_t)down.first * row, *second = small + (size_t)down.second * row;
        for (int i = 0; i < from.width * half; i += LANES)
            store(line + i, mix(load(first + i), load(second + i), down.part));
        for (int x = 0; x < size.width; x++) {
            struct between across = look(x, from.width, size.width);
            float *pixel = out + ((size_t)y * size.width + x) * stride;
            for (int c = 0; c < half; c += LANES) {
                v8 sum = mix(load(line + across.first * half + c), load(line + across.second * half + c), across.part);
                sum += load(finish->bias + c) + load(pixel + c) * load(finish->scale + c);
                store(pixel + c, prelu(sum, load(finish->slope + c)));
            }
        }
    }
}

INLINE void branch_of(
    struct branch branch, int kernel, int half, int residual, const float **weights, struct scratch *s,
    struct size size, float *out)
{
    struct branch_weights w = take_branch(weights, half, kernel);
    int channels = 2 * half;
    if (branch.pool == 1) {
        separable(
            s->squeezed, size, half, kernel, &w, s->line, out, size.width * channels, channels, 1, residual);
        return;
    }
    struct size small = {size.height / branch.pool, size.width / branch.pool};
    average(s->squeezed, size, branch.pool, half, s->pooled);
    separable(
        s->pooled, small, half, kernel, &w, s->line, s->small, (small.width + PIXELS) * half, half, 0, 0);
    enlarge(s->small, small, half, &w.finish, s->line, out, channels, size);
}

/* One module; where it has a residual, `x` is `out`: each pixel is read for the last time when it is written. */
INLINE void module(
    const float *x, int channels_in, int half, int residual, const struct branch *branches, const float **weights,
    struct scratch *s, struct size size, float *out)
{
    squeeze(x, size, channels_in, half, weights, s->squeezed);
    for (int b = 0; b < 2; b++)
        if (branches[b].kernel == 3)
            branch_of(branches[b], 3, half, residual, weights, s, size, out + b * half);
        else
            branch_of(branches[b], 5, half, residual, weights, s, size, out + b * half);
}

static void level(
    const float *x, int channels_in, int half, const struct branch (*modules)[2], int count, const float **weights,
    struct scratch *s, struct size size, float *out)
{
    clear_border(s->squeezed, size, half);
    module(x, channels_in, half, 0, modules[0], weights, s, size, out);
    for (int i = 1; i < count; i++)
        module(out, 2 * half, half, 1, modules[i], weights, s, size, out);
}

void level2(const float **weights, struct scratch *s, struct size size)
{
    const struct channels *c = &s->channels;
    level(s->start2, c->start2, c->detail / 2, LEVEL2, MODULES(LEVEL2), weights, s, size, s->detail);
}

void level3(const float **weights, struct scratch *s, struct size size)
{
    const struct channels *c = &s->channels;
    level(s->start3, c->start3, c->deep / 2, LEVEL3, MODULES(LEVEL3), weights, s, size, s->deep);
}

END_OF_VECTORS
