/* Where in the working memory each tensor lies. */

#include "steps.h"

#include "convolutions.h"

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

size_t scratch_layout(struct scratch *s, const struct channels *c, float *start, int height, int width)
{
    int first = whole_vectors(c->level1), joined2 = c->start2 + c->detail, half3 = c->deep / 2;
    s->channels = *c;
    s->first = first;
    s->joined2 = joined2;
    struct memory memory = {start, 0};
    struct size two = {height / 4, width / 4}, three = {height / 8, width / 8}, half = {height / 16, width / 16};
    size_t pixels2 = (size_t)two.height * two.width, pixels3 = (size_t)three.height * three.width;
    s->input_rows = part(&memory, 3 * 3 * ((size_t)width + LANES));
    s->level1_rows = part(&memory, 3 * ((size_t)width / 2 + 1) * first);
    s->active_rows = part(&memory, 3 * ((size_t)two.width + 1) * joined2);
    s->reduced = part(&memory, larger(pixels2 * first, pixels3 * joined2));
    s->start2 = part(&memory, pixels2 * c->start2);
    s->detail = part(&memory, pixels2 * c->detail);
    s->start3 = part(&memory, pixels3 * c->start3);
    s->deep = part(&memory, pixels3 * c->deep);
    s->squeezed = part(&memory, larger(squeezed_floats(two, c->detail / 2), squeezed_floats(three, half3)));
    s->pooled = part(&memory, squeezed_floats(half, half3));
    s->small = part(&memory, (size_t)(half.height + 1) * (half.width + PIXELS) * half3);
    s->line = part(&memory, ((size_t)two.width + STRIP) * larger(c->detail / 2, half3));
    s->matrix = part(&memory, larger(c->level1 * c->start2, joined2 * c->start3));
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

size_t scratch_floats(const struct channels *channels, int height, int width)
{
    struct scratch scratch;
    return scratch_layout(&scratch, channels, NULL, height, width);
}

END_OF_VECTORS
