/* Kernels on bits. Plain C: no Python here, so that the same files serve any caller and any special build.
 *
 * Convention: bit 1 stands for +1, bit 0 for -1; bit j of word w is column 64*w + j (least significant bit first).
 * The bits behind the last column of a row are 0 in every packed matrix, so that they cancel in an xor. */
#ifndef BNNLIB_BITS_H
#define BNNLIB_BITS_H

#include <stddef.h>
#include <stdint.h>

/* Words of 64 bits that a row of `columns` bits takes. */
static inline size_t bits_words(size_t columns) { return (columns + 63) / 64; }

/* Packs the signs of a row-major float32 matrix: bit = (x >= 0), so +0 and -0 both give 1.
 * Returns the number of NaNs met (they pack as 0); the caller decides whether that is an error. */
size_t bits_pack_f32(const float *x, size_t rows, size_t columns, uint64_t *out);

/* out[m, n] = sum over k of a[m, k] * b[n, k] for rows of +-1 packed as above: columns - 2 * popcount(a xor b). */
void bits_matmul(const uint64_t *a, const uint64_t *b, size_t m, size_t n, size_t columns, int32_t *out);

#endif
