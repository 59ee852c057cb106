/* The network's steps in their order, one picture at a time, tensors H x W x C. What is different from
   `sinet/model.py`, with the same result: BatchNorms are folded into the weights (`sinet/native/weights.py` packs them
   in the order in which they are taken here), channels of the squeezed pictures are not shuffled, and a row is handed
   on while it is in the nearest cache. */

#include <string.h>

#include "network.h"
#include "tail.h"

#include "convolutions.h"

#define FIRST 16 /* channels of level 1: 12, and 4 that are 0 */
#define FIRST_USED 12
#define START2 16
#define DETAIL 48
#define JOINED2 (START2 + DETAIL)
#define START3 48
#define DEEP 96
#define HIDDEN 32    /* of the second attention */
#define BORDER 2     /* pixels of zeros around a squeezed picture, for a 5x5 */
#define BEHIND 6     /* pixels behind a row: the border, and what a strip reads too far */
#define LARGEST_POOL 4

struct branch {
    int kernel, pool;
};

static const struct branch LEVEL2[][2] = {{{3, 1}, {5, 1}}, {{3, 1}, {3, 1}}};
static const struct branch LEVEL3[][2] = {
    {{3, 1}, {5, 1}}, {{3, 1}, {3, 1}}, {{5, 1}, {3, 2}}, {{5, 2}, {3, 4}},
    {{3, 1}, {3, 1}}, {{5, 1}, {5, 1}}, {{3, 2}, {3, 4}}, {{3, 1}, {5, 2}},
};
#define MODULES(level) ((int)(sizeof(level) / sizeof(level[0])))

/* ---- Memory ---- */

struct size {
    int height, width;
};

struct scratch {
    float *input_rows, *level1_rows, *active_rows; /* three rows each */
    float *reduced;                                /* what the depthwise convolutions with stride 2 give */
    float *start2, *detail, *start3, *deep;
    float *squeezed, *pooled, *small; /* a squeezed picture with its border, averaged down, and after its pointwise */
    float *line, *matrix;
    float *coarse, *tall, *fine, *blended; /* columns: width x 2 x height */
    struct tail_scratch tail;
};

struct memory {
    float *start; /* NULL: only its size is asked for */
    size_t used;
};

static float *part(struct memory *memory, size_t floats)
{
    float *taken = memory->start ? memory->start + memory->used : NULL;
    memory->used += (floats + 15) / 16 * 16;
    return taken;
}

static size_t squeezed_floats(struct size size, int channels)
{
    return (size_t)(size.height + 2 * BORDER) * (size.width + BORDER + BEHIND) * channels;
}

static size_t larger(size_t one, size_t other) { return one > other ? one : other; }

/* Gives each part its place behind `start`, which may be NULL; returns how many floats there are. */
static size_t lay_out(struct scratch *s, float *start, int height, int width)
{
    struct memory memory = {start, 0};
    struct size two = {height / 4, width / 4}, three = {height / 8, width / 8}, half = {height / 16, width / 16};
    size_t pixels2 = (size_t)two.height * two.width, pixels3 = (size_t)three.height * three.width;
    s->input_rows = part(&memory, 3 * 3 * ((size_t)width + LANES));
    s->level1_rows = part(&memory, 3 * ((size_t)width / 2 + 1) * FIRST);
    s->active_rows = part(&memory, 3 * ((size_t)two.width + 1) * JOINED2);
    s->reduced = part(&memory, larger(pixels2 * FIRST, pixels3 * JOINED2));
    s->start2 = part(&memory, pixels2 * START2);
    s->detail = part(&memory, pixels2 * DETAIL);
    s->start3 = part(&memory, pixels3 * START3);
    s->deep = part(&memory, pixels3 * DEEP);
    s->squeezed = part(&memory, larger(squeezed_floats(two, DETAIL / 2), squeezed_floats(three, DEEP / 2)));
    s->pooled = part(&memory, squeezed_floats(half, DEEP / 2));
    s->small = part(&memory, (size_t)(half.height + 1) * (half.width + PIXELS) * (DEEP / 2));
    s->line = part(&memory, ((size_t)two.width + STRIP) * (DEEP / 2));
    s->matrix = part(&memory, JOINED2 * START3);
    s->coarse = part(&memory, CLASSES * pixels3);
    s->tall = part(&memory, (size_t)CLASSES * two.height * three.width);
    s->fine = part(&memory, CLASSES * pixels2);
    s->blended = part(&memory, CLASSES * pixels2);
    s->tail.across = (struct step *)part(&memory, (size_t)width * sizeof(struct step) / sizeof(float));
    s->tail.down = (struct step *)part(&memory, ((size_t)height + 2) * sizeof(struct step) / sizeof(float));
    s->tail.column = part(&memory, (size_t)CLASSES * two.height);
    s->tail.planes = part(&memory, (size_t)CLASSES * two.height * (width + 2 * LANES));
    s->tail.shifted = part(&memory, (size_t)CLASSES * 3 * two.height * width);
    return memory.used;
}

