/* Convolutions and pools of float32 maps, channels last: what a binary network has besides bits. */
#include "bits.h"

#include <stdlib.h>
#include <string.h>

size_t bits_window_size(const bits_window *w, int axis)
{
    const size_t covered = w->dilation[axis] * (w->kernel[axis] - 1) + 1;
    const size_t padded = (axis ? w->width : w->height) + w->before[axis] + w->after[axis];
    return padded < covered ? 0 : (padded - covered) / w->stride[axis] + 1;
}

typedef struct {
    const bits_kernels *kernels;
    const bits_window *w;
    const float *x;         /* padded */
    size_t height, width;   /* of the padded maps */
    size_t heights, widths; /* of the output */
    size_t filters, runs, length, *offsets;
    const void *panels;
    int codes;
    const bits_reals_compare *compare;
    void *out;
    int along_images;
} task;

/* One strip: a row of output pixels, or, where the output is one pixel, that pixel of all images from `first` on. */
static void strip(const task *t, size_t panel, size_t image, size_t row, size_t rows)
{
    const size_t filter = panel * BITS_PANEL, channels = t->w->channels;
    const size_t pixel = (image * t->heights + row) * t->widths; /* of the output */
    const bits_reals a = {t->x + (image * t->height + row * t->w->stride[0]) * t->width * channels,
                          (t->along_images ? t->height * t->width : t->w->stride[1]) * channels, t->runs, t->length,
                          t->offsets};
    bits_reals_epilogue epilogue = {.width = t->filters - filter < BITS_PANEL ? t->filters - filter : BITS_PANEL};
    if (t->compare) {
        epilogue.thresholds = t->compare->thresholds + filter, epilogue.flips = t->compare->flips[panel];
        epilogue.bits_stride = 2 * bits_words(t->filters);
        epilogue.bits = (bits_half *)t->out + pixel * epilogue.bits_stride + panel;
    } else {
        epilogue.out = (float *)t->out + pixel * t->filters + filter, epilogue.stride = t->filters;
    }
    const size_t at = panel * t->runs * t->length * BITS_PANEL;
    if (t->codes)
        t->kernels->strip_codes(&a, rows, (const int8_t *)t->panels + at, &epilogue);
    else
        t->kernels->strip_reals(&a, rows, (const float *)t->panels + at, &epilogue);
}

static void some_rows(void *context, size_t begin, size_t end)
{
    const task *t = context;
    for (size_t panel = 0; panel < bits_panels(t->filters); panel++)
        for (size_t s = begin; s < end; s++)
            strip(t, panel, s / t->heights, s % t->heights, t->widths);
}

static void some_panels(void *context, size_t begin, size_t end)
{
    const task *t = context;
    for (size_t panel = begin; panel < end; panel++)
        strip(t, panel, 0, 0, t->w->images);
}

static int pad(task *t, const float *x, float value, float **buffer)
{
    const bits_window *w = t->w;
    const size_t size = w->images * t->height * t->width * w->channels;
    float *to = *buffer = malloc((size ? size : 1) * sizeof *to);
    if (!to)
        return -1;
    for (size_t i = 0; i < size; i++)
        to[i] = value;
    for (size_t image = 0; image < w->images; image++)
        for (size_t row = 0; row < w->height && w->width; row++)
            memcpy(to + ((image * t->height + row + w->before[0]) * t->width + w->before[1]) * w->channels,
                   x + (image * w->height + row) * w->width * w->channels, w->width * w->channels * sizeof *to);
    t->x = to;
    return 0;
}

int bits_convolve_reals(const bits_kernels *kernels, const bits_window *w, const float *x, float pad_value, size_t filters,
                        const void *panels, int codes, const bits_reals_compare *compare, void *out, int threads)
{
    task t = {kernels, w, x, w->height + w->before[0] + w->after[0], w->width + w->before[1] + w->after[1],
              bits_window_size(w, 0), bits_window_size(w, 1), filters, .panels = panels, .codes = codes,
              .compare = compare, .out = out};
    if (!w->images || !t.heights || !t.widths || !filters)
        return 0;
    const int joined = w->dilation[1] == 1; /* the taps of a row of the filter are one run */
    t.length = joined ? w->kernel[1] * w->channels : w->channels;
    t.runs = w->kernel[0] * (joined ? 1 : w->kernel[1]);
    t.along_images = t.heights == 1 && t.widths == 1;
    float *buffer = NULL;
    int failed = (t.offsets = malloc(t.runs * sizeof *t.offsets)) == NULL;
    for (size_t s = 0; !failed && s < t.runs; s++) {
        const size_t u = joined ? s : s / w->kernel[1], v = joined ? 0 : s % w->kernel[1];
        t.offsets[s] = (u * w->dilation[0] * t.width + v * w->dilation[1]) * w->channels;
    }
    if (w->before[0] || w->before[1] || w->after[0] || w->after[1])
        failed = failed || pad(&t, x, pad_value, &buffer);
    if (!failed) {
        if (compare && bits_panels(filters) % 2) /* the last word of a pixel has only one half */
            memset(out, 0, w->images * t.heights * t.widths * bits_words(filters) * sizeof(uint64_t));
        if (t.along_images)
            bits_in_parallel(threads, bits_panels(filters), some_panels, &t);
        else
            bits_in_parallel(threads, w->images * t.heights, some_rows, &t);
    }
    free(buffer), free(t.offsets);
    return failed ? -1 : 0;
}

