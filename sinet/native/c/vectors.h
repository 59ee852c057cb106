/* Eight floats at a time, in the notation of GCC and Clang.

   Include it after every system header: on x86-64 what follows is compiled for AVX2 and FMA, whatever the compiler's
   own target is, so that a module built on one machine runs on another; `native_supported` asks the processor. A file
   that includes it ends with END_OF_VECTORS. */

#ifndef SINET_VECTORS_H
#define SINET_VECTORS_H

#include <stddef.h>
#include <stdint.h>

#include "network.h" /* LANES */

#if defined(__x86_64__) && defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define END_OF_VECTORS _Pragma("clang attribute pop")
#else
#define END_OF_VECTORS
#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#endif
#endif

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline, unused))

/* Before a loop whose number of turns is constant: without it arrays of sums would live in memory. */
#define UNROLL _Pragma("GCC unroll 16")

typedef float v8 __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));
typedef float v8_anywhere __attribute__((vector_size(32), aligned(4), may_alias));

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (v8i){__VA_ARGS__})
#endif

INLINE v8 load(const float *from) { return *(const v8_anywhere *)from; }

INLINE void store(float *to, v8 values) { *(v8_anywhere *)to = values; }

INLINE v8 prelu(v8 x, v8 slope)
{
    v8i below = x < 0;
    return (v8)((v8i)x & ~below) + slope * (v8)((v8i)x & below);
}

/* exp of numbers up to 0, to 2 units in the last place; below -87 it stays at exp(-87). */
INLINE v8 exp_below_0(v8 x)
{
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number, in the last bits */
    v8i low = x < -87.0f;
    x = (v8)(((v8i)x & ~low) | ((v8i)((v8){0} - 87.0f) & low));
    v8 shifted = x * 1.44269504f + shift;
    v8 whole = shifted - shift;
    v8 rest = x - whole * 0.693359375f;
    rest = rest + whole * 2.12194440e-4f;
    v8 sum = rest * 1.9875691500e-4f + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 0.5f;
    sum = sum * rest * rest + rest + 1.0f;
    v8i power = ((v8i)shifted - (v8i)((v8){0} + shift) + 127) << 23;
    return sum * (v8)power;
}

/* 1 / (1 + exp(|x|)): how likely the less likely of two classes is whose logits differ by x. */
INLINE v8 less_likely(v8 x)
{
    v8 power = exp_below_0((v8)((v8i)x | INT32_MIN));
    return power / (power + 1.0f);
}

/* The eight sums over the lanes of each of eight vectors. */
INLINE v8 sums_of(const v8 *of)
{
#define PAIRS(a, b) (SHUFFLE(a, b, 0, 2, 8, 10, 4, 6, 12, 14) + SHUFFLE(a, b, 1, 3, 9, 11, 5, 7, 13, 15))
    v8 first = PAIRS(PAIRS(of[0], of[1]), PAIRS(of[2], of[3]));
    v8 second = PAIRS(PAIRS(of[4], of[5]), PAIRS(of[6], of[7]));
    return SHUFFLE(first, second, 0, 1, 2, 3, 8, 9, 10, 11) + SHUFFLE(first, second, 4, 5, 6, 7, 12, 13, 14, 15);
#undef PAIRS
}

/* Where bilinear enlargement with aligned corners looks: between `first` and `second`, `part` of the way. */
struct between {
    int first, second;
    float part;
};

/* For `place` of `size` places made from `from` ones; in torch's arithmetic. */
INLINE struct between look(int place, int from, int size)
{
    float at = size > 1 ? (float)(from - 1) / (float)(size - 1) * (float)place : 0.0f;
    int first = (int)at < from - 1 ? (int)at : from - 1;
    return (struct between){first, first + (first < from - 1), at - (float)first};
}

INLINE v8 mix(v8 first, v8 second, float part) { return first * (1.0f - part) + second * part; }

#endif
