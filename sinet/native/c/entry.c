/* The first two convolutions. The full picture is the largest tensor by far, so that it is never there as a whole:
   a row of level 1 lives until the three rows of the next convolution that need it are done. */

#include <string.h>

#include "steps.h"

#include "convolutions.h"

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

/* `chunks` vectors of channels of a row of level 1, the first of which is at `weights`. `across` is the way from a pixel to
   the next one, channel[c] that to its channel c; `first` are all channels. */
INLINE void level1_tile(
    const float *const *rows, int across, const int *channel, const float *weights, int first, int chunks, float *out,
    int width)
{
    const float *bias = weights + 27 * first, *slope = bias + first;
    for (int i = 0; i < width; i += PIXELS) {
        v8 sums[PIXELS][CHUNKS];
        UNROLL for (int p = 0; p < PIXELS; p++)
            UNROLL for (int c = 0; c < chunks; c++)
                sums[p][c] = load(bias + c * LANES);
        const float *tap = weights;
        for (int row = 0; row < 3; row++)
            for (int c = 0; c < 3; c++) {
                const float *x = rows[row] + channel[c] + 2 * i * across;
                UNROLL for (int t = 0; t < 3; t++, tap += first)
                    UNROLL for (int p = 0; p < PIXELS; p++) {
                        float value = x[(2 * p + t) * across];
                        UNROLL for (int k = 0; k < chunks; k++)
                            sums[p][k] += load(tap + k * LANES) * value;
                    }
            }
        UNROLL for (int p = 0; p < PIXELS; p++)
            UNROLL for (int c = 0; c < chunks; c++)
                store(out + (i + p) * first + c * LANES, prelu(sums[p][c], load(slope + c * LANES)));
    }
}

INLINE void level1_row(
    const float *const *rows, int across, const int *channel, const float *weights, int first, float *out, int width)
{
    for (int c = 0; c < first; c += TILE) {
        int tile = tile_at(c, first);
        if (tile == 3 * LANES)
            level1_tile(rows, across, channel, weights + c, first, 3, out + c, width);
        else if (tile == 2 * LANES)
            level1_tile(rows, across, channel, weights + c, first, 2, out + c, width);
        else
            level1_tile(rows, across, channel, weights + c, first, 1, out + c, width);
    }
}

NOINLINE void level1_row_of_planes(
    const float *const *rows, const int *channel, const float *weights, int first, float *out, int width)
{
    level1_row(rows, 1, channel, weights, first, out, width);
}

NOINLINE void level1_row_of_pixels(
    const float *const *rows, const int *channel, const float *weights, int first, float *out, int width)
{
    level1_row(rows, 3, channel, weights, first, out, width);
}

void entry(const struct picture *picture, const float **weights, struct scratch *s, float *total)
{
    int width = picture->width, half = width / 2, quarter = width / 4, input = 3 * (width + LANES);
    int first = s->first, bytes = picture->planes == NULL, channel[3];
    size_t level1 = (size_t)(half + 1) * first;
    const float *convolution = take(weights, (27 + 2) * first), *depthwise = take(weights, 9 * first);
    for (int c = 0; c < 3; c++)
        channel[c] = bytes ? picture->order[c] : c * (width + LANES);
    /* Row -1 of both is zeros. */
    memset(s->input_rows + 2 * input, 0, input * sizeof(float));
    memset(s->level1_rows + 2 * level1, 0, level1 * sizeof(float));
    for (int row = 0; row < 3; row++)
        memset(s->level1_rows + row * level1, 0, first * sizeof(float));
    memset(total, 0, first * sizeof(float));
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
            float *out = s->level1_rows + inner % 3 * level1 + first;
            if (bytes)
                level1_row_of_pixels(rows, channel, convolution, first, out, half);
            else
                level1_row_of_planes(rows, channel, convolution, first, out, half);
        }
        const float *rows[3];
        for (int i = 0; i < 3; i++)
            rows[i] = s->level1_rows + (2 * y + i + 2) % 3 * level1;
        depthwise_by_two(rows, first, depthwise, s->reduced + (size_t)y * quarter * first, quarter, total);
    }
}

END_OF_VECTORS
