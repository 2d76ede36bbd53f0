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

#endif
