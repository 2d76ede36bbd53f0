/* Three loops over packed words, one dot product after the other: what packing gives by itself, with this instruction set
 * and whatever the compiler makes of it. For the course, and for measuring what blocks and panels are worth. */
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
