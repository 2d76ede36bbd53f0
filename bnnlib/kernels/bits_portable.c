/* The portable kernels: C11 without any instruction set assumed. They are the fallback and the reference. */
#include "bits.h"

/* Bits set in a word (the divide-and-conquer sum of Hacker's Delight, section 5-1): pairs, nibbles, bytes, then one
 * multiplication adds the eight bytes into the top one. */
static inline uint64_t popcount64(uint64_t x)
{
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (x * 0x0101010101010101u) >> 56;
}

size_t bits_pack_f32(const float *x, size_t rows, size_t columns, uint64_t *out)
{
    const size_t words = bits_words(columns);
    size_t nans = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t w = 0; w < words; w++) {
            const size_t first = 64 * w, count = columns - first < 64 ? columns - first : 64;
            const float *from = x + r * columns + first;
            uint64_t word = 0;
            for (size_t j = 0; j < count; j++) {
                word |= (uint64_t)(from[j] >= 0.0f) << j;
                nans += from[j] != from[j];
            }
            out[r * words + w] = word;
        }
    return nans;
}

void bits_matmul(const uint64_t *a, const uint64_t *b, size_t m, size_t n, size_t columns, int32_t *out)
{
    const size_t words = bits_words(columns);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            uint64_t differing = 0;
            for (size_t w = 0; w < words; w++)
                differing += popcount64(a[i * words + w] ^ b[j * words + w]);
            out[i * n + j] = (int32_t)((int64_t)columns - 2 * (int64_t)differing);
        }
}