size_t scratch_floats(int height, int width)
{
    struct scratch scratch;
    return lay_out(&scratch, NULL, height, width);
}

/* ---- Weights ---- */

static const float *take(const float **weights, size_t floats)
{
    const float *taken = *weights;
    *weights += floats;
    return taken;
}

static size_t module_floats(int channels_in, int channels_out, const struct branch *branches)
{
    int half = channels_out / 2, tiles = half / TILE;
    size_t floats = (size_t)channels_in / tiles * half;
    for (int b = 0; b < 2; b++)
        floats += (size_t)half * (branches[b].kernel * branches[b].kernel + 2 + half + 3);
    return floats;
}

size_t weights_floats(void)
{
    size_t floats = (27 + 2) * FIRST;
    floats += 9 * FIRST + FIRST_USED * (FIRST_USED + 2) + (FIRST_USED + 2) * START2;
    for (int i = 0; i < MODULES(LEVEL2); i++)
        floats += module_floats(i ? DETAIL : START2, DETAIL, LEVEL2[i]);
    floats += 3 * JOINED2;
    floats += 9 * JOINED2 + HIDDEN * (JOINED2 + 2) + JOINED2 * (HIDDEN + 2) + (JOINED2 + 2) * START3;
    for (int i = 0; i < MODULES(LEVEL3); i++)
        floats += module_floats(i ? DEEP : START3, DEEP, LEVEL3[i]);
    floats += 3 * (START3 + DEEP) + CLASSES * (START3 + DEEP + 1);
    floats += CLASSES * (DETAIL + 2) + 2 * CLASSES + CLASSES * 3 * CLASSES * 3;
    return floats;
}

/* ---- Level 1 ---- */

/* One row of the picture as floats behind a pixel of zeros: three planes, or pixels of three. */
static void input_row(const struct picture *picture, int y, float *row)
{
    int width = picture->width;
    if (picture->planes) {
        for (int c = 0; c < 3; c++) {
            const float *plane = picture->planes + (size_t)c * picture->height * width;
            row[c * (width + LANES)] = 0;
            memcpy(row + c * (width + LANES) + 1, plane + (size_t)y * width, width * sizeof(float));
        }
        return;
    }
    /* Three vectors hold eight pixels, so that the same channels stand in the same lanes again. */
    float mean[3 * LANES], factor[3 * LANES];
    for (int i = 0; i < 3 * LANES; i++) {
        mean[i] = picture->mean[i % 3];
        factor[i] = picture->factor[i % 3];
    }
    const unsigned char *pixels = picture->pixels + (size_t)y * width * 3;
    row[0] = row[1] = row[2] = 0;
    for (int i = 0; i < 3 * width; i += 3 * LANES)
        for (int j = 0; j < 3 * LANES; j++)
            row[3 + i + j] = ((float)pixels[i + j] - mean[j]) * factor[j];
}

