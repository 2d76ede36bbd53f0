/* The C core against its reference kernels on random shapes, without Python: for emulators and sanitizers.
 * Prints what it ran; its exit status is 1 at the first difference. The first argument sets the number of shapes. With a
 * second one every allocation inside the core is refused once: the call must report it and hold no memory.
 * Link it with -Wl,--wrap=malloc,--wrap=calloc,--wrap=free. */
#include "bits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 88172645463325252u;

static uint64_t next(void) /* xorshift */
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static size_t below(size_t limit) { return (size_t)(next() % limit); }

static int refusing;         /* the second argument was given */
static _Atomic long asked;   /* allocations since a call began */
static long refused = -1;    /* which of them fails; -1: none */
static _Atomic long held;    /* blocks allocated and not yet freed */
static long refusals, begun; /* failures so far; blocks held when a call began */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void __real_free(void *block);

static void *counted(void *block)
{
    if (block)
        held++;
    return block;
}

void *__wrap_malloc(size_t bytes) { return asked++ == refused ? NULL : counted(__real_malloc(bytes)); }

void *__wrap_calloc(size_t count, size_t bytes)
{
    return asked++ == refused ? NULL : counted(__real_calloc(count, bytes));
}

void __wrap_free(void *block)
{
    if (block)
        held--;
    __real_free(block);
}

static void begin(void)
{
    refused = refusing ? 0 : -1;
    asked = 0;
    begun = held;
}

/* Whether to call again, with the next allocation refused. A call that hides a failure or keeps memory gives 1. */
static int again(int *result)
{
    const int failure = refused >= 0 && asked > refused;
    if (*result != (failure ? -1 : 0) || held != begun)
        *result = 1;
    refusals += failure;
    refused = failure && *result == -1 ? refused + 1 : -1;
    asked = 0;
    return refused >= 0;
}

/* The result of a call that got all its memory, after those in which one allocation failed. */
#define REFUSING_EACH_ALLOCATION(call) ({ int result; begin(); do result = (call); while (again(&result)); result; })

/* Exactly as many bytes as asked for, so that a sanitizer sees the first access past the end. */
static void *buffer(size_t bytes) { return malloc(bytes ? bytes : 1); }

/* Large outputs at an address that streaming stores can use. */
static void *aligned_buffer(size_t bytes) { return aligned_alloc(64, (bytes + 64) / 64 * 64); }

static uint64_t *random_rows(size_t rows, size_t columns)
{
    const size_t words = bits_words(columns);
    uint64_t *bits = buffer(rows * words * sizeof *bits);
    for (size_t i = 0; i < rows * words; i++) {
        bits[i] = next();
        if (columns % 64 && (i + 1) % words == 0)
            bits[i] &= ((uint64_t)1 << columns % 64) - 1;
    }
    return bits;
}

static uint32_t *panels_of(const uint64_t *b, size_t groups, size_t rows, size_t words)
{
    const size_t size = bits_panels(rows) * bits_panel_size(words);
    uint32_t *panels = aligned_alloc(64, groups * size * sizeof *panels + 64);
    for (size_t g = 0; g < groups; g++)
        bits_to_panels(b + g * rows * words, rows, words, words, panels + g * size);
    return panels;
}

static bits_thresholds random_thresholds(size_t n, size_t columns)
{
    int32_t *thresholds = buffer(n * sizeof *thresholds);
    uint8_t *flips = buffer(n);
    for (size_t j = 0; j < n; j++) {
        thresholds[j] = (int32_t)below(columns / 4 + 3) - (int32_t)(columns / 8);
        flips[j] = (uint8_t)below(2);
    }
    return (bits_thresholds){thresholds, flips};
}

static void forget(bits_thresholds *compare) { free((void *)compare->thresholds), free((void *)compare->flips); }

static int failed(const bits_kernels *kernels, const char *what, size_t x, size_t y, size_t z)
{
    fprintf(stderr, "%s: %s differs at %zu x %zu x %zu\n", kernels->name, what, x, y, z);
    return 1;
}

