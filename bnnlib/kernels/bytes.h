/* A strip of bytes: many rows of unsigned bytes against one panel of int8 weights, for codes of more bits than one. The layout
 * is that of int8.h: for each four values of a row a panel holds four weights for each of its outputs, so that four values are
 * broadcast to all lanes and each lane adds up products of its own output.
 *
 * An including file defines, before including (after reals.h, whose compared() is used):
 *   weights_b, OUTPUTS_B          a vector of weights, four for each of OUTPUTS_B outputs
 *   ROWS_B                        rows that one pass keeps in registers, with all 32 outputs: 1 .. 14
 *   four_b                        four values, broadcast
 *   sums_b                        int32 sums of OUTPUTS_B outputs, perhaps in several parts
 *   load_weights_b(p), broadcast_b(v), no_sums_b(), sums_from(p), add_b(x, y)
 *   dot_b(sums, four, weights)    adds the products
 *   store_b(to, sums)             OUTPUTS_B values
 *   CODED, and coded()            if it has its own
 *   REACHED_B, and reached_b(sums, p)  if sums can be compared with BITS_PANEL thresholds where they are: a bit for each
 * and gets strip_bytes() and coded(). */
#include "bits.h"

#include <string.h>

#define VECTORS_B (BITS_PANEL / OUTPUTS_B)
#define PARTS_B 4 /* of a single row, whose sums would else wait for one another */

#ifndef CODED
/* The number of thresholds that each value has reached; where `turned` is -1, not reached. */
static void coded(const int32_t *values, size_t width, const int32_t *thresholds, size_t steps, size_t step,
                  const int32_t *turned, uint8_t *out)
{
    int32_t reached_b[BITS_PANEL] = {0};
    uint8_t codes[BITS_PANEL];
    for (size_t s = 0; s < steps; s++)
        for (size_t c = 0; c < BITS_PANEL; c++)
            reached_b[c] += values[c] >= thresholds[s * step + c];
    for (size_t c = 0; c < BITS_PANEL; c++) /* ~r is -r - 1 */
        codes[c] = (uint8_t)((reached_b[c] ^ turned[c]) + (turned[c] & ((int32_t)steps + 1)));
    memcpy(out, codes, width);
}
#endif

static inline void store_bytes(const sums_b sums[VECTORS_B], size_t row, const bits_bytes_epilogue *epilogue)
{
    _Alignas(64) int32_t values[BITS_PANEL];
    for (size_t v = 0; v < VECTORS_B; v++)
        store_b(values + OUTPUTS_B * v, sums[v]);
    if (epilogue->codes)
        coded(values, epilogue->width, epilogue->thresholds, epilogue->steps, epilogue->step, epilogue->turned,
              epilogue->codes + row * epilogue->codes_stride);
    else if (epilogue->bits)
        epilogue->bits[row * epilogue->bits_stride] =
            compared(values, epilogue->width, epilogue->thresholds, epilogue->flips);
    else if (epilogue->width == BITS_PANEL)
        memcpy(epilogue->out + row * epilogue->stride, values, sizeof values);
    else
        memcpy(epilogue->out + row * epilogue->stride, values, epilogue->width * sizeof *values);
}

static inline four_b four_from(const uint8_t *p)
{
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return broadcast_b(four);
}

static inline __attribute__((always_inline)) void tile_of_bytes(const size_t rows, const bits_bytes *a, size_t begin,
                                                                const int8_t *panel, const bits_bytes_epilogue *epilogue)
{
    sums_b sums[ROWS_B][VECTORS_B];
#pragma GCC unroll 14
    for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 16
        for (size_t v = 0; v < VECTORS_B; v++)
            sums[r][v] = sums_from(epilogue->base + OUTPUTS_B * v);
    for (size_t s = 0; s < a->runs; s++) {
        const uint8_t *values = a->first + begin * a->stride + a->offsets[s];
        for (size_t k = 0; k < a->length; k += 4, panel += 4 * BITS_PANEL) {
            weights_b weights[VECTORS_B];
#pragma GCC unroll 16
            for (size_t v = 0; v < VECTORS_B; v++)
                weights[v] = load_weights_b(panel + 4 * OUTPUTS_B * v);
#pragma GCC unroll 14
            for (size_t r = 0; r < rows; r++) {
                const four_b four = four_from(values + r * a->stride + k);
#pragma GCC unroll 16
                for (size_t v = 0; v < VECTORS_B; v++)
                    sums[r][v] = dot_b(sums[r][v], four, weights[v]);
            }
        }
    }
#ifdef REACHED_B
    if (epilogue->bits) {
        const uint32_t exist = epilogue->width == BITS_PANEL ? ~0u : (1u << epilogue->width) - 1;
        bits_half *to = epilogue->bits + begin * epilogue->bits_stride;
#pragma GCC unroll 14
        for (size_t r = 0; r < rows; r++, to += epilogue->bits_stride) /* unrolled, since registers have no index */
            *to = (reached_b(sums[r], epilogue->thresholds) ^ epilogue->flips) & exist;
        return;
    }
#endif
    for (size_t r = 0; r < rows; r++)
        store_bytes(sums[r], begin + r, epilogue);
}

