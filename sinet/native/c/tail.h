/* The last steps of SINet as one linear map: BatchNorm, twice bilinear x2, then a 3x3 convolution. Weights of an
   enlargement add up to 1, so that the BatchNorm commutes with it; both enlargements together are one of a direction. */

#ifndef SINET_TAIL_H
#define SINET_TAIL_H

#include <stddef.h>

#define TAPS 3 /* pixels that a pixel of the quadrupled picture looks at, a direction */

/* Where a pixel of the quadrupled picture looks, and how much it takes of each. */
struct step {
    int first;
    float parts[TAPS];
};

struct tail_scratch {
    struct step *across, *down; /* 4 width, 4 height + 2 */
    float *column;              /* 2 x height */
    float *planes;              /* 2 x height x (4 width + 16) */
    float *shifted;             /* outputs x 3 x height x 4 width */
};

/* x is width x 2 x height; kernel is outputs x 3 rows x 2 x 3 columns; out is outputs x 4 height x 4 width. */
void tail(
    const float *x, int height, int width, const float *kernel, int outputs, const struct tail_scratch *scratch,
    float *out);

#endif
