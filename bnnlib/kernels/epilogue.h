/* The epilogue of one row of a tile in plain C, which compilers vectorise. */
#ifndef BNNLIB_EPILOGUE_H
#define BNNLIB_EPILOGUE_H

#include "bits.h"

/* Outputs of this many bytes and more bypass the caches, where they would only evict the operands. */
#define LARGE_OUTPUT ((size_t)2 << 20)

/* Whether `rows` rows of n values are stored with streaming stores, which need a large output whose 64-byte vectors cross
 * neither the end of a row nor a cache line. Narrower streaming stores would serve a misaligned output badly: the 128 bytes
 * that a panel writes to a row would leave cache lines half written. */
static inline int streams(const void *out, size_t rows, size_t n)
{
    return rows * n * sizeof(int32_t) >= LARGE_OUTPUT && n % 16 == 0 && (uintptr_t)out % 64 == 0;
}

/* The base of a row, see bits_epilogue. */
static inline const int32_t *base_of(const bits_epilogue *epilogue, size_t row)
{
    return epilogue->bases ? epilogue->bases[row] + epilogue->base_at : epilogue->base;
}

/* base - 2 * count; unsigned, because 2 * count may exceed int32 where the difference does not. */
static inline int32_t value_of(int32_t base, uint32_t count) { return (int32_t)((uint32_t)base - 2 * count); }

static inline void store_plain(const uint32_t counts[BITS_PANEL], size_t row, const bits_epilogue *epilogue)
{
    const int32_t *base = base_of(epilogue, row);
    if (epilogue->thresholds) {
        uint32_t reached = 0;
        for (uint32_t c = 0; c < BITS_PANEL; c++)
            reached |= (uint32_t)(value_of(base[c], counts[c]) >= epilogue->thresholds[c]) << c;
        const uint32_t exist = epilogue->width == BITS_PANEL ? ~0u : (1u << epilogue->width) - 1;
        epilogue->bits[row * epilogue->bits_stride] = (reached ^ epilogue->flips) & exist;
    } else {
        int32_t *out = epilogue->out + row * epilogue->stride;
        for (size_t c = 0; c < epilogue->width; c++)
            out[c] = value_of(base[c], counts[c]);
    }
}

#endif