/* A row of level 1. `across` is the way from a pixel to the next one, channel[c] that to its channel c. */
INLINE void level1_row(
    const float *const *rows, int across, const int *channel, const float *weights, float *out, int width)
{
    const float *bias = weights + 27 * FIRST, *slope = bias + FIRST;
    for (int i = 0; i < width; i += PIXELS) {
        v8 sums[PIXELS][2];
        for (int p = 0; p < PIXELS; p++)
            for (int c = 0; c < 2; c++)
                sums[p][c] = load(bias + c * LANES);
        const float *tap = weights;
        for (int row = 0; row < 3; row++)
            for (int c = 0; c < 3; c++) {
                const float *x = rows[row] + channel[c] + 2 * i * across;
                for (int t = 0; t < 3; t++, tap += FIRST) {
                    v8 one = load(tap), other = load(tap + LANES);
                    for (int p = 0; p < PIXELS; p++) {
                        float value = x[(2 * p + t) * across];
                        sums[p][0] += one * value;
                        sums[p][1] += other * value;
                    }
                }
            }
        for (int p = 0; p < PIXELS; p++)
            for (int c = 0; c < 2; c++)
                store(out + (i + p) * FIRST + c * LANES, prelu(sums[p][c], load(slope + c * LANES)));
    }
}

static NOINLINE void level1_row_of_planes(
    const float *const *rows, const int *channel, const float *weights, float *out, int width)
{
    level1_row(rows, 1, channel, weights, out, width);
}

static NOINLINE void level1_row_of_pixels(
    const float *const *rows, const int *channel, const float *weights, float *out, int width)
{
    level1_row(rows, 3, channel, weights, out, width);
}

/* Level 1 and the depthwise convolution behind it: a row of level 1 lives until three of the next have used it. */
static void entry(const struct picture *picture, const float **weights, struct scratch *s, float *total)
{
    int width = picture->width, half = width / 2, quarter = width / 4, input = 3 * (width + LANES);
    int bytes = picture->planes == NULL, channel[3];
    size_t level1 = (size_t)(half + 1) * FIRST;
    const float *convolution = take(weights, (27 + 2) * FIRST), *depthwise = take(weights, 9 * FIRST);
    for (int c = 0; c < 3; c++)
        channel[c] = bytes ? picture->order[c] : c * (width + LANES);
    /* Row -1 of both is zeros. */
    memset(s->input_rows + 2 * input, 0, input * sizeof(float));
    memset(s->level1_rows + 2 * level1, 0, level1 * sizeof(float));
    for (int row = 0; row < 3; row++)
        memset(s->level1_rows + row * level1, 0, FIRST * sizeof(float));
    memset(total, 0, FIRST * sizeof(float));
    for (int y = 0; y < picture->height / 4; y++) {
        for (int inner = 2 * y; inner < 2 * y + 2; inner++) {
            const float *rows[3];
            for (int i = 0; i < 3; i++) {
                int row = 2 * inner + i - 1;
                float *place = s->input_rows + (row + 3) % 3 * input;
                if (i)
                    input_row(picture, row, place);
                rows[i] = place;
            }
            float *out = s->level1_rows + inner % 3 * level1 + FIRST;
            if (bytes)
                level1_row_of_pixels(rows, channel, convolution, out, half);
            else
                level1_row_of_planes(rows, channel, convolution, out, half);
        }
        const float *rows[3];
        for (int i = 0; i < 3; i++)
            rows[i] = s->level1_rows + (2 * y + i + 2) % 3 * level1;
        depthwise_by_two(rows, FIRST, depthwise, s->reduced + (size_t)y * quarter * FIRST, quarter, total);
    }
}

/* ---- Downsampling's attention ---- */

static const float *dense(const float **weights, const float *x, int in, int out, float *result)
{
    const float *matrix = take(weights, (size_t)in * out), *bias = take(weights, out), *slope = take(weights, out);
    for (int o = 0; o < out; o++) {
        float sum = bias[o];
        for (int i = 0; i < in; i++)
            sum += matrix[o * in + i] * x[i];
        result[o] = sum > 0 ? sum : sum * slope[o];
    }
    return result;
}

