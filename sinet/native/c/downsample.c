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
    float inner[HIDDEN], factor[JOINED2];
    if (hidden)
        mean = dense(weights, mean, in, hidden, inner);
    dense(weights, mean, hidden ? hidden : in, in, factor);
    const float *plain = take(weights, (size_t)in * out);
    /* Tiles of in x 24 lie behind one another, or one of in x 16. */
    int tile = out < TILE ? out : TILE;
    for (int i = 0; i < in * out; i++)
        matrix[i] = plain[i] * factor[i / tile % in];
    return matrix;
}

void downsample2(const float **weights, struct scratch *s, struct size size, float *total)
{
    int pixels = size.height * size.width;
    for (int c = 0; c < FIRST_USED; c++)
        total[c] /= (float)pixels;
    const float *matrix = attend(weights, total, FIRST_USED, 0, START2, s->matrix);
    const float *bias = take(weights, START2), *slope = take(weights, START2);
    struct finish finish = {bias, NULL, slope};
    pointwise(s->reduced, FIRST, FIRST_USED, matrix, 2, s->start2, START2, pixels, &finish, NULL);
}

void downsample3(const float **weights, struct scratch *s, struct size two, struct size three)
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

END_OF_VECTORS
