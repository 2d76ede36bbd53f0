/* x86-64 with AVX2: carry-save adders, then a byte shuffle that looks up the popcount of each nibble (Mula's method). */
#include "epilogue.h"

#include <immintrin.h>

#define TILE_ROWS 1
#define LANES 8
#define UNROLL 2

typedef __m256i vec;

static inline vec load(const uint32_t *p) { return _mm256_load_si256((const __m256i *)p); }
static inline void write(uint32_t *p, vec x) { _mm256_store_si256((__m256i *)p, x); }
static inline vec broadcast(const bits_half *p) { return _mm256_set1_epi32((int)*p); }
static inline vec zero(void) { return _mm256_setzero_si256(); }
static inline vec differ(vec x, vec y) { return _mm256_xor_si256(x, y); }
static inline vec add_lanes(vec x, vec y) { return _mm256_add_epi32(x, y); }
static inline vec add_bytes(vec x, vec y) { return _mm256_add_epi8(x, y); }

static inline vec carry_save(vec *sum, vec x, vec y)
{
    const vec half = _mm256_xor_si256(*sum, x);
    const vec carry = _mm256_or_si256(_mm256_and_si256(*sum, x), _mm256_and_si256(half, y));
    *sum = _mm256_xor_si256(half, y);
    return carry;
}

static inline vec count_bytes(vec x)
{
    const vec table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, /* both 128-bit halves */
                                       0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const vec nibble = _mm256_set1_epi8(0x0f);
    const vec low = _mm256_shuffle_epi8(table, _mm256_and_si256(x, nibble));
    const vec high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
    return _mm256_add_epi8(low, high);
}

static inline vec sum_bytes(vec x)
{
    return _mm256_madd_epi16(_mm256_maddubs_epi16(x, _mm256_set1_epi8(1)), _mm256_set1_epi16(1));
}

#include "carry_save.h"

static inline void tile(const bits_rows *a, size_t begin, size_t rows, const uint32_t *panel, const bits_epilogue *epilogue)
{
    (void)rows; /* 1, as a constant */
    tile_of(1, a, begin, panel, epilogue);
}

#include "loops.h"
#include "strip.h"

#define OUTPUTS 8
#define ROWS 2
#define STEPS 128 /* of pairs of products, from -256 to 254 */

typedef __m256i minus_vec, four_vec, sums_vec;

static inline minus_vec load_minus(const uint8_t *p) { return _mm256_load_si256((const __m256i *)p); }
static inline four_vec broadcast_four(uint32_t v) { return _mm256_set1_epi32((int)v); }
static inline sums_vec no_sums(void) { return _mm256_setzero_si256(); }

static inline sums_vec add_products(sums_vec sums, minus_vec minus, four_vec four)
{
    return _mm256_add_epi16(sums, _mm256_maddubs_epi16(minus, four));
}

static inline void total(sums_vec sums, uint32_t *counts)
{
    const __m256i pairs = _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
    _mm256_store_si256((__m256i *)counts, _mm256_add_epi32(_mm256_load_si256((const __m256i *)counts), pairs));
}

#include "int8.h"

#define LANES_F 8
#define ROWS_F 3

typedef __m256 reals;

static inline reals load_reals(const float *p) { return _mm256_loadu_ps(p); }
static inline reals load_codes(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
static inline void store_reals(float *p, reals x) { _mm256_storeu_ps(p, x); }
static inline reals broadcast_real(float v) { return _mm256_set1_ps(v); }
static inline reals no_reals(void) { return _mm256_setzero_ps(); }
static inline reals add_reals(reals x, reals y) { return _mm256_add_ps(x, y); }
static inline reals multiply_add(reals x, reals w, reals sum) { return _mm256_fmadd_ps(x, w, sum); }
static inline uint32_t reached(reals x, const float *p)
{
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_loadu_ps(p), _CMP_GE_OQ));
}
static inline uint32_t sums_reached(const int32_t *v, const int32_t *p)
{
    const __m256i below = _mm256_cmpgt_epi32(_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)v));
    return ~(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(below)) & 0xffu;
}

#include "reals.h"
#include "pointwise.h"
#include "shifted.h"

/* Bytes in 16 bits, see bytes.h: two sums for each output, of two products each. */
#define OUTPUTS_B 4
#define ROWS_B 1

typedef __m256i weights_b, four_b, sums_b;

static inline weights_b load_weights_b(const int8_t *p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p)); }
static inline four_b broadcast_b(uint32_t v)
{
    return _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128((int)v)));
}
static inline sums_b no_sums_b(void) { return _mm256_setzero_si256(); }
static inline sums_b sums_from(const int32_t *p)
{
    return _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)p)); /* into the first sum of each output */
}
static inline sums_b add_b(sums_b x, sums_b y) { return _mm256_add_epi32(x, y); }
static inline sums_b dot_b(sums_b sums, four_b four, weights_b w)
{
    return _mm256_add_epi32(sums, _mm256_madd_epi16(four, w));
}
static inline void store_b(int32_t *to, sums_b sums)
{
    _mm_store_si128((__m128i *)to, _mm_hadd_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1)));
}

#include "bytes.h"

static inline uint64_t word_f32(const float *x, size_t *nans)
{
    uint64_t word = 0, undefined = 0;
    for (size_t j = 0; j < 64; j += 8) {
        const __m256 v = _mm256_loadu_ps(x + j);
        word |= (uint64_t)(unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_GE_OQ)) << j;
        undefined |= (uint64_t)(unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)) << j;
    }
    *nans += (size_t)_mm_popcnt_u64(undefined);
    return word;
}

static inline uint64_t word_f64(const double *x, size_t *nans)
{
    uint64_t word = 0, undefined = 0;
    for (size_t j = 0; j < 64; j += 4) {
        const __m256d v = _mm256_loadu_pd(x + j);
        word |= (uint64_t)(unsigned)_mm256_movemask_pd(_mm256_cmp_pd(v, _mm256_setzero_pd(), _CMP_GE_OQ)) << j;
        undefined |= (uint64_t)(unsigned)_mm256_movemask_pd(_mm256_cmp_pd(v, v, _CMP_UNORD_Q)) << j;
    }
    *nans += (size_t)_mm_popcnt_u64(undefined);
    return word;
}

static inline uint64_t word_i8(const int8_t *x)
{
    uint64_t negative = 0;
    for (size_t j = 0; j < 64; j += 32)
        negative |= (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_loadu_si256((const __m256i *)(x + j))) << j;
    return ~negative;
}

static inline uint64_t word_bool(const uint8_t *x)
{
    uint64_t zeros = 0;
    for (size_t j = 0; j < 64; j += 32) {
        const __m256i v = _mm256_loadu_si256((const __m256i *)(x + j));
        zeros |= (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_setzero_si256())) << j;
    }
    return ~zeros;
}

#include "packing.h"

const bits_kernels bits_avx2 = {"avx2", pack_f32, pack_f64, pack_i8, pack_bool, pack_channels_f32, read_words,
                                    strip, strip_i8, strip_reals, strip_codes, strip_bytes, coded, pointwise, larger, compared,
                                    to_bytes, shifted_signs, shifted_gradient, loops};