/* The pointwise matrix behind it, in x out, with each input channel's factor in it. */
static const float *attend(const float **weights, const float *mean, int in, int hidden, int out, float *matrix)
{
    float inner[HIDDEN], factor[JOINED2];
    if (hidden)
        mean = dense(weights, mean, in, hidden, inner);
    dense(weights, mean, hidden ? hidden : in, in, factor);
    const float *plain = take(weights, (size_t)in * out);
    /* Tiles of `in` x 24 lie behind one another, or one of `in` x 16. */
    int tile = out < TILE ? out : TILE;
    for (int i = 0; i < in * out; i++)
        matrix[i] = plain[i] * factor[i / tile % in];
    return matrix;
}

static void downsample2(const float **weights, struct scratch *s, struct size size, float *total)
{
    int pixels = size.height * size.width;
    for (int c = 0; c < FIRST_USED; c++)
        total[c] /= (float)pixels;
    const float *matrix = attend(weights, total, FIRST_USED, 0, START2, s->matrix);
    struct finish finish = {take(weights, START2), NULL, take(weights, START2)};
    pointwise(s->reduced, FIRST, FIRST_USED, matrix, 2, s->start2, START2, pixels, &finish, NULL);
}

/* BatchNorm and PReLU of two pictures side by side, one row. */
static void norm_row(
    const float *first, int first_channels, const float *second, int second_channels, const float *norm, float *out,
    int width)
{
    int channels = first_channels + second_channels;
    for (int c = 0; c < channels; c += LANES) {
        v8 scale = load(norm + c), shift = load(norm + channels + c), slope = load(norm + 2 * channels + c);
        const float *from = c < first_channels ? first + c : second + c - first_channels;
        int stride = c < first_channels ? first_channels : second_channels;
        for (int i = 0; i < width; i++)
            store(out + i * channels + c, prelu(load(from + i * stride) * scale + shift, slope));
    }
}

static void downsample3(const float **weights, struct scratch *s, struct size two, struct size three)
{
    const float *norm = take(weights, 3 * JOINED2), *depthwise = take(weights, 9 * JOINED2);
    size_t row = (size_t)(two.width + 1) * JOINED2;
    int pixels = three.height * three.width;
    float total[JOINED2] = {0};
    memset(s->active_rows + 2 * row, 0, row * sizeof(float)); /* row -1 */
    for (int i = 0; i < 3; i++)
        memset(s->active_rows + i * row, 0, JOINED2 * sizeof(float));
    for (int y = 0; y < three.height; y++) {
        const float *rows[3];
        for (int i = 0; i < 3; i++) {
            int from = 2 * y + i - 1;
            float *place = s->active_rows + (from + 3) % 3 * row;
            size_t at = (size_t)from * two.width;
            if (i)
                norm_row(
                    s->start2 + at * START2, START2, s->detail + at * DETAIL, DETAIL, norm, place + JOINED2, two.width);
            rows[i] = place;
        }
        depthwise_by_two(
            rows, JOINED2, depthwise, s->reduced + (size_t)y * three.width * JOINED2, three.width, total);
    }
    for (int c = 0; c < JOINED2; c++)
        total[c] /= (float)pixels;
    const float *matrix = attend(weights, total, JOINED2, HIDDEN, START3, s->matrix);
    const float *bias = take(weights, START3), *slope = take(weights, START3);
    for (int c = 0; c < START3; c += TILE) {
        struct finish finish = {bias + c, NULL, slope + c};
        const float *tile = matrix + JOINED2 * c;
        pointwise_finished(s->reduced, JOINED2, JOINED2, tile, s->start3 + c, START3, pixels, &finish);
    }
}

/* ---- S2 modules ---- */

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

/* The grouped pointwise convolution, from channels_in to half. With half 24 a group's 12 are no whole vectors:
   there it is one matrix with zeros. */
