/* The product of two packed matrices: the order of rows and panels, chosen for the caches. */
#include "compare.h"
#include "epilogue.h"

/* Bytes of a block of rows of a, which stays in a second-level cache (half of the smallest, 512 KiB) for all panels. */
#define BLOCK_BYTES ((size_t)256 << 10)

typedef struct {
    const bits_kernels *kernels;
    const uint64_t *a;
    const uint32_t *panels;
    size_t a_stride, m, n, words;
    const int32_t *base;
    const panel_thresholds *compare;
    void *out;
    int stream, by_rows;
} product;

static void rows_times_panels(const product *p, size_t first, size_t end, size_t first_panel, size_t end_panel)
{
    static const size_t start = 0;
    const size_t fitting = p->words ? BLOCK_BYTES / (8 * p->words) : end - first, block = fitting < 48 ? 48 : fitting;
    const size_t bits_stride = 2 * bits_words(p->n);
    for (size_t i = first; i < end; i += block) {
        const size_t rows = end - i < block ? end - i : block;
        const bits_rows a = {p->a + i * p->a_stride, p->a_stride, 1, p->words, &start};
        for (size_t j = first_panel; j < end_panel; j++) {
            const size_t column = j * BITS_PANEL;
            bits_epilogue epilogue = {.base = p->base, .width = p->n - column < BITS_PANEL ? p->n - column : BITS_PANEL};
            if (p->compare) {
                epilogue.thresholds = p->compare->thresholds + column, epilogue.flips = p->compare->flips[j];
                epilogue.bits = (bits_half *)p->out + i * bits_stride + j, epilogue.bits_stride = bits_stride;
            } else {
                epilogue.out = (int32_t *)p->out + i * p->n + column, epilogue.stride = p->n;
                epilogue.stream = p->stream;
            }
            p->kernels->strip(&a, rows, p->panels + j * bits_panel_size(p->words), &epilogue);
        }
        if (p->compare && end_panel % 2 && end_panel == bits_panels(p->n)) /* the last word has only one half */
            for (size_t r = i; r < i + rows; r++)
                ((bits_half *)p->out)[r * bits_stride + end_panel] = 0;
    }
    if (p->stream)
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* streaming stores are not ordered otherwise */
}

static void part(void *context, size_t begin, size_t end)
{
    const product *p = context;
    if (p->by_rows)
        rows_times_panels(p, begin, end, 0, bits_panels(p->n));
    else
        rows_times_panels(p, 0, p->m, begin, end);
}

int bits_matmul(const bits_kernels *kernels, const uint64_t *a, size_t a_stride, const uint32_t *panels, size_t m, size_t n,
                size_t columns, const bits_thresholds *compare, void *out, int threads)
{
    if (!m || !n)
        return 0;
    int32_t base[BITS_PANEL];
    for (size_t c = 0; c < BITS_PANEL; c++)
        base[c] = (int32_t)columns;
    product p = {kernels, a, panels, a_stride, m, n, bits_words(columns), base, NULL, out, 0, 0};
    panel_thresholds made = {NULL, NULL};
    if (compare && panel_thresholds_make(&made, compare, 1, n))
        return -1;
    p.compare = compare ? &made : NULL;
    p.stream = !compare && streams(out, m, n);
    p.by_rows = m >= 16 * (size_t)(threads < 1 ? 1 : threads);
    bits_in_parallel(threads, p.by_rows ? m : bits_panels(n), part, &p);
    panel_thresholds_free(&made);
    return 0;
}
