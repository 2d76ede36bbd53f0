/* The product of int8 values with packed signs: blocks of rows against one panel after the other. */
#include "compare.h"
#include "epilogue.h"

#include <string.h>

typedef struct {
    const bits_kernels *kernels;
    bits_values a;
    const uint32_t *panels;
    size_t m, n;
    const panel_thresholds *compare;
    void *out;
    int by_rows;
    _Atomic int failed;
} product;

/* One panel as bytes, 1 where a weight is -1: for four columns at a time, four bytes for each of its rows. */
static void minus_of(const uint32_t *panel, size_t columns, uint8_t *minus)
{
    for (size_t k = 0; k < columns; k += 4)
        for (size_t c = 0; c < BITS_PANEL; c++, minus += 4) {
            const uint32_t bits = ~panel[k / 32 * BITS_PANEL + c] >> k % 32 & 15;
            /* bit i moves to byte i: the products do not overlap where the mask looks */
            const uint32_t bytes = bits * 0x00204081u & 0x01010101u;
            memcpy(minus, &bytes, sizeof bytes);
        }
}

static void rows_times_panels(product *p, size_t first, size_t end, size_t first_panel, size_t end_panel)
{
    const size_t quads = p->a.columns / 4 + (p->a.columns % 4 != 0), bits_stride = 2 * bits_words(p->n);
    uint8_t *minus = malloc(4 * BITS_PANEL * quads + 64);
    if (!minus) {
        p->failed = 1;
        return;
    }
    uint8_t *aligned = minus + 64 - (uintptr_t)minus % 64;
    const bits_values a = {p->a.first + first * p->a.stride, p->a.stride, p->a.columns, p->a.sums + first};
    for (size_t j = first_panel; j < end_panel; j++) {
        const size_t column = j * BITS_PANEL;
        bits_epilogue epilogue = {.width = p->n - column < BITS_PANEL ? p->n - column : BITS_PANEL};
        if (p->compare) {
            epilogue.thresholds = p->compare->thresholds + column, epilogue.flips = p->compare->flips[j];
            epilogue.bits = (bits_half *)p->out + first * bits_stride + j, epilogue.bits_stride = bits_stride;
        } else {
            epilogue.out = (int32_t *)p->out + first * p->n + column, epilogue.stride = p->n;
        }
        minus_of(p->panels + j * bits_panel_size(bits_words(p->a.columns)), p->a.columns, aligned);
        p->kernels->strip_i8(&a, end - first, aligned, &epilogue);
    }
    if (p->compare && end_panel % 2 && end_panel == bits_panels(p->n)) /* the last word has only one half */
        for (size_t r = first; r < end; r++)
            ((bits_half *)p->out)[r * bits_stride + end_panel] = 0;
    free(minus);
}

static void part(void *context, size_t begin, size_t end)
{
    product *p = context;
    if (p->by_rows)
        rows_times_panels(p, begin, end, 0, bits_panels(p->n));
    else
        rows_times_panels(p, 0, p->m, begin, end);
}

int bits_matmul_i8(const bits_kernels *kernels, const int8_t *a, size_t a_stride, const uint32_t *panels, size_t m, size_t n,
                   size_t columns, const bits_thresholds *compare, void *out, int threads)
{
    if (!m || !n)
        return 0;
    int32_t *sums = malloc(m * sizeof *sums);
    panel_thresholds made = {NULL, NULL};
    if (!sums || (compare && panel_thresholds_make(&made, compare, 1, n))) {
        free(sums);
        return -1;
    }
    for (size_t r = 0; r < m; r++) {
        sums[r] = 0;
        for (size_t k = 0; k < columns; k++)
            sums[r] += a[r * a_stride + k];
    }
    product p = {kernels, {a, a_stride, columns, sums}, panels, m, n, compare ? &made : NULL, out, 0, 0};
    p.by_rows = m >= 16 * (size_t)(threads < 1 ? 1 : threads);
    bits_in_parallel(threads, p.by_rows ? m : bits_panels(n), part, &p);
    panel_thresholds_free(&made);
    free(sums);
    return p.failed ? -1 : 0;
}
