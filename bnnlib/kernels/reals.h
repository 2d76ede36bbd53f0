/* A strip of float32 values: many rows against one panel of weights, for the layers of a network that are not bits. For each
 * value of a row a panel holds BITS_PANEL weights, float32 or int8 (codes of up to 8 bits); a value is broadcast to all lanes.
 *
 * An including file defines, before including:
 *   reals, LANES_F, ROWS_F        a vector of LANES_F floats; rows that one pass keeps in registers, with all 32 outputs
 *   load_reals(p), load_codes(p)  of floats, and of int8 as floats
 *   store_reals(p, x), broadcast_real(v), no_reals()
 *   multiply_add(x, w, sum)       sum + x * w, rounded once or twice
 *   add_reals(x, y)
 *   reached(x, p)                 a bit for each lane where x >= p[lane]
 *   sums_reached(v, p)            the same for LANES_F int32 from v on
 * and gets strip_reals(), strip_codes() and compared(). */
#include "bits.h"

#include <string.h>

#define VECTORS_F (BITS_PANEL / LANES_F)
#define PARTS 4 /* of a single row, whose sums would else wait for one another */

static inline __attribute__((always_inline)) reals weights_of(const void *panel, size_t at, const int codes)
{
    return codes ? load_codes((const int8_t *)panel + at) : load_reals((const float *)panel + at);
}

static inline __attribute__((always_inline)) void store_row(const reals sums[VECTORS_F], size_t row,
                                                            const bits_reals_epilogue *epilogue)
{
    if (epilogue->thresholds) {
        uint32_t bits = 0;
        for (size_t v = 0; v < VECTORS_F; v++)
            bits |= reached(sums[v], epilogue->thresholds + LANES_F * v) << (LANES_F * v);
        const uint32_t exist = epilogue->width == BITS_PANEL ? ~0u : (1u << epilogue->width) - 1;
        epilogue->bits[row * epilogue->bits_stride] = (bits ^ epilogue->flips) & exist;
        return;
    }
    float *out = epilogue->out + row * epilogue->stride, some[BITS_PANEL];
    if (epilogue->width == BITS_PANEL) {
        for (size_t v = 0; v < VECTORS_F; v++)
            store_reals(out + LANES_F * v, sums[v]);
        return;
    }
    for (size_t v = 0; v < VECTORS_F; v++)
        store_reals(some + LANES_F * v, sums[v]);
    memcpy(out, some, epilogue->width * sizeof *out);
}

static inline __attribute__((always_inline)) void tile_reals(const size_t rows, const bits_reals *a, size_t begin,
                                                             const void *panel, const int codes,
                                                             const bits_reals_epilogue *epilogue)
{
    reals sums[ROWS_F][VECTORS_F];
#pragma GCC unroll 16
    for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (size_t v = 0; v < VECTORS_F; v++)
            sums[r][v] = no_reals();
    size_t at = 0;
    for (size_t s = 0; s < a->runs; s++) {
        const float *values = a->first + begin * a->stride + a->offsets[s];
        for (size_t k = 0; k < a->length; k++, at += BITS_PANEL) {
            reals weights[VECTORS_F];
#pragma GCC unroll 8
            for (size_t v = 0; v < VECTORS_F; v++)
                weights[v] = weights_of(panel, at + LANES_F * v, codes);
#pragma GCC unroll 16
            for (size_t r = 0; r < rows; r++) {
                const reals value = broadcast_real(values[r * a->stride + k]);
#pragma GCC unroll 8
                for (size_t v = 0; v < VECTORS_F; v++)
                    sums[r][v] = multiply_add(value, weights[v], sums[r][v]);
            }
        }
    }
#pragma GCC unroll 16
    for (size_t r = 0; r < rows; r++)
        store_row(sums[r], begin + r, epilogue);
}

/* A row by itself, its values dealt out among several sums. */
static inline __attribute__((always_inline)) void row_of_reals(const bits_reals *a, size_t row, const void *panel,
                                                               const int codes, const bits_reals_epilogue *epilogue)
{
    reals sums[PARTS][VECTORS_F];
    for (size_t p = 0; p < PARTS; p++)
        for (size_t v = 0; v < VECTORS_F; v++)
            sums[p][v] = no_reals();
    size_t at = 0;
    for (size_t s = 0; s < a->runs; s++) {
        const float *values = a->first + row * a->stride + a->offsets[s];
        size_t k = 0;
        for (; k + PARTS <= a->length; k += PARTS, at += PARTS * BITS_PANEL)
#pragma GCC unroll 4
            for (size_t p = 0; p < PARTS; p++) {
                const reals value = broadcast_real(values[k + p]);
#pragma GCC unroll 8
                for (size_t v = 0; v < VECTORS_F; v++)
                    sums[p][v] = multiply_add(value, weights_of(panel, at + p * BITS_PANEL + LANES_F * v, codes), sums[p][v]);
            }
        for (; k < a->length; k++, at += BITS_PANEL)
            for (size_t v = 0; v < VECTORS_F; v++)
                sums[0][v] = multiply_add(broadcast_real(values[k]), weights_of(panel, at + LANES_F * v, codes), sums[0][v]);
    }
    for (size_t v = 0; v < VECTORS_F; v++)
        sums[0][v] = add_reals(add_reals(sums[0][v], sums[1][v]), add_reals(sums[2][v], sums[3][v]));
    store_row(sums[0], row, epilogue);
}

static inline __attribute__((always_inline)) void strip_of(const bits_reals *a, size_t m, const void *panel, const int codes,
                                                           const bits_reals_epilogue *epilogue)
{
    size_t i = 0;
    for (; i + ROWS_F <= m; i += ROWS_F)
        tile_reals(ROWS_F, a, i, panel, codes, epilogue);
#if ROWS_F > 8
    for (; i + 8 <= m; i += 8)
        tile_reals(8, a, i, panel, codes, epilogue);
    for (; i + 4 <= m; i += 4)
        tile_reals(4, a, i, panel, codes, epilogue);
#endif
    for (; i < m; i++)
        row_of_reals(a, i, panel, codes, epilogue);
}

static void strip_reals(const bits_reals *a, size_t m, const float *panel, const bits_reals_epilogue *epilogue)
{
    strip_of(a, m, panel, 0, epilogue);
}

static void strip_codes(const bits_reals *a, size_t m, const int8_t *panel, const bits_reals_epilogue *epilogue)
{
    strip_of(a, m, panel, 1, epilogue);
}

static uint32_t compared(const int32_t *values, size_t width, const int32_t *thresholds, uint32_t flips)
{
    int32_t some[BITS_PANEL] = {0};
    if (width < BITS_PANEL)
        values = memcpy(some, values, width * sizeof *values);
    uint32_t bits = 0;
    for (size_t v = 0; v < VECTORS_F; v++)
        bits |= sums_reached(values + LANES_F * v, thresholds + LANES_F * v) << (LANES_F * v);
    return (bits ^ flips) & (width == BITS_PANEL ? ~0u : (1u << width) - 1);
}