static int products(const bits_kernels *kernels, size_t m, size_t n, size_t columns, int threads)
{
    const size_t words = bits_words(columns), stride = words + below(3);
    uint64_t *a = random_rows(m, columns), *b = random_rows(n, columns), *spread = buffer(m * stride * sizeof *spread);
    for (size_t i = 0; i < m * stride; i++) /* the same rows with other words between them */
        spread[i] = i % stride < words ? a[i / stride * words + i % stride] : next();
    uint32_t *panels = panels_of(b, 1, n, words);
    int32_t *expected = buffer(m * n * sizeof *expected), *out = aligned_buffer(m * n * sizeof *out);
    bits_thresholds compare = random_thresholds(n, columns);
    uint64_t *expected_bits = buffer(m * bits_words(n) * 8), *out_bits = buffer(m * bits_words(n) * 8);
    bits_reference_matmul(a, b, m, n, columns, expected);
    bits_reference_compare(expected, m, n, &compare, expected_bits);
    memset(out, 0x55, m * n * sizeof *out);
    memset(out_bits, 0x55, m * bits_words(n) * 8);
    int bad = 0;
    if (REFUSING_EACH_ALLOCATION(bits_matmul(kernels, spread, stride, panels, m, n, columns, NULL, out, threads))
        || memcmp(out, expected, m * n * 4))
        bad = failed(kernels, "matmul", m, n, columns);
    memset(out, 0x55, m * n * sizeof *out);
    kernels->loops(a, b, m, n, columns, out);
    if (memcmp(out, expected, m * n * 4))
        bad = failed(kernels, "matmul by loops", m, n, columns);
    if (REFUSING_EACH_ALLOCATION(bits_matmul(kernels, spread, stride, panels, m, n, columns, &compare, out_bits, threads))
        || memcmp(out_bits, expected_bits, m * bits_words(n) * 8))
        bad = failed(kernels, "matmul with thresholds", m, n, columns);
    if (m && columns % 64) {
        if (bits_set_past_end(spread, m, columns, stride))
            bad = failed(kernels, "bits past the last column, of which there are none,", m, n, columns);
        spread[below(m) * stride + words - 1] |= (uint64_t)1 << (columns % 64 + below(64 - columns % 64));
        if (!bits_set_past_end(spread, m, columns, stride))
            bad = failed(kernels, "a bit past the last column", m, n, columns);
    }
    free(a), free(b), free(spread), free(panels), free(expected), free(out), free(expected_bits), free(out_bits), forget(&compare);
    return bad;
}

static int values(const bits_kernels *kernels, size_t m, size_t n, size_t columns, int threads)
{
    const size_t words = bits_words(columns), stride = 1 + below(columns + 40); /* rows may overlap */
    const size_t size = m ? (m - 1) * stride + columns : 0, lowest = below(2);
    int8_t *a = buffer(size);
    for (size_t i = 0; i < size; i++)
        a[i] = lowest ? -128 : (int8_t)((int)below(256) - 128);
    uint64_t *b = random_rows(n, columns);
    uint32_t *panels = panels_of(b, 1, n, words);
    int32_t *expected = buffer(m * n * 4), *out = buffer(m * n * 4);
    bits_thresholds compare = random_thresholds(n, columns);
    uint64_t *expected_bits = buffer(m * bits_words(n) * 8), *out_bits = buffer(m * bits_words(n) * 8);
    bits_reference_matmul_i8(a, stride, b, m, n, columns, expected);
    bits_reference_compare(expected, m, n, &compare, expected_bits);
    int bad = 0;
    if (REFUSING_EACH_ALLOCATION(bits_matmul_i8(kernels, a, stride, panels, m, n, columns, NULL, out, threads))
        || memcmp(out, expected, m * n * 4))
        bad = failed(kernels, "matmul of int8", m, n, columns);
    if (REFUSING_EACH_ALLOCATION(bits_matmul_i8(kernels, a, stride, panels, m, n, columns, &compare, out_bits, threads))
        || memcmp(out_bits, expected_bits, m * bits_words(n) * 8))
        bad = failed(kernels, "matmul of int8 with thresholds", m, n, columns);
    free(a), free(b), free(panels), free(expected), free(out), free(expected_bits), free(out_bits), forget(&compare);
    return bad;
}

