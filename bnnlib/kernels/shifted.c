/* Signs of shifted maps and their gradient over whole batches, divided among threads by samples. */
#include "bits.h"

#include <stdlib.h>

#define LANES 256 /* values, about, that one loop goes over: as many pixels as hold them, each with the same shifts */

typedef struct {
    const bits_kernels *kernels;
    const bits_estimator *estimator;
    const char *x, *upstream;
    char *out;
    size_t size, channels;
    float *of_shift, *sums; /* sums: a period for each sample */
} task;

/* The shifts of one pixel, repeated for a period of pixels; NULL if there is no memory. */
static float *repeated(const float *shift, size_t channels, size_t pixels, size_t *period)
{
    size_t times = LANES / channels + (LANES % channels != 0);
    times = times < pixels ? times : pixels;
    *period = times * channels;
    float *shifts = malloc(*period * sizeof *shifts);
    for (size_t i = 0; shifts && i < *period; i++)
        shifts[i] = shift[i % channels];
    return shifts;
}

static void signs_of_samples(void *context, size_t begin, size_t end)
{
    const task *t = context;
    const size_t count = t->estimator->count, at = begin * count * t->size;
    for (size_t sample = begin, from = at; sample < end; sample++, from += count * t->size)
        t->kernels->shifted_signs(t->x + from, t->estimator->shifts, t->estimator->period, count, t->out + from,
                                  t->estimator->half);
}

static void gradients_of_samples(void *context, size_t begin, size_t end)
{
    const task *t = context;
    const size_t period = t->estimator->period, step = t->estimator->count * t->size;
    for (size_t sample = begin; sample < end; sample++) {
        float *sums = t->sums + sample * period, *of_shift = t->of_shift + sample * t->channels;
        t->kernels->shifted_gradient(t->estimator, t->x + sample * step, t->upstream + sample * step, t->out + sample * step,
                                     sums);
        for (size_t c = 0; c < t->channels; c++)
            of_shift[c] = sums[c];
        for (size_t i = t->channels; i < period; i++)
            of_shift[i % t->channels] += sums[i];
    }
}

int bits_shifted_signs(const bits_kernels *kernels, const bits_shifted *maps, const float *shift, void *out, int threads)
{
    bits_estimator e = {.count = maps->pixels * maps->channels, .half = maps->half};
    float *shifts = repeated(shift, maps->channels, maps->pixels, &e.period);
    if (!shifts)
        return -1;
    e.shifts = shifts;
    task t = {kernels, &e, maps->x, NULL, out, maps->half ? 2 : 4, maps->channels, NULL, NULL};
    bits_in_parallel(threads, maps->samples, signs_of_samples, &t);
    free(shifts);
    return 0;
}

int bits_shifted_gradient(const bits_kernels *kernels, const bits_shifted *maps, const float *shift, float t, float epsilon,
                          const void *upstream, void *out, float *of_shift, int threads)
{
    bits_estimator e = {.count = maps->pixels * maps->channels, .half = maps->half, .t = t, .epsilon = epsilon};
    float *shifts = repeated(shift, maps->channels, maps->pixels, &e.period);
    float *sums = shifts ? malloc(maps->samples * e.period * sizeof *sums) : NULL;
    if (sums) {
        e.shifts = shifts;
        task work = {kernels, &e, maps->x, upstream, out, maps->half ? 2 : 4, maps->channels, of_shift, sums};
        bits_in_parallel(threads, maps->samples, gradients_of_samples, &work);
    }
    free(sums), free(shifts);
    return sums ? 0 : -1;
}
