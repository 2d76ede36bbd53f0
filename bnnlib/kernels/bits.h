/* Kernels on bits. Plain C: no Python here, so that the same files serve any caller and any special build.
 *
 * Convention: bit 1 stands for +1, bit 0 for -1; bit j of word w is column 64*w + j (least significant bit first).
 * The bits behind the last column of a row are 0 in every packed matrix, so that they cancel in an xor.
 *
 * Panels are the layout of the weights that the vector kernels want: PANEL rows of a packed matrix side by side, their
 * 32-bit halves of words interleaved, so that one vector load takes the same 32 columns of K of many rows. A value of the
 * other operand is then broadcast, no lane is ever shuffled, and each lane counts for one output. */
#ifndef BNNLIB_BITS_H
#define BNNLIB_BITS_H

#include <stddef.h>
#include <stdint.h>

#define BITS_PANEL 32 /* rows of a panel: two 512-bit or four 256-bit vectors of 32-bit lanes */

/* Words of 64 bits that a row of `columns` bits takes. */
static inline size_t bits_words(size_t columns) { return (columns + 63) / 64; }

/* Values of 32 bits that the panels of `rows` rows take. The address of the first must be a multiple of 64. */
static inline size_t bits_panel_values(size_t rows, size_t columns)
{
    return (rows + BITS_PANEL - 1) / BITS_PANEL * BITS_PANEL * 2 * bits_words(columns);
}

/* What each instruction set provides. */
typedef struct {
    const char *name;

    /* Packs the signs of a row-major float32 matrix: bit = (x >= 0), so +0 and -0 both give 1.
     * Returns the number of NaNs met (they pack as 0); the caller decides whether that is an error. */
    size_t (*pack_f32)(const float *x, size_t rows, size_t columns, uint64_t *out);

    /* out[m, n] = sum over k of a[m, k] * b[n, k] for rows of +-1: columns - 2 * popcount(a xor b). a is row-major,
     * b in panels (bits_to_panels), out row-major, n to a row. */
    void (*matmul)(const uint64_t *a, const uint32_t *panels, size_t m, size_t n, size_t columns, int32_t *out);
} bits_kernels;

/* The instruction sets, from the plainest up. */
extern const bits_kernels bits_portable;
#if defined(__x86_64__)
extern const bits_kernels bits_popcnt, bits_avx2, bits_avx512, bits_avx512_vpopcntdq;
#endif

/* Those that this processor has, plainest first; returns their number (at most 8). */
size_t bits_available(const bits_kernels *found[8]);

/* Rows of a packed matrix, `bits_words(columns)` words each, to panels. Rows missing in the last panel are 0. */
void bits_to_panels(const uint64_t *b, size_t rows, size_t columns, uint32_t *panels);

/* The kernel that all others equal: three loops over words. b is row-major. */
void bits_matmul_reference(const uint64_t *a, const uint64_t *b, size_t m, size_t n, size_t columns, int32_t *out);

#endif