static int planes(const bits_kernels *kernels, size_t m, size_t n, size_t columns, int threads)
{
    static const int32_t is_signed[] = {1, -2}, is_unsigned[] = {1, 2, 4};
    const size_t words = bits_words(columns), left = 1 + below(3), right = 1 + below(2);
    uint64_t *a = random_rows(left * m, columns), *b = random_rows(right * n, columns);
    int32_t *a_sums = buffer(m * 4), *b_sums = buffer(n * 4), *counts = buffer((left * m + right * n) * 4);
    bits_count_rows(a, left * m, words, counts), bits_count_rows(b, right * n, words, counts + left * m);
    for (size_t i = 0; i < m; i++) {
        a_sums[i] = 0;
        for (size_t p = 0; p < left; p++)
            a_sums[i] += is_unsigned[p] * counts[p * m + i];
    }
    for (size_t j = 0; j < n; j++) {
        b_sums[j] = 0;
        for (size_t p = 0; p < right; p++)
            b_sums[j] += is_signed[p] * counts[left * m + p * n + j];
    }
    const bits_planes a_planes = {left, is_unsigned, a_sums}, b_planes = {right, is_signed, b_sums};
    uint32_t *panels = panels_of(b, right, n, words);
    int32_t *expected = buffer(m * n * 4), *out = buffer(m * n * 4);
    bits_reference_planes(a, &a_planes, b, &b_planes, m, n, columns, expected);
    int bad = 0;
    if (REFUSING_EACH_ALLOCATION(bits_matmul_planes(kernels, a, &a_planes, panels, &b_planes, m, n, columns, out, threads))
        || memcmp(out, expected, m * n * 4))
        bad = failed(kernels, "matmul of planes", m, n, columns);
    free(a), free(b), free(a_sums), free(b_sums), free(counts), free(panels), free(expected), free(out);
    return bad;
}

/* Filters as panels want them: where a pixel fills half a word, each second row of a filter above the one before it. */
static uint32_t *panels_of_filters(const bits_convolution *c, const uint64_t *filters)
{
    const size_t height = c->kernel[0], width = c->kernel[1], words = bits_filter_words(c);
    const size_t count = c->groups * c->filters;
    if (c->channels > 32 || height == 1)
        return panels_of(filters, c->groups, c->filters, words);
    uint64_t *paired = calloc(count * words + 1, 8);
    for (size_t f = 0; f < count; f++)
        for (size_t u = 0; u < height; u++)
            for (size_t v = 0; v < width; v++)
                paired[f * words + u / 2 * width + v] |= filters[(f * height + u) * width + v] << u % 2 * 32;
    uint32_t *panels = panels_of(paired, c->groups, c->filters, words);
    free(paired);
    return panels;
}

static int convolution(const bits_kernels *kernels, int large, int threads)
{
    bits_convolution c = {
        .images = below(5) ? 1 + below(3) : 1 + below(30), .height = below(10), .width = below(21),
        .groups = 1 + below(2), .channels = below(4) ? 1 + below(70) : 1 + below(200), .filters = 1 + below(70),
        .kernel = {1 + below(3), 1 + below(4)}, .stride = {1 + below(2), 1 + below(2)},
        .dilation = {1 + below(2), 1 + below(2)}, .padding = {below(3), below(4)}, .pad_value = (int)below(3) - 1};
    if (large) { /* for streaming stores */
        c.images = 10, c.height = c.width = 36, c.filters = 64, c.groups = 1, c.channels = 1 + below(70);
        c.stride[0] = c.stride[1] = 1;
    }
    const size_t heights = bits_convolution_size(&c, 0), widths = bits_convolution_size(&c, 1);
    if (!heights || !widths)
        return 0;
    const size_t words = bits_words(c.channels), taps = c.kernel[0] * c.kernel[1], outputs = c.groups * c.filters;
    const size_t pixels = c.images * heights * widths, size = bits_panels(c.filters) * BITS_PANEL;
    uint64_t *x = random_rows(c.images * c.height * c.width * c.groups, c.channels);
    uint64_t *filters = random_rows(outputs * taps, c.channels);
    uint32_t *panels = panels_of_filters(&c, filters);
    int32_t *ones = buffer(outputs * taps * 4), *tap_sums = calloc(c.groups * taps * size, 4);
    bits_count_rows(filters, outputs * taps, words, ones);
    for (size_t f = 0; f < outputs; f++)
        for (size_t t = 0; t < taps; t++)
            tap_sums[(f / c.filters * taps + t) * size + f % c.filters] = 2 * ones[f * taps + t] - (int32_t)c.channels;
    int32_t *expected = buffer(pixels * outputs * 4), *out = aligned_buffer(pixels * outputs * 4);
    bits_thresholds compare = random_thresholds(outputs, taps * c.channels);
    uint64_t *expected_bits = buffer(pixels * bits_words(outputs) * 8), *out_bits = buffer(pixels * bits_words(outputs) * 8);
    bits_reference_convolve(&c, x, filters, expected);
    bits_reference_compare(expected, pixels, outputs, &compare, expected_bits);
    int bad = 0;
    if (REFUSING_EACH_ALLOCATION(bits_convolve(kernels, &c, x, panels, tap_sums, NULL, NULL, out, threads))
        || memcmp(out, expected, pixels * outputs * 4))
        bad = failed(kernels, "convolution", heights, widths, c.channels);
    bits_border *border;
    if (REFUSING_EACH_ALLOCATION((border = bits_border_make(&c, tap_sums)) ? (bits_border_free(border), 0) : -1))
        bad = failed(kernels, "border", heights, widths, c.channels);
    border = bits_border_make(&c, tap_sums);
    if ((c.groups == 1 || c.filters % 64 == 0)
        && (REFUSING_EACH_ALLOCATION(bits_convolve(kernels, &c, x, panels, NULL, border, &compare, out_bits, threads))
            || memcmp(out_bits, expected_bits, pixels * bits_words(outputs) * 8)))
        bad = failed(kernels, "convolution with thresholds", heights, widths, c.channels);
    free(x), free(filters), free(panels), free(ones), free(tap_sums), free(expected), free(out);
    free(expected_bits), free(out_bits), forget(&compare), bits_border_free(border);
    return bad;
}

