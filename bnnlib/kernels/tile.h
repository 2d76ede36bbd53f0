/* What a tile of the vector kernels writes to; panels.h has the loops around it. */
#ifndef BNNLIB_TILE_H
#define BNNLIB_TILE_H

#include "bits.h"

/* Where a tile's results go. */
typedef struct {
    size_t columns, width; /* K; columns of the panel that exist */
    int32_t *out;          /* of the first row of the tile */
    size_t stride;         /* values from row to row */
    int past_caches;       /* the output is large and its rows are aligned: write it around the caches */
} way_out;

/* Columns `from` and later of one row of a tile on their way out: K - 2 * count, in plain C. */
static inline void store_plain(const uint32_t *counts, size_t from, const way_out *way, int32_t *out)
{
    for (size_t c = from; c < way->width; c++)
        out[c] = (int32_t)((int64_t)way->columns - 2 * (int64_t)counts[c]);
}

/* Bits `from` .. `count` of a word, from as many floats; NaNs are counted. */
static inline uint64_t pack_plain(const float *x, size_t from, size_t count, size_t *nans)
{
    uint64_t word = 0;
    for (size_t j = from; j < count; j++) {
        word |= (uint64_t)(x[j] >= 0.0f) << j;
        *nans += x[j] != x[j];
    }
    return word;
}

#endif
