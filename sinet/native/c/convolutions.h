/* The two convolutions that SINet consists of, and its norm, for one row of a picture H x W x C, C a multiple of 8.

   All functions are inlined with constant numbers of channels, taps and pixels, so that their sums stay in
   registers: 12 of the 16 in a pointwise convolution, 8 in a depthwise one. */

#ifndef SINET_CONVOLUTIONS_H
#define SINET_CONVOLUTIONS_H

#include "vectors.h"

#define PIXELS 4 /* that a pointwise convolution takes at once */
#define CHUNKS 3 /* vectors of output channels that it makes at once, at most */
#define TILE (CHUNKS * LANES)
#define STRIP 8 /* pixels that a depthwise convolution makes at once */

/* The output channels of the tile that begins at `start` of so many: 24, or fewer at the end. */
INLINE int tile_at(int start, int channels) { return channels - start < TILE ? channels - start : TILE; }

/* What a pointwise convolution adds before its PReLU: bias + before * scale, where `before` is not NULL. */
struct finish {
    const float *bias, *scale, *slope; /* one a channel */
};

/* `width` pixels, rounded up to a multiple of 4, from `depth` channels of x to `chunks` vectors of channels of out;
   strides in floats. */
INLINE void pointwise(
    const float *x, int stride, int depth, const float *weights, int chunks, float *out, int out_stride, int width,
    const struct finish *finish, const float *before)
{
    for (int i = 0; i < width; i += PIXELS) {
        v8 sums[PIXELS][CHUNKS] = {0};
        const float *from = x + i * stride, *column = weights;
#pragma GCC unroll 4
        for (int k = 0; k < depth; k++, column += chunks * LANES)
            UNROLL for (int p = 0; p < PIXELS; p++)
                UNROLL for (int c = 0; c < chunks; c++)
                    sums[p][c] += load(column + c * LANES) * from[p * stride + k];
        UNROLL for (int c = 0; c < chunks; c++) {
            int at = c * LANES;
            v8 bias = {0}, scale = {0}, slope = {0};
            if (finish) {
                bias = load(finish->bias + at);
                slope = load(finish->slope + at);
            }
            if (before)
                scale = load(finish->scale + at);
            UNROLL for (int p = 0; p < PIXELS; p++) {
                v8 sum = sums[p][c];
                int place = (i + p) * out_stride + at;
                if (finish) {
                    sum += bias;
                    if (before)
                        sum += load(before + place) * scale;
                    sum = prelu(sum, slope);
                }
                store(out + place, sum);
            }
        }
    }
}

/* The three ways in which it is used, for a tile of 8, 16 or 24 channels. They are functions of their own because GCC does
   not keep the twelve sums in registers where much else is inlined around them. */

NOINLINE void pointwise_only(
    const float *x, int stride, int depth, const float *weights, int tile, float *out, int out_stride, int width)
{
    if (tile == 3 * LANES)
        pointwise(x, stride, depth, weights, 3, out, out_stride, width, NULL, NULL);
    else if (tile == 2 * LANES)
        pointwise(x, stride, depth, weights, 2, out, out_stride, width, NULL, NULL);
    else
        pointwise(x, stride, depth, weights, 1, out, out_stride, width, NULL, NULL);
}

NOINLINE void pointwise_finished(
    const float *x, int stride, int depth, const float *weights, int tile, float *out, int out_stride, int width,
    const struct finish *finish)
{
    if (tile == 3 * LANES)
        pointwise(x, stride, depth, weights, 3, out, out_stride, width, finish, NULL);
    else if (tile == 2 * LANES)
        pointwise(x, stride, depth, weights, 2, out, out_stride, width, finish, NULL);
    else
        pointwise(x, stride, depth, weights, 1, out, out_stride, width, finish, NULL);
}

/* Adds to what stands in `out`. */
NOINLINE void pointwise_residual(
    const float *x, int stride, int depth, const float *weights, int tile, float *out, int out_stride, int width,
    const struct finish *finish)
{
    if (tile == 3 * LANES)
        pointwise(x, stride, depth, weights, 3, out, out_stride, width, finish, out);
    else if (tile == 2 * LANES)
        pointwise(x, stride, depth, weights, 2, out, out_stride, width, finish, out);
    else
        pointwise(x, stride, depth, weights, 1, out, out_stride, width, finish, out);
}

/* `strip` pixels of 8 channels; `x` is the top left tap of the first one, `across` and `down` are its strides. */
INLINE void depthwise_strip(
    const float *x, int across, int down, int kernel, int strip, const float *weights, v8 bias, v8 slope, float *out)
{
    v8 sums[STRIP];
    UNROLL for (int i = 0; i < strip; i++)
        sums[i] = bias;
    for (int row = 0; row < kernel; row++) {
        v8 taps[5];
        UNROLL for (int t = 0; t < kernel; t++)
            taps[t] = load(weights + (row * kernel + t) * LANES);
        UNROLL for (int i = 0; i < strip + kernel - 1; i++) {
            v8 value = load(x + row * down + i * across);
            UNROLL for (int t = 0; t < kernel; t++)
                if (i - t >= 0 && i - t < strip)
                    sums[i - t] += taps[t] * value;
        }
    }
    UNROLL for (int i = 0; i < strip; i++)
        store(out + i * across, prelu(sums[i], slope));
}

/* One row with PReLU, stride 1. `x` is the top left tap of the first pixel; `weights` are chunks x taps x 8.
   Up to 3 pixels more than `width` are read and written. */
INLINE void depthwise(
    const float *x, int channels, int down, int kernel, const float *weights, const float *bias, const float *slope,
    float *out, int width)
{
    for (int c = 0; c < channels; c += LANES) {
        const float *taps = weights + c * kernel * kernel;
        v8 b = load(bias + c), s = load(slope + c);
        int i = 0;
        for (; i + STRIP / 2 < width; i += STRIP)
            depthwise_strip(x + i * channels + c, channels, down, kernel, STRIP, taps, b, s, out + i * channels + c);
        if (i < width)
            depthwise_strip(x + i * channels + c, channels, down, kernel, STRIP / 2, taps, b, s, out + i * channels + c);
    }
}

/* One row of a 3 x 3 with stride 2, without bias or activation; adds its sum over the pixels to `total`. */
INLINE void depthwise_by_two(
    const float *const *rows, int channels, const float *weights, float *out, int width, float *total)
{
    for (int c = 0; c < channels; c += LANES) {
        v8 taps[9], whole = {0};
        UNROLL for (int t = 0; t < 9; t++)
            taps[t] = load(weights + (c / LANES * 9 + t) * LANES);
        for (int i = 0; i < width; i++) {
            v8 sum = {0};
            UNROLL for (int row = 0; row < 3; row++)
                UNROLL for (int t = 0; t < 3; t++)
                    sum += taps[row * 3 + t] * load(rows[row] + (2 * i + t) * channels + c);
            store(out + i * channels + c, sum);
            whole += sum;
        }
        store(total + c, load(total + c) + whole);
    }
}

/* BatchNorm and PReLU of two pictures side by side, one row. */
INLINE void norm_row(
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

#endif