static float *random_wholes(size_t count, int largest)
{
    float *x = buffer(count * sizeof *x);
    for (size_t i = 0; i < count; i++)
        x[i] = (float)((int)below((size_t)(2 * largest + 1)) - largest);
    return x;
}

/* A window over a few small maps, or over many. */
static bits_window random_window(void)
{
    bits_window w = {.images = below(3) ? 1 + below(3) : 1 + below(30), .height = 1 + below(9), .width = 1 + below(40),
                     .channels = 1 + below(below(4) ? 20 : 150), .kernel = {1 + below(3), 1 + below(4)},
                     .stride = {1 + below(2), 1 + below(2)}, .dilation = {1 + below(2), 1 + below(2)}};
    for (int i = 0; i < 2; i++)
        w.before[i] = below(w.kernel[i]), w.after[i] = below(w.kernel[i]);
    return w;
}

/* Whole numbers, whose sums are exact in whatever order. */
static int reals(const bits_kernels *kernels, int threads)
{
    const bits_window w = random_window();
    const size_t heights = bits_window_size(&w, 0), widths = bits_window_size(&w, 1), filters = 1 + below(100);
    if (!heights || !widths)
        return 0;
    const size_t pixels = w.images * heights * widths, each = w.kernel[0] * w.kernel[1] * w.channels;
    const size_t panels = bits_panels(filters), words = bits_words(filters), size = w.images * w.height * w.width * w.channels;
    float *x = random_wholes(size, 255), *weights = random_wholes(filters * each, 127);
    float *as_reals = aligned_buffer(panels * BITS_PANEL * each * 4), *thresholds = random_wholes(panels * BITS_PANEL, 9999);
    int8_t *as_codes = aligned_buffer(panels * BITS_PANEL * each);
    uint32_t *flips = buffer(panels * 4);
    for (size_t f = 0; f < panels * BITS_PANEL; f++) {
        if (f % BITS_PANEL == 0)
            flips[f / BITS_PANEL] = (uint32_t)next();
        for (size_t k = 0; k < each; k++) {
            const size_t at = (f / BITS_PANEL * each + k) * BITS_PANEL + f % BITS_PANEL;
            as_reals[at] = f < filters ? weights[f * each + k] : 0;
            as_codes[at] = (int8_t)as_reals[at];
        }
    }
    const float around = (float)((int)below(3) - 1);
    float *expected = buffer(pixels * filters * 4), *out = buffer(pixels * filters * 4);
    uint64_t *expected_bits = buffer(pixels * words * 8), *out_bits = buffer(pixels * words * 8);
    bits_reference_convolve_reals(&w, x, around, filters, weights, expected);
    memset(expected_bits, 0, pixels * words * 8);
    for (size_t i = 0; i < pixels * filters; i++) {
        const size_t f = i % filters;
        const int flip = flips[f / BITS_PANEL] >> f % BITS_PANEL & 1;
        expected_bits[i / filters * words + f / 64] |= (uint64_t)((expected[i] >= thresholds[f]) ^ flip) << f % 64;
    }
    const bits_reals_compare compare = {thresholds, flips};
    int bad = 0;
    for (int codes = 0; codes < 2; codes++) {
        const void *given = codes ? (const void *)as_codes : (const void *)as_reals;
        memset(out, 0x55, pixels * filters * 4), memset(out_bits, 0x55, pixels * words * 8);
        if (REFUSING_EACH_ALLOCATION(bits_convolve_reals(kernels, &w, x, around, filters, given, codes, NULL, out, threads))
            || memcmp(out, expected, pixels * filters * 4))
            bad = failed(kernels, "convolution of reals", heights, widths, filters);
        if (REFUSING_EACH_ALLOCATION(
                bits_convolve_reals(kernels, &w, x, around, filters, given, codes, &compare, out_bits, threads))
            || memcmp(out_bits, expected_bits, pixels * words * 8))
            bad = failed(kernels, "convolution of reals with thresholds", heights, widths, filters);
    }
    const int covered = w.dilation[0] == 1 && w.dilation[1] == 1; /* every window has something of the map under it */
    float *most = buffer(pixels * w.channels * 4), *pooled = buffer(pixels * w.channels * 4);
    memset(most, 0, pixels * w.channels * 4), memset(pooled, 0, pixels * w.channels * 4);
    bits_reference_max_pool(&w, x, most);
    if (covered)
        bits_max_pool(kernels, &w, x, pooled);
    if (covered && memcmp(most, pooled, pixels * w.channels * 4))
        bad = failed(kernels, "max pool", heights, widths, w.channels);

    /* Bits: an OR is the largest of the signs. */
    bits_window packed = w;
    packed.channels = bits_words(w.channels);
    uint64_t *bits = random_rows(w.images * w.height * w.width, w.channels), *inverted = random_rows(1, w.channels);
    uint64_t *ored = buffer(pixels * packed.channels * 8), *largest = buffer(pixels * packed.channels * 8);
    bits_unpack_f32(bits, w.images * w.height * w.width, w.channels, x);
    bits_reference_max_pool(&w, x, most), bits_reference_pack(most, pixels, w.channels, largest);
    for (size_t i = 0; i < pixels * packed.channels; i++)
        largest[i] ^= inverted[i % packed.channels];
    bits_or_pool(&packed, bits, inverted, ored);
    if (covered && memcmp(ored, largest, pixels * packed.channels * 8))
        bad = failed(kernels, "pool over bits", heights, widths, w.channels);

    /* Steps from value to value: each as written. */
    float *a = random_wholes(size, 3), *b = random_wholes(size, 3), *made = buffer(size * 4);
    const bits_pointwise steps[] = {{BITS_MULTIPLY, a, NULL, 0, 0}, {BITS_DIVIDE, NULL, NULL, 4, 0}, {BITS_NORM, a, b, 0, 0},
                                    {BITS_BEND, a, NULL, 0, 0},     {BITS_ADD, b, NULL, 0, 0},
                                    {BITS_CLIP, NULL, NULL, -9, 7}, {BITS_ROUND, NULL, NULL, 0, 0}};
    const size_t period = 1 + below(size);
    kernels->pointwise(x, NULL, size, period, steps, sizeof steps / sizeof *steps, made);
    for (size_t i = 0; i < size; i++) {
        const float of_a = a[i % period], of_b = b[i % period];
        float y = x[i] * of_a / 4 * of_a + of_b; /* quarters: all of it is exact */
        y = (y > 0 ? y : y * of_a) + of_b;
        y = y < -9 ? -9 : y > 7 ? 7 : y;
        const int down = (int)(y + 16) - 16; /* half to even */
        const float part = y - (float)down;
        y = (float)(part > 0.5f || (part == 0.5f && down % 2) ? down + 1 : down);
        if (made[i] != y) {
            bad = failed(kernels, "steps from value to value", i, period, size);
            break;
        }
    }
    free(x), free(weights), free(as_reals), free(as_codes), free(thresholds), free(flips), free(expected), free(out);
    free(expected_bits), free(out_bits), free(most), free(pooled), free(bits), free(inverted), free(ored), free(largest);
    free(a), free(b), free(made);
    return bad;
}

