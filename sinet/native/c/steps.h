/* The network's steps, each in a file of its own, and the memory they share. Tensors lie as H x W x C.

   Each step takes its weights from the front of those that are left, in the order in which
   `sinet/native/weights.py` packs them, with the BatchNorms folded in. */

#ifndef SINET_STEPS_H
#define SINET_STEPS_H

#include "network.h"
#include "tail.h"

#define BORDER 2  /* pixels of zeros around a squeezed picture, for a 5x5 */
#define BEHIND 6  /* pixels behind a row: the border, and what a strip reads too far */

struct size {
    int height, width;
};

struct scratch {
    struct channels channels;
    int first, joined2; /* channels of level 1 with those that are 0, and of what level 3 begins with */
    float *input_rows, *level1_rows, *active_rows; /* three rows each */
    float *reduced;                                /* what the depthwise convolutions with stride 2 give */
    float *start2, *detail, *start3, *deep;
    float *squeezed, *pooled, *small; /* a squeezed picture with its border, averaged down, and after its pointwise */
    float *line, *matrix;
    float *coarse, *tall, *fine, *blended; /* columns: width x 2 x height */
    struct tail_scratch tail;
};

static inline int whole_vectors(int channels) { return (channels + LANES - 1) / LANES * LANES; }

static inline const float *take(const float **weights, size_t floats)
{
    const float *taken = *weights;
    *weights += floats;
    return taken;
}

/* Gives each part its place behind `start`, which may be NULL; returns how many floats there are. */
size_t scratch_layout(
    struct scratch *scratch, const struct channels *channels, float *start, int height, int width);

/* Level 1 and the depthwise convolution behind it; `total` gets the sum of each channel. */
void entry(const struct picture *picture, const float **weights, struct scratch *s, float *total);

void downsample2(const float **weights, struct scratch *s, struct size size, float *total);

void level2(const float **weights, struct scratch *s, struct size size);

void downsample3(const float **weights, struct scratch *s, struct size two, struct size three);

void level3(const float **weights, struct scratch *s, struct size size);

/* The encoder's logits and the low-level ones, blended, with the last BatchNorm: columns for the tail. */
void decode(const float **weights, struct scratch *s, struct size two, struct size three);

/* How many weights the S2 modules of both levels take. */
size_t s2_floats(const struct channels *channels);

#endif