/* The taps of output position o that lie on the map: first .. end - 1. */
static void taps(const bits_window *w, int axis, size_t o, size_t *first, size_t *end)
{
    const size_t length = axis ? w->width : w->height, start = o * w->stride[axis];
    *first = 0, *end = w->kernel[axis];
    if (!w->before[axis] && !w->after[axis])
        return;
    while (*first < *end && start + *first * w->dilation[axis] < w->before[axis])
        ++*first;
    while (*end > *first && start + (*end - 1) * w->dilation[axis] >= w->before[axis] + length)
        --*end;
}

void bits_max_pool(const bits_kernels *kernels, const bits_window *w, const float *x, float *out)
{
    const size_t heights = bits_window_size(w, 0), widths = bits_window_size(w, 1), channels = w->channels;
    for (size_t image = 0; image < w->images; image++, x += w->height * w->width * channels)
        for (size_t row = 0; row < heights; row++)
            for (size_t column = 0; column < widths; column++, out += channels) {
                size_t top, bottom, left, right, first = 1;
                taps(w, 0, row, &top, &bottom), taps(w, 1, column, &left, &right);
                for (size_t u = top; u < bottom; u++)
                    for (size_t v = left; v < right; v++, first = 0) {
                        const size_t y = row * w->stride[0] + u * w->dilation[0] - w->before[0];
                        const size_t z = column * w->stride[1] + v * w->dilation[1] - w->before[1];
                        const float *values = x + (y * w->width + z) * channels;
                        if (first)
                            memcpy(out, values, channels * sizeof *out);
                        else
                            kernels->larger(out, values, channels);
                    }
            }
}

/* The output positions whose tap u lies on the map: first .. end - 1. */
static void positions(const bits_window *w, int axis, size_t u, size_t *first, size_t *end)
{
    const size_t offset = u * w->dilation[axis], stride = w->stride[axis], outputs = bits_window_size(w, axis);
    const size_t past = w->before[axis] + (axis ? w->width : w->height);
    *first = offset >= w->before[axis] ? 0 : (w->before[axis] - offset + stride - 1) / stride;
    *end = offset >= past ? 0 : (past - offset + stride - 1) / stride;
    *end = *end < outputs ? *end : outputs;
}

/* The value under tap (u, v) of the window at output position (row, first). */
static size_t place(const bits_window *w, size_t row, size_t first, size_t u, size_t v)
{
    const size_t y = row * w->stride[0] + u * w->dilation[0] - w->before[0];
    return y * w->width + first * w->stride[1] + v * w->dilation[1] - w->before[1];
}

void bits_or_pool(const bits_window *w, const uint64_t *x, const uint64_t *inverted, uint64_t *out)
{
    const size_t heights = bits_window_size(w, 0), widths = bits_window_size(w, 1), words = w->channels;
    for (size_t image = 0; image < w->images; image++, x += w->height * w->width * words)
        for (size_t row = 0; row < heights; row++, out += widths * words) {
            size_t top, bottom, first, end;
            taps(w, 0, row, &top, &bottom);
            memset(out, 0, widths * words * sizeof *out);
            for (size_t u = top; u < bottom; u++)
                for (size_t v = 0; v < w->kernel[1]; v++) {
                    positions(w, 1, v, &first, &end);
                    if (first >= end)
                        continue;
                    const uint64_t *from = x + place(w, row, first, u, v) * words;
                    for (size_t column = first; column < end; column++, from += w->stride[1] * words)
                        for (size_t i = 0; i < words; i++)
                            out[column * words + i] |= from[i];
                }
            for (size_t i = 0; inverted && i < widths * words; i++)
                out[i] ^= inverted[i % words];
        }
}

int bits_sum_windows(const bits_window *w, const uint64_t *x, size_t channels, int pad_value, int32_t *out)
{
    const size_t heights = bits_window_size(w, 0), widths = bits_window_size(w, 1), words = w->channels;
    const int32_t outside = pad_value * (int32_t)channels;
    int32_t *more = malloc((w->height * w->width + 1) * sizeof *more); /* of each pixel, than there would be outside */
    if (!more)
        return -1;
    for (size_t image = 0; image < w->images; image++, x += w->height * w->width * words) {
        bits_count_rows(x, w->height * w->width, words, more);
        for (size_t p = 0; p < w->height * w->width; p++)
            more[p] = 2 * more[p] - (int32_t)channels - outside;
        for (size_t row = 0; row < heights; row++, out += widths) {
            size_t top, bottom, first, end;
            taps(w, 0, row, &top, &bottom);
            for (size_t column = 0; column < widths; column++)
                out[column] = outside * (int32_t)(w->kernel[0] * w->kernel[1]);
            for (size_t u = top; u < bottom; u++)
                for (size_t v = 0; v < w->kernel[1]; v++) {
                    positions(w, 1, v, &first, &end);
                    if (first >= end)
                        continue;
                    const int32_t *from = more + place(w, row, first, u, v);
                    for (size_t column = first; column < end; column++, from += w->stride[1])
                        out[column] += *from;
                }
        }
    }
    free(more);
    return 0;
}

void bits_compare(const bits_kernels *kernels, const int32_t *sums, size_t pixels, size_t outputs, size_t steps,
                  const int32_t *thresholds, const uint32_t *flips, uint64_t *out)
{
    const size_t panels = bits_panels(outputs), words = bits_words(outputs), padded = panels * BITS_PANEL;
    for (size_t p = 0; p < pixels; p++, sums += outputs)
        for (size_t s = 0; s < steps; s++) {
            bits_half *to = (bits_half *)(out + (s * pixels + p) * words);
            for (size_t j = 0; j < panels; j++) {
                const size_t left = outputs - j * BITS_PANEL, width = left < BITS_PANEL ? left : BITS_PANEL;
                to[j] = kernels->compared(sums + j * BITS_PANEL, width, thresholds + s * padded + j * BITS_PANEL, flips[j]);
            }
            if (panels % 2)
                to[panels] = 0;
        }
}