/* Codes as bytes, with all values that they and their weights may have. */
static int bytes(const bits_kernels *kernels, int threads)
{
    const bits_window w = random_window();
    const size_t heights = bits_window_size(&w, 0), widths = bits_window_size(&w, 1), filters = 1 + below(100);
    if (!heights || !widths)
        return 0;
    const int joined = w.dilation[1] == 1, largest = below(2) ? 255 : 3;
    const size_t run = w.channels * (joined ? w.kernel[1] : 1), runs = w.kernel[0] * (joined ? 1 : w.kernel[1]);
    const size_t quads = run / 4 + (run % 4 != 0), each = run * runs, size = w.images * w.height * w.width * w.channels;
    const size_t pixels = w.images * heights * widths, panels = bits_panels(filters), padded = panels * BITS_PANEL;
    const size_t words = bits_words(filters), steps = 1 + below(4);
    uint8_t *x = buffer(size), around = (uint8_t)below((size_t)largest + 1);
    int8_t *weights = buffer(filters * each), *in_panels = aligned_buffer(padded * runs * quads * 4);
    int32_t *base = buffer(padded * 4), *thresholds = buffer(steps * padded * 4);
    uint32_t *flips = buffer(panels * 4);
    for (size_t i = 0; i < size; i++)
        x[i] = (uint8_t)below((size_t)largest + 1);
    for (size_t i = 0; i < filters * each; i++)
        weights[i] = (int8_t)(largest == 255 ? (int)below(256) - 128 : (int)below(4) - 2);
    memset(in_panels, 0, padded * runs * quads * 4);
    for (size_t f = 0; f < filters; f++)
        for (size_t r = 0; r < runs; r++)
            for (size_t k = 0; k < run; k++) {
                const size_t quad = (f / BITS_PANEL * runs + r) * quads + k / 4;
                in_panels[(quad * BITS_PANEL + f % BITS_PANEL) * 4 + k % 4] = weights[f * each + r * run + k];
            }
    for (size_t f = 0; f < padded; f++) {
        base[f] = (int32_t)below(2001) - 1000;
        for (size_t s = 0; s < steps; s++)
            thresholds[s * padded + f] = (int32_t)below(9999) - 5000;
    }
    for (size_t j = 0; j < panels; j++)
        flips[j] = (uint32_t)next();
    int32_t *expected = buffer(pixels * filters * 4), *out = buffer(pixels * filters * 4);
    uint8_t *expected_codes = buffer(pixels * filters), *codes = buffer(pixels * filters);
    uint64_t *expected_bits = buffer(pixels * words * 8), *bits = buffer(pixels * words * 8);
    bits_reference_convolve_bytes(&w, x, around, filters, weights, expected);
    memset(expected_bits, 0, pixels * words * 8);
    for (size_t i = 0; i < pixels * filters; i++) {
        const size_t f = i % filters;
        const int flip = flips[f / BITS_PANEL] >> f % BITS_PANEL & 1;
        expected[i] += base[f];
        expected_codes[i] = 0;
        for (size_t s = 0; s < steps; s++)
            expected_codes[i] = (uint8_t)(expected_codes[i] + ((expected[i] >= thresholds[s * padded + f]) != flip));
        expected_bits[i / filters * words + f / 64] |= (uint64_t)((expected[i] >= thresholds[f]) != flip) << f % 64;
    }
    int bad = 0;
    bits_results results = {.base = base};
    if (REFUSING_EACH_ALLOCATION(
            bits_convolve_bytes(kernels, &w, x, around, filters, in_panels, &results, out, threads))
        || memcmp(out, expected, pixels * filters * 4))
        bad = failed(kernels, "convolution of bytes", heights, widths, filters);
    results = (bits_results){base, steps, thresholds, flips, 0};
    memset(codes, 0x55, pixels * filters);
    if (REFUSING_EACH_ALLOCATION(
            bits_convolve_bytes(kernels, &w, x, around, filters, in_panels, &results, codes, threads))
        || memcmp(codes, expected_codes, pixels * filters))
        bad = failed(kernels, "convolution of bytes to codes", heights, widths, filters);
    memset(codes, 0x55, pixels * filters);
    bits_compare(kernels, expected, pixels, filters, &results, codes);
    if (memcmp(codes, expected_codes, pixels * filters))
        bad = failed(kernels, "codes of sums", heights, widths, filters);
    results = (bits_results){base, 1, thresholds, flips, 1};
    memset(bits, 0x55, pixels * words * 8);
    if (REFUSING_EACH_ALLOCATION(
            bits_convolve_bytes(kernels, &w, x, around, filters, in_panels, &results, bits, threads))
        || memcmp(bits, expected_bits, pixels * words * 8))
        bad = failed(kernels, "convolution of bytes to bits", heights, widths, filters);
    memset(bits, 0x55, pixels * words * 8);
    bits_compare(kernels, expected, pixels, filters, &results, bits);
    if (memcmp(bits, expected_bits, pixels * words * 8))
        bad = failed(kernels, "bits of sums", heights, widths, filters);

    /* The largest of each window, which floats have too. */
    float *as_reals = buffer(size * 4), *most = buffer(pixels * w.channels * 4);
    uint8_t *inverted = buffer(w.channels), *pooled = buffer(pixels * w.channels), *back = buffer(size);
    for (size_t i = 0; i < size; i++)
        as_reals[i] = (float)x[i] - 100;
    for (size_t c = 0; c < w.channels; c++)
        inverted[c] = (uint8_t)below(2);
    kernels->to_bytes(as_reals, size, -100, back);
    if (memcmp(back, x, size))
        bad = failed(kernels, "floats to bytes", heights, widths, w.channels);
    if (w.dilation[0] == 1 && w.dilation[1] == 1) { /* every window has something of the map under it */
        bits_reference_max_pool(&w, as_reals, most);
        bits_max_pool_bytes(&w, x, (uint8_t)largest, inverted, pooled);
        for (size_t i = 0; i < pixels * w.channels; i++) {
            const int value = (int)most[i] + 100;
            if (pooled[i] != (inverted[i % w.channels] ? largest - value : value)) {
                bad = failed(kernels, "pool over bytes", heights, widths, w.channels);
                break;
            }
        }
    }
    free(x), free(weights), free(in_panels), free(base), free(thresholds), free(flips), free(expected), free(out);
    free(expected_codes), free(codes), free(expected_bits), free(bits), free(as_reals), free(most), free(inverted);
    free(pooled), free(back);
    return bad;
}

