/* A strip of int8 values: many rows against one panel, whose weights are no longer bits but bytes, 1 where the weight is -1.
 * A row's product with +-1 is the sum of its values less twice the sum of those at weights of -1. Four values of a row are
 * broadcast to all lanes; each 32-bit lane of the panel holds four columns of one output.
 *
 * An including file defines, before including:
 *   minus_vec, OUTPUTS            a vector of bytes, four for each of OUTPUTS outputs
 *   ROWS                          rows that one pass keeps in registers, with all 32 outputs
 *   four_vec                      four values, broadcast
 *   sums_vec                      16-bit sums of products of one vector of bytes
 *   STEPS                         products that each of these sums can hold without overflow
 *   load_minus(p), broadcast_four(v), no_sums(), add_products(sums, minus, four)
 *   total(sums, counts)           adds the sums to the uint32 counts of OUTPUTS outputs
 * and gets strip_i8(). */
#include "epilogue.h"

#include <string.h>

#define VECTORS_I8 (BITS_PANEL / OUTPUTS)

/* Values from p on as one 32-bit number; those that are not there are 0. */
static inline uint32_t four_of(const int8_t *p, size_t count)
{
    uint32_t four = 0;
    memcpy(&four, p, count < 4 ? count : 4);
    return four;
}

/* Four columns of every row: each vector of the panel is loaded once for all of them. */
static inline __attribute__((always_inline)) void add_four(sums_vec sums[ROWS][VECTORS_I8], const size_t rows,
                                                           const int8_t *values, size_t stride, size_t count,
                                                           const uint8_t *minus)
{
    four_vec four[ROWS];
#pragma GCC unroll 4
    for (size_t r = 0; r < rows; r++)
        four[r] = broadcast_four(four_of(values + r * stride, count));
#pragma GCC unroll 8
    for (size_t v = 0; v < VECTORS_I8; v++) {
        const minus_vec vector = load_minus(minus + 4 * OUTPUTS * v);
#pragma GCC unroll 4
        for (size_t r = 0; r < rows; r++)
            sums[r][v] = add_products(sums[r][v], vector, four[r]);
    }
}

static inline __attribute__((always_inline)) void tile_i8(const size_t rows, const bits_values *a, size_t begin,
                                                          const uint8_t *minus, const bits_epilogue *epilogue)
{
    _Alignas(64) uint32_t counts[ROWS][BITS_PANEL] = {{0}};
    const int8_t *values = a->first + begin * a->stride;
    for (size_t left = a->columns; left;) {
        sums_vec sums[ROWS][VECTORS_I8];
#pragma GCC unroll 4
        for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 8
            for (size_t v = 0; v < VECTORS_I8; v++)
                sums[r][v] = no_sums();
        size_t now = left < 4 * STEPS ? left : 4 * STEPS;
        left -= now;
        for (; now >= 4; now -= 4, values += 4, minus += 4 * BITS_PANEL)
            add_four(sums, rows, values, a->stride, 4, minus);
        if (now) /* the last columns, fewer than four */
            add_four(sums, rows, values, a->stride, now, minus);
#pragma GCC unroll 4
        for (size_t r = 0; r < rows; r++)
#pragma GCC unroll 8
            for (size_t v = 0; v < VECTORS_I8; v++)
                total(sums[r][v], counts[r] + OUTPUTS * v);
    }
    for (size_t r = 0; r < rows; r++) {
        int32_t base[BITS_PANEL];
        for (size_t c = 0; c < BITS_PANEL; c++)
            base[c] = a->sums[begin + r];
        bits_epilogue of_row = *epilogue;
        of_row.base = base;
        store_plain(counts[r], begin + r, &of_row);
    }
}

static void strip_i8(const bits_values *a, size_t m, const uint8_t *minus, const bits_epilogue *epilogue)
{
    size_t i = 0;
    for (; i + ROWS <= m; i += ROWS)
        tile_i8(ROWS, a, i, minus, epilogue);
    for (; i < m; i++)
        tile_i8(1, a, i, minus, epilogue);
}
