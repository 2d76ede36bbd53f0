/* What is the same for every instruction set: layouts, row counts, and the choice of a set. */
#include "bits.h"

size_t bits_available(const bits_kernels *found[8])
{
    size_t count = 0;
    found[count++] = &bits_portable;
#if defined(__x86_64__)
    __builtin_cpu_init(); /* asks the processor, and the operating system, which must save the wide registers */
    if (__builtin_cpu_supports("popcnt"))
        found[count++] = &bits_popcnt;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        found[count++] = &bits_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
        found[count++] = &bits_avx512;
        if (__builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512vnni"))
            found[count++] = &bits_avx512_vpopcntdq;
    }
#elif defined(__aarch64__)
    found[count++] = &bits_neon; /* every aarch64 has it */
#endif
    return count;
}

void bits_to_panels(const uint64_t *b, size_t rows, size_t words, size_t stride, uint32_t *panels)
{
    for (size_t first = 0; first < rows; first += BITS_PANEL)
        for (size_t w = 0; w < words; w++, panels += 2 * BITS_PANEL)
            for (size_t r = 0; r < BITS_PANEL; r++) {
                const uint64_t word = first + r < rows ? b[(first + r) * stride + w] : 0;
                panels[r] = (uint32_t)word;
                panels[BITS_PANEL + r] = (uint32_t)(word >> 32);
            }
}

void bits_dependent_additions(size_t n)
{
    size_t x = 0, one = 1;
    __asm__ volatile("" : "+r"(one)); /* in a register: some processors add constants at no cost, in renaming */
    for (size_t i = 0; i < n; i += 8) {
        x += one; __asm__ volatile("" : "+r"(x)); /* keeps the compiler from adding up the constants */
        x += one; __asm__ volatile("" : "+r"(x));
        x += one; __asm__ volatile("" : "+r"(x));
        x += one; __asm__ volatile("" : "+r"(x));
        x += one; __asm__ volatile("" : "+r"(x));
        x += one; __asm__ volatile("" : "+r"(x));
        x += one; __asm__ volatile("" : "+r"(x));
        x += one; __asm__ volatile("" : "+r"(x));
    }
}

void bits_unpack_i8(const uint64_t *bits, size_t rows, size_t columns, int8_t *out)
{
    for (size_t r = 0; r < rows; r++, bits += bits_words(columns))
        for (size_t k = 0; k < columns; k++)
            *out++ = (int8_t)(2 * (int)(bits[k / 64] >> k % 64 & 1) - 1);
}

void bits_unpack_f32(const uint64_t *bits, size_t rows, size_t columns, float *out)
{
    for (size_t r = 0; r < rows; r++, bits += bits_words(columns))
        for (size_t k = 0; k < columns; k++)
            *out++ = bits[k / 64] >> k % 64 & 1 ? 1.0f : -1.0f;
}

void bits_count_rows(const uint64_t *bits, size_t rows, size_t words, int32_t *out)
{
    for (size_t r = 0; r < rows; r++) {
        int32_t count = 0;
        for (size_t w = 0; w < words; w++)
            count += __builtin_popcountll(*bits++);
        out[r] = count;
    }
}

int bits_set_past_end(const uint64_t *bits, size_t rows, size_t columns, size_t stride)
{
    if (columns % 64 == 0)
        return 0;
    uint64_t last = 0;
    for (size_t r = 0; r < rows; r++)
        last |= bits[r * stride + columns / 64];
    return last >> columns % 64 != 0;
}