/* Signs of shifted maps, and that their gradient stays inside its arrays; its values are compared in Python. */
static int shifted(const bits_kernels *kernels, int threads)
{
    const size_t samples = 1 + below(4), pixels = 1 + below(70), channels = 1 + below(below(2) ? 20 : 600);
    const size_t count = samples * pixels * channels;
    float *x = buffer(count * 4), *out = buffer(count * 4), *shift = buffer(channels * 4), *of = buffer(samples * channels * 4);
    uint16_t *half = buffer(count * 2), *half_out = buffer(count * 2);
    int bad = 0;
    for (size_t c = 0; c < channels; c++)
        shift[c] = (float)below(5) - 2;
    for (size_t i = 0; i < count; i++) { /* small whole numbers: their bfloat16 is the upper half of the float */
        uint32_t wide;
        x[i] = (float)below(7) - 3;
        memcpy(&wide, &x[i], 4);
        half[i] = (uint16_t)(wide >> 16);
    }
    const bits_shifted maps = {x, 0, samples, pixels, channels}, halves = {half, 1, samples, pixels, channels};
    if (REFUSING_EACH_ALLOCATION(bits_shifted_signs(kernels, &maps, shift, out, threads))
        || REFUSING_EACH_ALLOCATION(bits_shifted_signs(kernels, &halves, shift, half_out, threads)))
        bad = failed(kernels, "signs of shifted maps", samples, pixels, channels);
    for (size_t i = 0; !bad && i < count; i++) {
        const int above = x[i] + shift[i % channels] >= 0;
        if (out[i] != (above ? 1.0f : -1.0f) || half_out[i] != (above ? 0x3f80 : 0xbf80))
            bad = failed(kernels, "signs of shifted maps", samples, pixels, channels);
    }
    if (REFUSING_EACH_ALLOCATION(bits_shifted_gradient(kernels, &maps, shift, 1, 1e-5f, x, out, of, threads))
        || REFUSING_EACH_ALLOCATION(bits_shifted_gradient(kernels, &halves, shift, 1, 1e-5f, half, half_out, of, threads)))
        bad = failed(kernels, "gradient of shifted maps", samples, pixels, channels);
    free(x), free(out), free(shift), free(of), free(half), free(half_out);
    return bad;
}

