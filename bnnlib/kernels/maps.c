/* Convolutions and pools of maps that are not signs, channels last: float32, and codes of more bits as bytes. Pools of packed
 * maps, too, which go over their windows in the same way. */
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
    const char *x;          /* padded */
    size_t size;            /* bytes of a value */
    size_t height, width;   /* of the padded maps */
    size_t heights, widths; /* of the output */
    size_t filters, runs, length, *offsets;
    const void *panels;
    const bits_results *results;       /* of bytes; or of reals: */
    int codes;
    const bits_reals_compare *compare;
    void *out;
    int along_images;
} task;

static void strip_of_reals(const task *t, size_t panel, const float *first, size_t stride, size_t pixel, size_t rows)
{
    const size_t filter = panel * BITS_PANEL, at = panel * t->runs * t->length * BITS_PANEL;
    const bits_reals a = {first, stride, t->runs, t->length, t->offsets};
    bits_reals_epilogue epilogue = {.width = t->filters - filter < BITS_PANEL ? t->filters - filter : BITS_PANEL};
    if (t->compare) {
        epilogue.thresholds = t->compare->thresholds + filter, epilogue.flips = t->compare->flips[panel];
        epilogue.bits_stride = 2 * bits_words(t->filters);
        epilogue.bits = (bits_half *)t->out + pixel * epilogue.bits_stride + panel;
    } else {
        epilogue.out = (float *)t->out + pixel * t->filters + filter, epilogue.stride = t->filters;
    }
    if (t->codes)
        t->kernels->strip_codes(&a, rows, (const int8_t *)t->panels + at, &epilogue);
    else
        t->kernels->strip_reals(&a, rows, (const float *)t->panels + at, &epilogue);
}

/* Flips as values: -1 where a bit is set, else 0. */
static void turn(uint32_t flips, int32_t turned[BITS_PANEL])
{
    for (size_t c = 0; c < BITS_PANEL; c++)
        turned[c] = -(int32_t)(flips >> c & 1);
}

static void strip_of_bytes(const task *t, size_t panel, const uint8_t *first, size_t stride, size_t pixel, size_t rows)
{
    const bits_results *results = t->results;
    const size_t filter = panel * BITS_PANEL, at = panel * t->runs * t->length * BITS_PANEL;
    const bits_bytes a = {first, stride, t->runs, t->length, t->offsets};
    int32_t turned[BITS_PANEL];
    bits_bytes_epilogue epilogue = {.base = results->base + filter,
                                    .width = t->filters - filter < BITS_PANEL ? t->filters - filter : BITS_PANEL};
    if (results->steps) {
        epilogue.thresholds = results->thresholds + filter, epilogue.steps = results->steps;
        epilogue.step = bits_panels(t->filters) * BITS_PANEL, epilogue.flips = results->flips[panel];
    }
    if (!results->steps) {
        epilogue.out = (int32_t *)t->out + pixel * t->filters + filter, epilogue.stride = t->filters;
    } else if (results->signs) {
        epilogue.bits_stride = 2 * bits_words(t->filters);
        epilogue.bits = (bits_half *)t->out + pixel * epilogue.bits_stride + panel;
    } else {
        turn(epilogue.flips, turned);
        epilogue.turned = turned;
        epilogue.codes = (uint8_t *)t->out + pixel * t->filters + filter, epilogue.codes_stride = t->filters;
    }
    t->kernels->strip_bytes(&a, rows, (const int8_t *)t->panels + at, &epilogue);
}

