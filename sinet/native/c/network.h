/* SINet with two classes, in eval mode, for one picture: what `network.c` offers. */

#ifndef SINET_NETWORK_H
#define SINET_NETWORK_H

#include <stddef.h>

/* The arrangement of the weights: another one gets another number, here and in `sinet/native/weights.py`, so that an
   extension that was built of older files is left out, where it would give wrong masks. */
#define LAYOUT 2

#define CLASSES 2
#define STRIDE 32         /* heights and widths are multiples of it */
#define LARGEST_SIDE 8192 /* so that no size overflows */
#define LANES 8           /* floats of a vector */
#define MOST_CHANNELS 640 /* of a tensor, so that what lies on the stack has a size */

/* A picture as floats 3 x H x W, or as bytes H x W x 3 with what turns a byte into a float. */
struct picture {
    int height, width;
    const float *planes;
    const unsigned char *pixels;                /* where `planes` is NULL */
    float mean[3], factor[3];                   /* (pixel - mean) * factor, in the order of the pixel's channels */
    int order[3];                               /* which channel of a pixel is the network's first, second, third */
};

/* How many channels the tensors of a network have, as `Channels` in `sinet/network/model.py`: multiples of 8, `detail`
   and `deep` of 16, but for `level1`, behind which zeros fill the last vector. */
struct channels {
    int level1, start2, detail, start3, deep, hidden;
};

size_t weights_floats(const struct channels *channels);

size_t scratch_floats(const struct channels *channels, int height, int width);

/* Logits 2 x H x W; `scratch` holds `scratch_floats`, aligned to 64 bytes, in any state. */
void logits(
    const struct channels *channels, const float *weights, const struct picture *picture, float *scratch, float *out);

/* H x W: how likely a pixel is of the second class. */
void probability(
    const struct channels *channels, const float *weights, const struct picture *picture, float *scratch, float *out);

#endif
