/* The way out of one row of a tile, in plain C: a compiler makes vectors of it. */
#ifndef BNNLIB_WAY_OUT_H
#define BNNLIB_WAY_OUT_H

#include "bits.h"

/* From this many bytes on an output is written around the caches, where it would only push out the operands. */
#define LARGE_OUTPUT ((size_t)2 << 20)

/* Whether to do so for `rows` rows of n values: vectors of 64 bytes must not cross a row's end or a line of memory. */
static inline int past_caches(const void *out, size_t rows, size_t n)
{
    return rows * n * sizeof(int32_t) >= LARGE_OUTPUT && n % 16 == 0 && (uintptr_t)out % 64 == 0;
}

/* The base of a row; see bits_way_out. */
static inline const int32_t *base_of(const bits_way_out *way, size_t row)
{
    return way->bases ? way->bases[row] + way->base_at : way->base;
}

/* base - 2 * count; unsigned, because 2 * count may be beyond int32 though the difference is not. */
static inline int32_t value_of(int32_t base, uint32_t count) { return (int32_t)((uint32_t)base - 2 * count); }

static inline void store_plain(const uint32_t counts[BITS_PANEL], size_t row, const bits_way_out *way)
{
    const int32_t *base = base_of(way, row);
    if (way->thresholds) {
        uint32_t reached = 0;
        for (uint32_t c = 0; c < BITS_PANEL; c++)
            reached |= (uint32_t)(value_of(base[c], counts[c]) >= way->thresholds[c]) << c;
        const uint32_t exist = way->width == BITS_PANEL ? ~0u : (1u << way->width) - 1;
        way->bits[row * way->bits_stride] = (reached ^ way->flips) & exist;
    } else {
        int32_t *out = way->out + row * way->stride;
        for (size_t c = 0; c < way->width; c++)
            out[c] = value_of(base[c], counts[c]);
    }
}

#endif
