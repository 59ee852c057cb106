/* Halving the picture: the factors of the channels, which come from their means, go into the pointwise matrix. */

#include <string.h>

#include "steps.h"

#include "convolutions.h"

/* A dense layer and its PReLU. */
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

/* The attention's factors, and the pointwise matrix behind it with each input channel's factor in it. */
static const float *attend(const float **weights, const float *mean, int in, int hidden, int out, float *matrix)
{
    float inner[MOST_CHANNELS], factor[MOST_CHANNELS];
    if (hidden)
        mean = dense(weights, mean, in, hidden, inner);
    dense(weights, mean, hidden ? hidden : in, in, factor);
    const float *plain = take(weights, (size_t)in * out);
    for (int start = 0; start < out; start += TILE) {
        int tile = tile_at(start, out);
        for (int i = 0; i < in * tile; i++)
            matrix[in * start + i] = plain[in * start + i] * factor[i / tile];
    }
    return matrix;
}

/* The attention of `in` channels by their sums, the pointwise convolution behind it, norm and activation. */
static void squeeze_and_mix(
    const float **weights, struct scratch *s, float *total, int stride, int in, int hidden, int pixels, float *out,
    int channels)
{
    for (int c = 0; c < in; c++)
        total[c] /= (float)pixels;
    const float *matrix = attend(weights, total, in, hidden, channels, s->matrix);
    const float *bias = take(weights, channels), *slope = take(weights, channels);
    for (int c = 0; c < channels; c += TILE) {
        struct finish finish = {bias + c, NULL, slope + c};
        pointwise_finished(
            s->reduced, stride, in, matrix + in * c, tile_at(c, channels), out + c, channels, pixels, &finish);
    }
}

void downsample2(const float **weights, struct scratch *s, struct size size, float *total)
{
    const struct channels *c = &s->channels;
    squeeze_and_mix(weights, s, total, s->first, c->level1, 0, size.height * size.width, s->start2, c->start2);
}

void downsample3(const float **weights, struct scratch *s, struct size two, struct size three)
{
    int joined = s->joined2, start2 = s->channels.start2, detail = s->channels.detail;
    const float *norm = take(weights, 3 * joined), *depthwise = take(weights, 9 * joined);
    size_t row = (size_t)(two.width + 1) * joined;
    float total[MOST_CHANNELS] = {0};
    memset(s->active_rows + 2 * row, 0, row * sizeof(float)); /* row -1 */
    for (int i = 0; i < 3; i++)
        memset(s->active_rows + i * row, 0, joined * sizeof(float));
    for (int y = 0; y < three.height; y++) {
        const float *rows[3];
        for (int i = 0; i < 3; i++) {
            int from = 2 * y + i - 1;
            float *place = s->active_rows + (from + 3) % 3 * row;
            size_t at = (size_t)from * two.width;
            if (i)
                norm_row(
                    s->start2 + at * start2, start2, s->detail + at * detail, detail, norm, place + joined, two.width);
            rows[i] = place;
        }
        depthwise_by_two(rows, joined, depthwise, s->reduced + (size_t)y * three.width * joined, three.width, total);
    }
    squeeze_and_mix(
        weights, s, total, joined, joined, s->channels.hidden, three.height * three.width, s->start3,
        s->channels.start3);
}

END_OF_VECTORS