/* A row by itself, its values dealt out among several sums. */
static void row_of_bytes(const bits_bytes *a, size_t row, const int8_t *panel, const bits_bytes_epilogue *epilogue)
{
    sums_b sums[PARTS_B][VECTORS_B];
    for (size_t p = 0; p < PARTS_B; p++)
        for (size_t v = 0; v < VECTORS_B; v++)
            sums[p][v] = p ? no_sums_b() : sums_from(epilogue->base + OUTPUTS_B * v);
    for (size_t s = 0; s < a->runs; s++) {
        const uint8_t *values = a->first + row * a->stride + a->offsets[s];
        size_t k = 0;
        for (; k + 4 * PARTS_B <= a->length; k += 4 * PARTS_B, panel += 4 * PARTS_B * BITS_PANEL)
#pragma GCC unroll 4
            for (size_t p = 0; p < PARTS_B; p++) {
                const four_b four = four_from(values + k + 4 * p);
#pragma GCC unroll 16
                for (size_t v = 0; v < VECTORS_B; v++)
                    sums[p][v] = dot_b(sums[p][v], four, load_weights_b(panel + 4 * (p * BITS_PANEL + OUTPUTS_B * v)));
            }
        for (; k < a->length; k += 4, panel += 4 * BITS_PANEL)
            for (size_t v = 0; v < VECTORS_B; v++)
                sums[0][v] = dot_b(sums[0][v], four_from(values + k), load_weights_b(panel + 4 * OUTPUTS_B * v));
    }
    for (size_t v = 0; v < VECTORS_B; v++)
        sums[0][v] = add_b(add_b(sums[0][v], sums[1][v]), add_b(sums[2][v], sums[3][v]));
    store_bytes(sums[0], row, epilogue);
}

/* With a constant number of rows all sums stay in registers. */
#define TILE_B(n) \
    static void tile_bytes_##n(const bits_bytes *a, size_t begin, const int8_t *panel, const bits_bytes_epilogue *epilogue) \
    { tile_of_bytes(n <= ROWS_B ? n : ROWS_B, a, begin, panel, epilogue); }
TILE_B(2) TILE_B(3) TILE_B(4)
#if ROWS_B > 4
TILE_B(5) TILE_B(6) TILE_B(7) TILE_B(8) TILE_B(9) TILE_B(10) TILE_B(11) TILE_B(12) TILE_B(13) TILE_B(14)
#endif

/* Tiles of nearly the same number of rows: 20 rows are 10 and 10, not 14 and 6. */
static void strip_bytes(const bits_bytes *a, size_t m, const int8_t *panel, const bits_bytes_epilogue *epilogue)
{
    static void (*const tiles[])(const bits_bytes *, size_t, const int8_t *, const bits_bytes_epilogue *) = {
        row_of_bytes, tile_bytes_2, tile_bytes_3, tile_bytes_4,
#if ROWS_B > 4
        tile_bytes_5, tile_bytes_6, tile_bytes_7, tile_bytes_8, tile_bytes_9, tile_bytes_10, tile_bytes_11, tile_bytes_12,
        tile_bytes_13, tile_bytes_14,
#endif
    };
    for (size_t left = m, begin = 0; left;) {
        const size_t count = (left + ROWS_B - 1) / ROWS_B, rows = (left + count - 1) / count;
        tiles[rows - 1](a, begin, panel, epilogue);
        left -= rows, begin += rows;
    }
}
