/* The steps in their order, one picture at a time. */

#include "network.h"
#include "steps.h"

#include "vectors.h"

size_t weights_floats(void)
{
    size_t floats = (27 + 2) * FIRST;
    floats += 9 * FIRST + FIRST_USED * (FIRST_USED + 2) + (FIRST_USED + 2) * START2;
    floats += 3 * JOINED2;
    floats += 9 * JOINED2 + HIDDEN * (JOINED2 + 2) + JOINED2 * (HIDDEN + 2) + (JOINED2 + 2) * START3;
    floats += 3 * (START3 + DEEP) + CLASSES * (START3 + DEEP + 1);
    floats += CLASSES * (DETAIL + 2) + 2 * CLASSES + CLASSES * 3 * CLASSES * 3;
    return floats + s2_floats();
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
    decode(&weights, s, two, three);
    return weights;
}

void logits(const float *weights, const struct picture *picture, float *scratch, float *out)
{
    struct scratch s;
    scratch_layout(&s, scratch, picture->height, picture->width);
    const float *kernel = body(weights, picture, &s);
    tail(s.blended, picture->height / 4, picture->width / 4, kernel, CLASSES, &s.tail, out);
}

void probability(const float *weights, const struct picture *picture, float *scratch, float *out)
{
    struct scratch s;
    scratch_layout(&s, scratch, picture->height, picture->width);
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
