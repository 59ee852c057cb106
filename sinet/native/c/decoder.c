/* The classifiers of both branches, and the gate between them. */

#include "steps.h"

#include "convolutions.h"

/* Two logits of each of 4 pixels, from `channels` of x: pixel 0's two, pixel 1's two, ... */
INLINE v8 classify(const float *x, int channels, const float *weights)
{
    v8 sums[2 * PIXELS] = {0};
    for (int c = 0; c < channels; c += LANES) {
        v8 one = load(weights + c), other = load(weights + channels + c);
        UNROLL for (int p = 0; p < PIXELS; p++) {
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
    int start3 = s->channels.start3, deep = s->channels.deep, joined = start3 + deep;
    const float *norm = take(weights, 3 * joined), *matrix = take(weights, CLASSES * joined);
    const float *bias = take(weights, CLASSES);
    float active[PIXELS * MOST_CHANNELS];
    for (int y = 0; y < size.height; y++)
        for (int x = 0; x < size.width; x += PIXELS) {
            size_t at = (size_t)y * size.width + x;
            norm_row(s->start3 + at * start3, start3, s->deep + at * deep, deep, norm, active, PIXELS);
            store_columns(classify(active, joined, matrix), bias, s->coarse, x, y, size.height);
        }
}

/* The low-level branch: columns. */
static void fine(const float **weights, struct scratch *s, struct size size)
{
    int detail = s->channels.detail;
    const float *matrix = take(weights, CLASSES * detail), *bias = take(weights, CLASSES);
    const float *slope = take(weights, CLASSES);
    for (int y = 0; y < size.height; y++)
        for (int x = 0; x < size.width; x += PIXELS) {
            size_t at = (size_t)y * size.width + x;
            store_columns(classify(s->detail + at * detail, detail, matrix), bias, s->fine, x, y, size.height);
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

void decode(const float **weights, struct scratch *s, struct size two, struct size three)
{
    head(weights, s, three);
    fine(weights, s, two);
    blend(weights, s, two, three);
}

END_OF_VECTORS
