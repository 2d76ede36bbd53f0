/* What no instruction set changes: the layout of panels, the reference kernel, and which sets this processor has. */
#include "bits.h"

#include <string.h>

void bits_to_panels(const uint64_t *b, size_t rows, size_t columns, uint32_t *panels)
{
    const size_t words = bits_words(columns);
    for (size_t first = 0; first < rows; first += BITS_PANEL)
        for (size_t w = 0; w < words; w++, panels += 2 * BITS_PANEL)
            for (size_t r = 0; r < BITS_PANEL; r++) {
                const uint64_t word = first + r < rows ? b[(first + r) * words + w] : 0;
                panels[r] = (uint32_t)word;
                panels[BITS_PANEL + r] = (uint32_t)(word >> 32);
            }
}

void bits_matmul_reference(const uint64_t *a, const uint64_t *b, size_t m, size_t n, size_t columns, int32_t *out)
{
    const size_t words = bits_words(columns);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            int64_t differing = 0;
            for (size_t w = 0; w < words; w++)
                for (uint64_t x = a[i * words + w] ^ b[j * words + w]; x; x &= x - 1) /* clears the lowest set bit */
                    differing++;
            out[i * n + j] = (int32_t)((int64_t)columns - 2 * differing);
        }
}

size_t bits_available(const bits_kernels *found[8])
{
    size_t count = 0;
    found[count++] = &bits_portable;
#if defined(__x86_64__)
    __builtin_cpu_init(); /* asks the processor and the operating system, which must save the wide registers */
    if (__builtin_cpu_supports("popcnt"))
        found[count++] = &bits_popcnt;
    if (__builtin_cpu_supports("avx2"))
        found[count++] = &bits_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
        found[count++] = &bits_avx512;
        if (__builtin_cpu_supports("avx512vpopcntdq"))
            found[count++] = &bits_avx512_vpopcntdq;
    }
#endif
    return count;
}
