/* The portable kernels, the fallback everywhere: C11 with the vectors of GNU C, which gcc and clang compile to what the
 * target has (SSE2 on any x86-64, NEON, or plain words). */
#include "epilogue.h"

#define TILE_ROWS 1
#define LANES 4
#define UNROLL 2

typedef uint32_t vec __attribute__((vector_size(16), may_alias));

static inline vec load(const uint32_t *p) { return *(const vec *)p; }
static inline void write(uint32_t *p, vec x) { *(vec *)p = x; }
static inline vec broadcast(const bits_half *p) { return (vec){*p, *p, *p, *p}; }
static inline vec zero(void) { return (vec){0, 0, 0, 0}; }
static inline vec differ(vec x, vec y) { return x ^ y; }
static inline vec add_lanes(vec x, vec y) { return x + y; }
static inline vec add_bytes(vec x, vec y) { return x + y; } /* no byte overflows into the next: see STEPS_PER_BYTE */

static inline vec carry_save(vec *sum, vec x, vec y)
{
    const vec half = *sum ^ x, carry = (*sum & x) | (half & y);
    *sum = half ^ y;
    return carry;
}

/* Sums of pairs, nibbles and bytes (Hacker's Delight, section 5-1). */
static inline vec count_bytes(vec x)
{
    x = x - ((x >> 1) & 0x55555555u);
    x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
    return (x + (x >> 4)) & 0x0f0f0f0fu;
}

static inline vec sum_bytes(vec x)
{
    x = (x & 0x00ff00ffu) + ((x >> 8) & 0x00ff00ffu);
    return (x & 0xffffu) + (x >> 16);
}

#include "carry_save.h"

static inline void tile(const bits_rows *a, size_t begin, size_t rows, const uint32_t *panel, const bits_epilogue *epilogue)
{
    (void)rows; /* 1, as a constant */
    tile_of(1, a, begin, panel, epilogue);
}

#include "loops.h"
#include "strip.h"
#include "int8_portable.h"
#include "reals_portable.h"
#include "bytes_portable.h"
#include "pointwise.h"
#include "shifted.h"

/* A full word is packed like the tail of a row, value by value. */
static inline uint64_t tail_f32(const float *x, size_t count, size_t *nans);
static inline uint64_t tail_f64(const double *x, size_t count, size_t *nans);
static inline uint64_t tail_i8(const int8_t *x, size_t count);
static inline uint64_t tail_bool(const uint8_t *x, size_t count);
static inline uint64_t word_f32(const float *x, size_t *nans) { return tail_f32(x, 64, nans); }
static inline uint64_t word_f64(const double *x, size_t *nans) { return tail_f64(x, 64, nans); }
static inline uint64_t word_i8(const int8_t *x) { return tail_i8(x, 64); }
static inline uint64_t word_bool(const uint8_t *x) { return tail_bool(x, 64); }

#include "packing.h"

const bits_kernels bits_portable = {"portable", pack_f32, pack_f64, pack_i8, pack_bool, pack_channels_f32, read_words,
                                    strip, strip_i8, strip_reals, strip_codes, strip_bytes, coded, pointwise, larger, compared,
                                    to_bytes, shifted_signs, shifted_gradient, loops};
