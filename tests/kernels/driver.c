/* The C core against its reference kernel on random shapes, without Python: for emulators and sanitizers.
 * Prints what it ran; its exit status is 1 at the first difference. An argument sets the number of shapes. */
#include "bits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 88172645463325252u;

static uint64_t next(void) /* xorshift */
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static uint64_t *random_rows(size_t rows, size_t columns)
{
    const size_t words = bits_words(columns);
    uint64_t *bits = malloc((rows * words + 1) * sizeof *bits);
    for (size_t i = 0; i < rows * words; i++) {
        bits[i] = next();
        if (columns % 64 && (i + 1) % words == 0)
            bits[i] &= ((uint64_t)1 << columns % 64) - 1;
    }
    return bits;
}

int main(int argc, char **argv)
{
    const long shapes = argc > 1 ? atol(argv[1]) : 300;
    const bits_kernels *sets[8];
    const size_t count = bits_available(sets);
    for (long s = 0; s < shapes; s++) {
        const size_t m = next() % 40, n = next() % 100, columns = 1 + next() % (s % 10 ? 700 : 20000), words = bits_words(columns);
        uint64_t *a = random_rows(m, columns), *b = random_rows(n, columns);
        int32_t *expected = malloc((m * n + 1) * sizeof *expected), *out = malloc((m * n + 1) * sizeof *out);
        uint32_t *panels = aligned_alloc(64, bits_panel_values(n + 1, columns) * sizeof *panels);
        float *x = malloc((m * columns + 1) * sizeof *x);
        uint64_t *packed = malloc((m * words + 1) * sizeof *packed);
        for (size_t i = 0; i < m * columns; i++)
            x[i] = a[i / columns * words + i % columns / 64] >> i % columns % 64 & 1 ? (float)(next() % 3) : -1.0f - (float)(next() % 3);
        bits_matmul_reference(a, b, m, n, columns, expected);
        bits_to_panels(b, n, columns, panels);
        for (size_t i = 0; i < count; i++) {
            memset(out, 0x55, (m * n + 1) * sizeof *out);
            sets[i]->matmul(a, panels, m, n, columns, out);
            if (memcmp(out, expected, m * n * sizeof *out) || out[m * n] != 0x55555555)
                return fprintf(stderr, "%s: matmul differs at %zu x %zu x %zu\n", sets[i]->name, m, n, columns), 1;
            if (sets[i]->pack_f32(x, m, columns, packed) || memcmp(packed, a, m * words * sizeof *a))
                return fprintf(stderr, "%s: packing differs at %zu x %zu\n", sets[i]->name, m, columns), 1;
        }
        free(a), free(b), free(expected), free(out), free(panels), free(x), free(packed);
    }
    printf("%ld random shapes, instruction sets:", shapes);
    for (size_t i = 0; i < count; i++)
        printf(" %s", sets[i]->name);
    puts("");
    return 0;
}
