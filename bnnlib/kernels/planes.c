/* Products of integer codes in bit planes, from the product of signs.
 *
 * With code = sum over p of w[p] * bit[p] a dot product is the sum over pairs of planes of w[p] * v[q] * popcount(a and b),
 * where 2 * popcount(a and b) = ones(a) + ones(b) - popcount(a xor b), and popcount(a xor b) = (K - dot) / 2 for the dot
 * product of the planes read as signs. Together, with W and V the sums of the weights and A and B those of the codes:
 *     4 * (code . code) = 2 * A * V + 2 * B * W - K * W * V + sum over p, q of w[p] * v[q] * dot[p, q]. */
#include "bits.h"

#include <stdlib.h>

#define BLOCK_BYTES ((size_t)128 << 10) /* the dot products of one pair of planes: they fit a second-level cache */

typedef struct {
    const bits_kernels *kernels;
    const uint64_t *a;
    const uint32_t *panels;
    const bits_planes *a_planes, *b_planes;
    size_t m, n, columns;
    int32_t *out;
    _Atomic int failed;
} product;

static int64_t sum(const bits_planes *planes)
{
    int64_t total = 0;
    for (size_t p = 0; p < planes->count; p++)
        total += planes->weights[p];
    return total;
}

static void part(void *context, size_t begin, size_t end)
{
    product *task = context;
    const size_t words = bits_words(task->columns), n = task->n, fitting = BLOCK_BYTES / (4 * n);
    const size_t block = fitting < 12 ? 12 : fitting, panels = bits_panels(n) * bits_panel_size(words);
    const int64_t left = sum(task->a_planes), right = sum(task->b_planes);
    int32_t *dots = malloc(block * n * sizeof *dots);
    int64_t *sums = malloc(block * n * sizeof *sums);
    if (!dots || !sums)
        task->failed = 1;
    for (size_t i = begin; !task->failed && i < end; i += block) {
        const size_t rows = end - i < block ? end - i : block;
        for (size_t r = 0; r < rows; r++)
            for (size_t j = 0; j < n; j++)
                sums[r * n + j] = 2 * (task->a_planes->sums[i + r] * right + task->b_planes->sums[j] * left)
                                  - (int64_t)task->columns * left * right;
        for (size_t p = 0; p < task->a_planes->count; p++)
            for (size_t q = 0; q < task->b_planes->count; q++) {
                const int64_t weight = (int64_t)task->a_planes->weights[p] * task->b_planes->weights[q];
                bits_matmul(task->kernels, task->a + (p * task->m + i) * words, words, task->panels + q * panels, rows, n,
                            task->columns, NULL, dots, 1);
                for (size_t e = 0; e < rows * n; e++)
                    sums[e] += weight * dots[e];
            }
        for (size_t e = 0; e < rows * n; e++)
            task->out[i * n + e] = (int32_t)(sums[e] / 4); /* exact */
    }
    free(dots), free(sums);
}

int bits_matmul_planes(const bits_kernels *kernels, const uint64_t *a, const bits_planes *a_planes, const uint32_t *panels,
                       const bits_planes *b_planes, size_t m, size_t n, size_t columns, int32_t *out, int threads)
{
    product task = {kernels, a, panels, a_planes, b_planes, m, n, columns, out, 0};
    if (n)
        bits_in_parallel(threads, m, part, &task);
    return task.failed ? -1 : 0;
}
