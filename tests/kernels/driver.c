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
    uint32_t *panels = panels_of(filters, c.groups, c.filters, taps * words);
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
    if (REFUSING_EACH_ALLOCATION(bits_convolve(kernels, &c, x, panels, tap_sums, NULL, out, threads))
        || memcmp(out, expected, pixels * outputs * 4))
        bad = failed(kernels, "convolution", heights, widths, c.channels);
    if ((c.groups == 1 || c.filters % 64 == 0)
        && (REFUSING_EACH_ALLOCATION(bits_convolve(kernels, &c, x, panels, tap_sums, &compare, out_bits, threads))
            || memcmp(out_bits, expected_bits, pixels * bits_words(outputs) * 8)))
        bad = failed(kernels, "convolution with thresholds", heights, widths, c.channels);
    free(x), free(filters), free(panels), free(ones), free(tap_sums), free(expected), free(out);
    free(expected_bits), free(out_bits), forget(&compare);
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
                || convolution(sets[i], large, threads) || packing(sets[i], below(40), 1 + below(300)))
                return 1;
        }
    printf("%ld random shapes, instruction sets:", shapes);
    for (size_t i = 0; i < count; i++)
        printf(" %s", sets[i]->name);
    printf("; allocations refused: %ld\n", refusals);
    return 0;
}
