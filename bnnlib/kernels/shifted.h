/* Signs of maps under a shift of each channel, and their gradient by IE-Net's estimator, for training; in plain loops that
 * compilers vectorise. Maps have channels last, in float32 or, as `half`, in bfloat16. Sums are float32 in each place of the period,
 * and double over the places. */
#ifndef BNNLIB_SHIFTED_H
#define BNNLIB_SHIFTED_H

#include "bits.h"

#include <math.h>
#include <string.h>

static inline float value_at(const void *x, size_t i, int half)
{
    if (!half)
        return ((const float *)x)[i];
    const uint32_t wide = (uint32_t)((const uint16_t *)x)[i] << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* Rounds to the nearest, half to even. */
static inline void put_at(void *x, size_t i, int half, float value)
{
    if (!half) {
        ((float *)x)[i] = value;
        return;
    }
    uint32_t wide;
    memcpy(&wide, &value, sizeof wide);
    const uint32_t rounded = (wide + 0x7fffu + (wide >> 16 & 1)) >> 16, quiet = wide >> 16 | 0x40u;
    ((uint16_t *)x)[i] = (uint16_t)(value == value ? rounded : quiet);
}

/* Goes over `count` values: value at + i has the shift i. */
#define EACH_PERIOD \
    for (size_t at = 0, length; length = count - at < period ? count - at : period, at < count; at += period)
#define EACH for (size_t i = 0; i < length; i++)

static inline void signs_of(const void *restrict x, const float *restrict shifts, size_t period, size_t count, void *restrict out,
                            int half)
{
    EACH_PERIOD
        EACH
            put_at(out, at + i, half, value_at(x, at + i, half) + shifts[i] >= 0 ? 1.0f : -1.0f);
}

static void shifted_signs(const void *x, const float *shifts, size_t period, size_t count, void *out, int half)
{
    if (half)
        signs_of(x, shifts, period, count, out, 1);
    else
        signs_of(x, shifts, period, count, out, 0);
}

static inline float sum_of(const float *sums, size_t period)
{
    double all = 0;
    for (size_t i = 0; i < period; i++)
        all += sums[i];
    return (float)all;
}

static inline void gradient_of(const bits_estimator *e, const void *restrict x, const void *restrict upstream, void *restrict out,
                               float *restrict sums, int half)
{
    const float *restrict shifts = e->shifts;
    const size_t period = e->period, count = e->count;
    const float degrees = (float)count - 1, top = sqrtf(3) * e->t;
    memset(sums, 0, period * sizeof *sums);
    EACH_PERIOD
        EACH
            sums[i] += value_at(x, at + i, half) + shifts[i];
    const float mean = sum_of(sums, period) / (float)count;
    memset(sums, 0, period * sizeof *sums);
    EACH_PERIOD
        EACH {
            const float centred = value_at(x, at + i, half) + shifts[i] - mean;
            sums[i] += centred * centred;
        }
    const float deviation = sqrtf(sum_of(sums, period) / degrees + e->epsilon), bend = 1.5f * e->t * e->t / deviation;
    memset(sums, 0, period * sizeof *sums);
    EACH_PERIOD
        EACH {
            const float shifted = value_at(x, at + i, half) + shifts[i], slope = top - bend * fabsf(shifted);
            sums[i] += value_at(upstream, at + i, half) * (slope > 0 ? slope : 0) * shifted;
        }
    const float factor = sum_of(sums, period) / deviation / (degrees * deviation), inverse = 1 / deviation;
    memset(sums, 0, period * sizeof *sums);
    EACH_PERIOD
        EACH {
            const float shifted = value_at(x, at + i, half) + shifts[i], slope = top - bend * fabsf(shifted);
            const float inner = value_at(upstream, at + i, half) * (slope > 0 ? slope : 0);
            const float result = (inner - (shifted - mean) * factor) * inverse;
            put_at(out, at + i, half, result);
            sums[i] += result;
        }
}

static void shifted_gradient(const bits_estimator *e, const void *x, const void *upstream, void *out, float *sums)
{
    if (e->half)
        gradient_of(e, x, upstream, out, sums, 1);
    else
        gradient_of(e, x, upstream, out, sums, 0);
}

#undef EACH
#undef EACH_PERIOD
#endif
