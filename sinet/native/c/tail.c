/* The picture comes with its columns contiguous, so that enlarging it in width is a sum of whole columns; then it is
   turned, and all else is a sum of whole rows. */

#include <string.h>

#include "tail.h"

#include "vectors.h"

#define CLASSES 2

/* The two enlargements of a side as one: mixing pixels of the doubled side, which are mixed themselves. */
static struct step step_at(int place, int size)
{
    struct between outer = look(place, 2 * size, 4 * size);
    struct between first = look(outer.first, size, 2 * size), second = look(outer.second, size, 2 * size);
    struct step step = {first.first < size - TAPS ? first.first : size - TAPS, {0}};
    step.parts[first.first - step.first] += (1 - outer.part) * (1 - first.part);
    step.parts[first.second - step.first] += (1 - outer.part) * first.part;
    step.parts[second.first - step.first] += outer.part * (1 - second.part);
    step.parts[second.second - step.first] += outer.part * second.part;
    return step;
}

/* width x 2 x height to 2 x height x (4 width + 16), with zeros beside each row, which begins at its 8th float. */
static void widen(const float *x, int height, int width, const struct tail_scratch *scratch)
{
    int column = CLASSES * height, wide = 4 * width, row = wide + 2 * LANES;
    for (int i = 0; i < column; i++) {
        store(scratch->planes + i * row, (v8){0});
        store(scratch->planes + i * row + LANES + wide, (v8){0});
    }
    for (int place = 0; place < wide; place++) {
        struct step step = scratch->across[place];
        const float *from = x + step.first * column;
        for (int i = 0; i < column; i += LANES) {
            v8 sum = {0};
            for (int t = 0; t < TAPS; t++)
                sum += load(from + t * column + i) * step.parts[t];
            store(scratch->column + i, sum);
        }
        float *to = scratch->planes + LANES + place;
        for (int i = 0; i < column; i++)
            to[i * row] = scratch->column[i];
    }
}

/* The kernel's rows, each convolved with the widened rows: outputs x 3 x height x 4 width. */
INLINE void convolve(const float *planes, int height, int wide, const float *kernel, int outputs, float *out)
{
    int row = wide + 2 * LANES;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < wide; x += LANES) {
            v8 sums[CLASSES * 3] = {0};
            for (int c = 0; c < CLASSES; c++)
                for (int t = 0; t < 3; t++) {
                    v8 value = load(planes + (c * height + y) * row + LANES + x + t - 1);
                    for (int o = 0; o < outputs * 3; o++)
                        sums[o] += value * kernel[(o * CLASSES + c) * 3 + t];
                }
            for (int o = 0; o < outputs * 3; o++)
                store(out + ((size_t)o * height + y) * wide + x, sums[o]);
        }
}

/* A row of the result: of each row of the kernel three rows. */
static void lengthen(const float *shifted, int height, int wide, const struct step *steps, float *out)
{
    const float *from[3 * TAPS];
    float parts[3 * TAPS];
    for (int r = 0; r < 3; r++)
        for (int t = 0; t < TAPS; t++) {
            from[r * TAPS + t] = shifted + ((size_t)r * height + steps[r].first + t) * wide;
            parts[r * TAPS + t] = steps[r].parts[t];
        }
    for (int x = 0; x < wide; x += LANES) {
        v8 sum = {0};
        for (int i = 0; i < 3 * TAPS; i++)
            sum += load(from[i] + x) * parts[i];
        store(out + x, sum);
    }
}

void tail(
    const float *x, int height, int width, const float *kernel, int outputs, const struct tail_scratch *scratch,
    float *out)
{
    int wide = 4 * width, tall = 4 * height;
    for (int place = 0; place < wide; place++)
        scratch->across[place] = step_at(place, width);
    for (int place = 0; place < tall; place++)
        scratch->down[place + 1] = step_at(place, height);
    /* Above and below the picture the convolution sees zeros. */
    scratch->down[0] = scratch->down[tall + 1] = (struct step){0};
    widen(x, height, width, scratch);
    if (outputs == 1)
        convolve(scratch->planes, height, wide, kernel, 1, scratch->shifted);
    else
        convolve(scratch->planes, height, wide, kernel, CLASSES, scratch->shifted);
    for (int o = 0; o < outputs; o++)
        for (int y = 0; y < tall; y++) {
            const float *shifted = scratch->shifted + (size_t)o * 3 * height * wide;
            lengthen(shifted, height, wide, scratch->down + y, out + ((size_t)o * tall + y) * wide);
        }
}

END_OF_VECTORS