/* One strip: a row of output pixels, or, where the output is one pixel, that pixel of all images from `image` on. */
static void strip(const task *t, size_t panel, size_t image, size_t row, size_t rows)
{
    const size_t channels = t->w->channels, pixel = (image * t->heights + row) * t->widths; /* of the output */
    const char *first = t->x + (image * t->height + row * t->w->stride[0]) * t->width * channels * t->size;
    const size_t stride = (t->along_images ? t->height * t->width : t->w->stride[1]) * channels;
    if (t->results)
        strip_of_bytes(t, panel, (const uint8_t *)first, stride, pixel, rows);
    else
        strip_of_reals(t, panel, (const float *)(const void *)first, stride, pixel, rows);
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

/* Copies the maps into a buffer of padded ones; strips of bytes may read up to three bytes past its last value. */
static int pad(task *t, const void *value, char **buffer)
{
    const bits_window *w = t->w;
    const size_t count = w->images * t->height * t->width * w->channels, row_bytes = w->width * w->channels * t->size;
    char *to = *buffer = malloc(count * t->size + 4);
    if (!to)
        return -1;
    if (t->size == 1)
        memset(to, *(const uint8_t *)value, count + 4);
    else
        for (size_t i = 0; i < count; i++)
            ((float *)(void *)to)[i] = *(const float *)value;
    for (size_t image = 0; image < w->images; image++)
        for (size_t row = 0; row < w->height && w->width; row++)
            memcpy(to + ((image * t->height + row + w->before[0]) * t->width + w->before[1]) * w->channels * t->size,
                   t->x + (image * w->height + row) * row_bytes, row_bytes);
    t->x = to;
    return 0;
}

/* Convolves maps of floats or bytes, whatever the task says of panels and results. */
static int convolve(task *t, const void *pad_value, int threads)
{
    const bits_window *w = t->w;
    t->height = w->height + w->before[0] + w->after[0], t->width = w->width + w->before[1] + w->after[1];
    t->heights = bits_window_size(w, 0), t->widths = bits_window_size(w, 1);
    if (!w->images || !t->heights || !t->widths || !t->filters)
        return 0;
    const int joined = w->dilation[1] == 1; /* the taps of a row of the filter are one run */
    t->length = joined ? w->kernel[1] * w->channels : w->channels;
    t->runs = w->kernel[0] * (joined ? 1 : w->kernel[1]);
    t->along_images = t->heights == 1 && t->widths == 1;
    const int ragged = t->size == 1 && t->length % 4; /* a run of bytes reaches past its last value */
    t->length += ragged ? 4 - t->length % 4 : 0;
    char *buffer = NULL;
    int failed = (t->offsets = malloc(t->runs * sizeof *t->offsets)) == NULL;
    for (size_t s = 0; !failed && s < t->runs; s++) {
        const size_t u = joined ? s : s / w->kernel[1], v = joined ? 0 : s % w->kernel[1];
        t->offsets[s] = (u * w->dilation[0] * t->width + v * w->dilation[1]) * w->channels;
    }
    if (w->before[0] || w->before[1] || w->after[0] || w->after[1] || ragged)
        failed = failed || pad(t, pad_value, &buffer);
    if (!failed) {
        const int bits = t->results ? t->results->steps && t->results->signs : t->compare != NULL;
        if (bits && bits_panels(t->filters) % 2) /* the last word of a pixel has only one half */
            memset(t->out, 0, w->images * t->heights * t->widths * bits_words(t->filters) * sizeof(uint64_t));
        if (t->along_images)
            bits_in_parallel(threads, bits_panels(t->filters), some_panels, t);
        else
            bits_in_parallel(threads, w->images * t->heights, some_rows, t);
    }
    free(buffer), free(t->offsets);
    return failed ? -1 : 0;
}

int bits_convolve_reals(const bits_kernels *kernels, const bits_window *w, const float *x, float pad_value, size_t filters,
                        const void *panels, int codes, const bits_reals_compare *compare, void *out, int threads)
{
    task t = {.kernels = kernels, .w = w, .x = (const char *)x, .size = sizeof *x, .filters = filters, .panels = panels,
              .codes = codes, .compare = compare, .out = out};
    return convolve(&t, &pad_value, threads);
}

int bits_convolve_bytes(const bits_kernels *kernels, const bits_window *w, const uint8_t *x, uint8_t pad_value, size_t filters,
                        const int8_t *panels, const bits_results *results, void *out, int threads)
{
    task t = {.kernels = kernels, .w = w, .x = (const char *)x, .size = sizeof *x, .filters = filters, .panels = panels,
              .results = results, .out = out};
    return convolve(&t, &pad_value, threads);
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

/* The value under tap (u, v) of the window at output position (row, column). */
static size_t place(const bits_window *w, size_t row, size_t column, size_t u, size_t v)
{
    const size_t y = row * w->stride[0] + u * w->dilation[0] - w->before[0];
    return y * w->width + column * w->stride[1] + v * w->dilation[1] - w->before[1];
}

/* most = max(most, x), n bytes; sixteen at a time, which is one vector everywhere. */
static void larger_bytes(uint8_t *restrict most, const uint8_t *restrict x, size_t n)
{
    for (; n >= 16; n -= 16, most += 16, x += 16)
        for (size_t i = 0; i < 16; i++)
            most[i] = x[i] > most[i] ? x[i] : most[i];
    for (size_t i = 0; i < n; i++)
        most[i] = x[i] > most[i] ? x[i] : most[i];
}

void bits_max_pool_bytes(const bits_window *w, const uint8_t *x, uint8_t steps, const uint8_t *inverted, uint8_t *out)
{
    const size_t heights = bits_window_size(w, 0), widths = bits_window_size(w, 1), channels = w->channels;
    for (size_t image = 0; image < w->images; image++, x += w->height * w->width * channels)
        for (size_t row = 0; row < heights; row++, out += widths * channels) {
            size_t top, bottom, first, end;
            taps(w, 0, row, &top, &bottom);
            memset(out, 0, widths * channels);
            for (size_t u = top; u < bottom; u++)
                for (size_t v = 0; v < w->kernel[1]; v++) {
                    positions(w, 1, v, &first, &end);
                    const uint8_t *from = first < end ? x + place(w, row, first, u, v) * channels : NULL;
                    for (size_t column = first; column < end; column++, from += w->stride[1] * channels)
                        larger_bytes(out + column * channels, from, channels);
                }
            for (size_t i = 0; inverted && i < widths * channels; i += channels)
                for (size_t c = 0; c < channels; c++)
                    out[i + c] = inverted[c] ? (uint8_t)(steps - out[i + c]) : out[i + c];
        }
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

void bits_compare(const bits_kernels *kernels, const int32_t *sums, size_t pixels, size_t outputs, const bits_results *results,
                  void *out)
{
    const size_t panels = bits_panels(outputs), words = bits_words(outputs), step = panels * BITS_PANEL;
    for (size_t j = 0; j < panels; j++) {
        const size_t from = j * BITS_PANEL, left = outputs - from, width = left < BITS_PANEL ? left : BITS_PANEL;
        int32_t turned[BITS_PANEL], some[BITS_PANEL] = {0};
        turn(results->flips[j], turned);
        for (size_t p = 0; p < pixels; p++) {
            const int32_t *values = sums + p * outputs + from;
            if (results->signs) {
                bits_half *to = (bits_half *)out + 2 * p * words + j;
                to[0] = kernels->compared(values, width, results->thresholds + from, results->flips[j]);
                if (j == panels - 1 && panels % 2)
                    to[1] = 0;
                continue;
            }
            if (width < BITS_PANEL)
                values = memcpy(some, values, width * sizeof *values);
            kernels->coded(values, width, results->thresholds + from, results->steps, step, turned,
                           (uint8_t *)out + p * outputs + from);
        }
    }
}
