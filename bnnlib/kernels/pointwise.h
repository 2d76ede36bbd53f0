/* What lies between the layers, value by value, in plain loops that compilers vectorise; each instruction set's file includes
 * them. They round as PyTorch does: a norm once, everything else after each operation. */
#ifndef BNNLIB_POINTWISE_H
#define BNNLIB_POINTWISE_H

#include "bits.h"

#include <math.h>

#define CHUNK 256 /* values that stay in the first-level cache for all steps */

/* n values of one chunk, which begins at place `at` of the period. */
static inline void pointwise_step(const bits_pointwise *step, float *restrict x, size_t at, size_t n)
{
    const float *restrict a = step->a ? step->a + at : NULL, *restrict b = step->b ? step->b + at : NULL;
    const float low = step->low, high = step->high;
    switch (step->kind) {
    case BITS_MULTIPLY:
        for (size_t i = 0; i < n; i++)
            x[i] *= a[i];
        break;
    case BITS_ADD:
        for (size_t i = 0; i < n; i++)
            x[i] += a[i];
        break;
    case BITS_NORM:
        for (size_t i = 0; i < n; i++)
            x[i] = fmaf(x[i], a[i], b[i]);
        break;
    case BITS_BEND:
        for (size_t i = 0; i < n; i++) {
            const float above = x[i] > 0.0f ? x[i] : 0.0f, below = x[i] < 0.0f ? x[i] : 0.0f;
            x[i] = above + below * a[i];
        }
        break;
    case BITS_DIVIDE:
        for (size_t i = 0; i < n; i++)
            x[i] /= low;
        break;
    case BITS_ROUND:
        for (size_t i = 0; i < n; i++)
            x[i] = rintf(x[i]);
        break;
    default: /* BITS_CLIP */
        for (size_t i = 0; i < n; i++) {
            const float raised = x[i] < low ? low : x[i];
            x[i] = raised > high ? high : raised;
        }
    }
}

static void pointwise(const float *x, const int32_t *sums, size_t count, size_t period, const bits_pointwise *steps,
                      size_t step_count, float *out)
{
    for (size_t begin = 0; begin < count; begin += period)
        for (size_t at = 0; at < period && begin + at < count; at += CHUNK) {
            size_t n = period - at < CHUNK ? period - at : CHUNK;
            n = count - begin - at < n ? count - begin - at : n;
            float *restrict to = out + begin + at;
            if (sums)
                for (size_t i = 0; i < n; i++)
                    to[i] = (float)sums[begin + at + i];
            else
                for (size_t i = 0; i < n; i++)
                    to[i] = x[begin + at + i];
            for (size_t s = 0; s < step_count; s++)
                pointwise_step(steps + s, to, at, n);
        }
}

static void larger(float *restrict most, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        most[i] = x[i] > most[i] ? x[i] : most[i];
}

static void to_bytes(const float *restrict x, size_t n, float low, uint8_t *restrict out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(int32_t)(x[i] - low);
}

#endif
