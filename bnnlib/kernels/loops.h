/* Three loops over packed words, one dot product after the other: what packing alone is worth with this instruction set, as
 * the compiler vectorises it. For the course, and as a baseline for blocks and panels. */
#include "bits.h"

static void loops(const uint64_t *a, const uint64_t *b, size_t m, size_t n, size_t columns, int32_t *out)
{
    const size_t words = bits_words(columns);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            uint64_t differing = 0;
            for (size_t w = 0; w < words; w++)
                differing += (uint64_t)__builtin_popcountll(a[i * words + w] ^ b[j * words + w]);
            out[i * n + j] = (int32_t)((int64_t)columns - 2 * (int64_t)differing);
        }
}