INLINE void squeeze(
    const float *x, struct size size, int channels_in, int half, const float **weights, float *squeezed)
{
    int tiles = half / TILE, depth = channels_in / tiles;
    const float *matrix = take(weights, (size_t)depth * half);
    for (int y = 0; y < size.height; y++)
        for (int t = 0; t < tiles; t++) {
            const float *row = x + (size_t)y * size.width * channels_in + t * depth;
            float *out = inside(squeezed, y, size.width, half) + t * TILE;
            pointwise_only(row, channels_in, depth, matrix + (size_t)t * depth * TILE, out, half, size.width);
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

/* Depthwise and pointwise of a whole picture, row by row; `finish` NULL: as it is, else with what comes behind. */
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
            const float *tile = w->matrix + (size_t)half * t;
            if (residual)
                pointwise_residual(line, half, half, tile, row, stride, size.width, &finish);
            else if (finished)
                pointwise_finished(line, half, half, tile, row, stride, size.width, &finish);
            else
                pointwise_only(line, half, half, tile, row, stride, size.width);
        }
    }
}

/* Adds the enlarged picture to `out`, of `stride` channels of which these are `half`, and does what comes behind. */
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

static void level2(const float **weights, struct scratch *s, struct size size)
{
    clear_border(s->squeezed, size, DETAIL / 2);
    module(s->start2, START2, DETAIL / 2, 0, LEVEL2[0], weights, s, size, s->detail);
    for (int i = 1; i < MODULES(LEVEL2); i++)
        module(s->detail, DETAIL, DETAIL / 2, 1, LEVEL2[i], weights, s, size, s->detail);
}

static void level3(const float **weights, struct scratch *s, struct size size)
{
    clear_border(s->squeezed, size, DEEP / 2);
    module(s->start3, START3, DEEP / 2, 0, LEVEL3[0], weights, s, size, s->deep);
    for (int i = 1; i < MODULES(LEVEL3); i++)
        module(s->deep, DEEP, DEEP / 2, 1, LEVEL3[i], weights, s, size, s->deep);
}

/* ---- Decoder ---- */

/* Two logits of each of 4 pixels, from `channels` of x: pixel 0's two, pixel 1's two, ... */
INLINE v8 classify(const float *x, int channels, const float *weights)
{
    v8 sums[2 * PIXELS] = {0};
    for (int c = 0; c < channels; c += LANES) {
        v8 one = load(weights + c), other = load(weights + channels + c);
        for (int p = 0; p < PIXELS; p++) {
            v8 value = load(x + p * channels + c);
            sums[2 * p] += value * one;
            sums[2 * p + 1] += value * other;
        }
    }
    return sums_of(sums);
}

/* Four pixels' logits into columns: x, y is the first one, in a picture of this height. */
static void store_columns(v8 four, const float *bias, float *columns, int x, int y, int height)
{
    for (int p = 0; p < PIXELS; p++)
        for (int c = 0; c < CLASSES; c++)
            columns[((x + p) * CLASSES + c) * height + y] = four[p * CLASSES + c] + bias[c];
}

/* The encoder's logits, with BatchNorm: columns. */
static void head(const float **weights, struct scratch *s, struct size size)
{
    enum { joined = START3 + DEEP };
    const float *norm = take(weights, 3 * joined), *matrix = take(weights, CLASSES * joined);
    const float *bias = take(weights, CLASSES);
    float active[PIXELS * joined];
    for (int y = 0; y < size.height; y++)
        for (int x = 0; x < size.width; x += PIXELS) {
            size_t at = (size_t)y * size.width + x;
            norm_row(s->start3 + at * START3, START3, s->deep + at * DEEP, DEEP, norm, active, PIXELS);
            store_columns(classify(active, joined, matrix), bias, s->coarse, x, y, size.height);
        }
}

