/* The steps in their order, one picture at a time. */

#include "network.h"
#include "steps.h"

#include "vectors.h"

size_t weights_floats(const struct channels *c)
{
    size_t first = whole_vectors(c->level1), joined2 = c->start2 + c->detail, joined3 = c->start3 + c->deep;
    size_t floats = (27 + 2) * first;
    floats += 9 * first + c->level1 * (c->level1 + 2) + (c->level1 + 2) * c->start2;
    floats += 3 * joined2;
    floats += 9 * joined2 + c->hidden * (joined2 + 2) + joined2 * (c->hidden + 2) + (joined2 + 2) * c->start3;
    floats += 3 * joined3 + CLASSES * (joined3 + 1);
    floats += CLASSES * (c->detail + 2) + 2 * CLASSES + CLASSES * 3 * CLASSES * 3;
    return floats + s2_floats(c);
}

/* All but the tail, whose kernel is what is left of the weights. */
static const float *body(const float *weights, const struct picture *picture, struct scratch *s)
{
    struct size two = {picture->height / 4, picture->width / 4}, three = {picture->height / 8, picture->width / 8};
    float total[MOST_CHANNELS];
    entry(picture, &weights, s, total);
    downsample2(&weights, s, two, total);
    level2(&weights, s, two);
    downsample3(&weights, s, two, three);
    level3(&weights, s, three);
    decode(&weights, s, two, three);
    return weights;
}

void logits(
    const struct channels *channels, const float *weights, const struct picture *picture, float *scratch, float *out)
{
    struct scratch s;
    scratch_layout(&s, channels, scratch, picture->height, picture->width);
    const float *kernel = body(weights, picture, &s);
    tail(s.blended, picture->height / 4, picture->width / 4, kernel, CLASSES, &s.tail, out);
}

void probability(
    const struct channels *channels, const float *weights, const struct picture *picture, float *scratch, float *out)
{
    struct scratch s;
    scratch_layout(&s, channels, scratch, picture->height, picture->width);
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
