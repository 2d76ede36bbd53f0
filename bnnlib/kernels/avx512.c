/* x86-64 with AVX-512 F, BW and VL but without the vector popcount (Skylake-X): the method of AVX2 at twice the width, with a
 * carry-save adder of two instructions. */
#include "avx512.h"

#define TILE_ROWS 4
#define LANES 16
#define UNROLL 2

typedef __m512i vec;

static inline vec load(const uint32_t *p) { return _mm512_load_si512(p); }
static inline void write(uint32_t *p, vec x) { _mm512_store_si512(p, x); }
static inline vec broadcast(const bits_half *p) { return _mm512_set1_epi32((int)*p); }
static inline vec zero(void) { return _mm512_setzero_si512(); }
static inline vec differ(vec x, vec y) { return _mm512_xor_si512(x, y); }
static inline vec add_lanes(vec x, vec y) { return _mm512_add_epi32(x, y); }
static inline vec add_bytes(vec x, vec y) { return _mm512_add_epi8(x, y); }

static inline vec carry_save(vec *sum, vec x, vec y)
{
    const vec carry = _mm512_ternarylogic_epi32(*sum, x, y, 0xe8); /* the majority */
    *sum = _mm512_ternarylogic_epi32(*sum, x, y, 0x96);            /* the parity */
    return carry;
}

static inline vec count_bytes(vec x)
{
    const vec table = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const vec nibble = _mm512_set1_epi8(0x0f);
    const vec low = _mm512_shuffle_epi8(table, _mm512_and_si512(x, nibble));
    const vec high = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(x, 4), nibble));
    return _mm512_add_epi8(low, high);
}

static inline vec sum_bytes(vec x)
{
    return _mm512_madd_epi16(_mm512_maddubs_epi16(x, _mm512_set1_epi8(1)), _mm512_set1_epi16(1));
}

#include "carry_save.h"

static inline void tile(const bits_rows *a, size_t begin, size_t rows, const uint32_t *panel, const bits_epilogue *epilogue)
{
    switch (rows) { /* with a constant number of rows all sums stay in registers */
    case 4: tile_of(4, a, begin, panel, epilogue); break;
    case 3: tile_of(3, a, begin, panel, epilogue); break;
    case 2: tile_of(2, a, begin, panel, epilogue); break;
    default: tile_of(1, a, begin, panel, epilogue);
    }
}

#include "loops.h"
#include "strip.h"

const bits_kernels bits_avx512 = {"avx512", pack_f32, pack_f64, pack_i8, pack_bool, pack_channels_f32, read_words,
                                    strip, strip_i8, strip_reals, strip_codes, strip_bytes, coded, pointwise, larger, compared,
                                    to_bytes, shifted_signs, shifted_gradient, loops};