static int packing(const bits_kernels *kernels, size_t rows, size_t columns)
{
    const size_t words = bits_words(columns), size = rows * columns;
    float *x = buffer(size * sizeof *x), *turned = buffer(size * sizeof *turned), *back = buffer(size * sizeof *back);
    double *wide = buffer(size * sizeof *wide);
    int8_t *small = buffer(size), *small_back = buffer(size);
    uint8_t *truth = buffer(size);
    size_t nans = 0;
    for (size_t i = 0; i < size; i++) {
        static const float some[] = {-2.0f, -1.0f, -0.0f, 0.0f, 1e-40f, 3.0f};
        x[i] = below(50) ? some[below(6)] : 0.0f / (float)(next() % 1); /* now and then a NaN */
        nans += x[i] != x[i];
        wide[i] = x[i];
        small[i] = (int8_t)(x[i] >= 0.0f ? (int)below(128) : -1 - (int)below(128));
        truth[i] = (uint8_t)(x[i] >= 0.0f ? 1 + below(255) : 0);
        turned[i % columns * rows + i / columns] = x[i];
    }
    uint64_t *expected = buffer(rows * words * 8), *out = buffer(rows * words * 8);
    bits_reference_pack(x, rows, columns, expected);
    int bad = 0;
    if (kernels->pack_f32(x, rows, columns, (ptrdiff_t)columns, out) != nans || memcmp(out, expected, rows * words * 8))
        bad = failed(kernels, "packing of float32", rows, columns, nans);
    if (kernels->pack_f64(wide, rows, columns, (ptrdiff_t)columns, out) != nans || memcmp(out, expected, rows * words * 8))
        bad = failed(kernels, "packing of float64", rows, columns, nans);
    kernels->pack_i8(small, rows, columns, (ptrdiff_t)columns, out);
    if (memcmp(out, expected, rows * words * 8))
        bad = failed(kernels, "packing of int8", rows, columns, 0);
    kernels->pack_bool(truth, rows, columns, (ptrdiff_t)columns, out);
    if (memcmp(out, expected, rows * words * 8))
        bad = failed(kernels, "packing of bool", rows, columns, 0);
    if (kernels->pack_channels_f32(turned, columns, rows, rows, out, words) != nans || memcmp(out, expected, rows * words * 8))
        bad = failed(kernels, "packing of channels", rows, columns, nans);
    bits_unpack_f32(expected, rows, columns, back), bits_unpack_i8(expected, rows, columns, small_back);
    for (size_t i = 0; i < size; i++)
        if (back[i] != (x[i] >= 0.0f ? 1.0f : -1.0f) || small_back[i] != (x[i] >= 0.0f ? 1 : -1)) {
            bad = failed(kernels, "unpacking", rows, columns, i);
            break;
        }
    free(x), free(turned), free(back), free(wide), free(small), free(small_back), free(truth), free(expected), free(out);
    return bad;
}

int main(int argc, char **argv)
{
    const long shapes = argc > 1 ? atol(argv[1]) : 300;
    refusing = argc > 2;
    const bits_kernels *sets[8];
    const size_t count = bits_available(sets);
    for (long s = 0; s < shapes; s++)
        for (size_t i = 0; i < count; i++) {
            const int large = s % 50 == 49, threads = 1 + (int)below(3); /* outputs of two megabytes and more */
            const size_t m = large ? 1100 : below(40), n = large ? 512 : below(100);
            const size_t columns = s % 20 == 19 ? 0 : 1 + below(large ? 70 : s % 10 ? 700 : 9000);
            if (products(sets[i], m, n, columns, threads) || planes(sets[i], below(8), below(40), columns, threads)
                || values(sets[i], below(40), below(100), columns, threads)
                || convolution(sets[i], large, threads) || reals(sets[i], threads) || bytes(sets[i], threads)
                || shifted(sets[i], threads) || packing(sets[i], below(40), 1 + below(300)))
                return 1;
        }
    printf("%ld random shapes, instruction sets:", shapes);
    for (size_t i = 0; i < count; i++)
        printf(" %s", sets[i]->name);
    printf("; allocations refused: %ld\n", refusals);
    return 0;
}