/* The low-level branch: columns. */
static void fine(const float **weights, struct scratch *s, struct size size)
{
    const float *matrix = take(weights, CLASSES * DETAIL), *bias = take(weights, CLASSES);
    const float *slope = take(weights, CLASSES);
    for (int y = 0; y < size.height; y++)
        for (int x = 0; x < size.width; x += PIXELS) {
            size_t at = (size_t)y * size.width + x;
            store_columns(classify(s->detail + at * DETAIL, DETAIL, matrix), bias, s->fine, x, y, size.height);
        }
    for (int x = 0; x < size.width; x++)
        for (int c = 0; c < CLASSES; c++) {
            float *column = s->fine + (size_t)(x * CLASSES + c) * size.height;
            for (int y = 0; y < size.height; y += LANES)
                store(column + y, prelu(load(column + y), (v8){0} + slope[c]));
        }
}

/* The enlarged coarse logits, the low-level ones where these are unsure, and the last BatchNorm: columns. */
static void blend(const float **weights, struct scratch *s, struct size two, struct size three)
{
    const float *scale = take(weights, CLASSES), *shift = take(weights, CLASSES);
    for (int y = 0; y < two.height; y++) {
        struct between down = look(y, three.height, two.height);
        for (int i = 0; i < three.width * CLASSES; i++) {
            const float *column = s->coarse + (size_t)i * three.height;
            float mixed = column[down.first] * (1 - down.part) + column[down.second] * down.part;
            s->tall[(size_t)i * two.height + y] = mixed;
        }
    }
    for (int x = 0; x < two.width; x++) {
        struct between across = look(x, three.width, two.width);
        size_t column = (size_t)CLASSES * two.height;
        const float *first = s->tall + across.first * column, *second = s->tall + across.second * column;
        for (int y = 0; y < two.height; y += LANES) {
            v8 coarse[CLASSES];
            for (int c = 0; c < CLASSES; c++)
                coarse[c] = mix(load(first + c * two.height + y), load(second + c * two.height + y), across.part);
            v8 unsure = less_likely(coarse[1] - coarse[0]);
            for (int c = 0; c < CLASSES; c++) {
                size_t at = x * column + c * two.height + y;
                store(s->blended + at, (coarse[c] + load(s->fine + at) * unsure) * scale[c] + shift[c]);
            }
        }
    }
}

/* All but the tail, whose kernel is what is left of the weights. */
static const float *body(const float *weights, const struct picture *picture, struct scratch *s)
{
    struct size two = {picture->height / 4, picture->width / 4}, three = {picture->height / 8, picture->width / 8};
    float total[FIRST];
    entry(picture, &weights, s, total);
    downsample2(&weights, s, two, total);
    level2(&weights, s, two);
    downsample3(&weights, s, two, three);
    level3(&weights, s, three);
    head(&weights, s, three);
    fine(&weights, s, two);
    blend(&weights, s, two, three);
    return weights;
}

void logits(const float *weights, const struct picture *picture, float *scratch, float *out)
{
    struct scratch s;
    lay_out(&s, scratch, picture->height, picture->width);
    const float *kernel = body(weights, picture, &s);
    tail(s.blended, picture->height / 4, picture->width / 4, kernel, CLASSES, &s.tail, out);
}

void probability(const float *weights, const struct picture *picture, float *scratch, float *out)
{
    struct scratch s;
    lay_out(&s, scratch, picture->height, picture->width);
    const float *kernel = body(weights, picture, &s);
    enum { taps = 3 * CLASSES * 3 };
    float difference[taps];
    for (int i = 0; i < taps; i++)
        difference[i] = kernel[taps + i] - kernel[i];
    tail(s.blended, picture->height / 4, picture->width / 4, difference, 1, &s.tail, out);
    size_t pixels = (size_t)picture->height * picture->width;
    for (size_t i = 0; i < pixels; i += LANES) {
        v8 x = load(out + i), small = less_likely(x);
        v8i likely = x > 0;
        store(out + i, (v8)(((v8i)(1.0f - small) & likely) | ((v8i)small & ~likely)));
    }
}

END_OF_VECTORS
