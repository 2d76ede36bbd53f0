/* What the two AVX-512 kernels share: the epilogue, packing, and what is not bits. */
#include "epilogue.h"

#include <immintrin.h>

#define VECTORS (BITS_PANEL / 16) /* vectors of sixteen 32-bit lanes in a panel */

/* Stores one row of a tile: base - 2 * count or its comparison with the thresholds, for the columns that exist. */
static inline __attribute__((always_inline)) void store_from(const __m512i base[VECTORS], const __m512i counts[VECTORS],
                                                             size_t row, const bits_epilogue *epilogue)
{
    uint32_t reached = 0;
    for (size_t v = 0; v < VECTORS; v++) {
        const __m512i value = _mm512_sub_epi32(base[v], _mm512_add_epi32(counts[v], counts[v]));
        if (epilogue->thresholds) {
            const __m512i thresholds = _mm512_loadu_si512(epilogue->thresholds + 16 * v);
            reached |= (uint32_t)_mm512_cmpge_epi32_mask(value, thresholds) << (16 * v);
            continue;
        }
        int32_t *out = epilogue->out + row * epilogue->stride + 16 * v;
        if (epilogue->width >= 16 * (v + 1)) {
            if (epilogue->stream)
                _mm512_stream_si512((void *)out, value);
            else
                _mm512_storeu_si512(out, value);
        } else if (epilogue->width > 16 * v)
            _mm512_mask_storeu_epi32(out, (__mmask16)((1u << (epilogue->width - 16 * v)) - 1), value);
    }
    if (epilogue->thresholds)
        epilogue->bits[row * epilogue->bits_stride] =
            (reached ^ epilogue->flips) & (epilogue->width == BITS_PANEL ? ~0u : (1u << epilogue->width) - 1);
}

static inline __attribute__((always_inline)) void store(const __m512i counts[VECTORS], size_t row,
                                                        const bits_epilogue *epilogue)
{
    const int32_t *base = base_of(epilogue, row);
    store_from((const __m512i[VECTORS]){_mm512_loadu_si512(base), _mm512_loadu_si512(base + 16)}, counts, row, epilogue);
}

/* A comparison of sixteen floats is sixteen bits. */
static inline uint64_t word_f32(const float *x, size_t *nans)
{
    const __m512 zero = _mm512_setzero_ps(), v[4] = {_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16), _mm512_loadu_ps(x + 32),
                                                     _mm512_loadu_ps(x + 48)};
    for (size_t line = 0; line < 64; line += 16) /* 4 KiB ahead: a tenth faster from memory, never slower */
        _mm_prefetch((const char *)((uintptr_t)(x + 1024 + line)), _MM_HINT_T0);
    /* One comparison of two vectors tells whether either has a NaN; which one is looked up only then. */
    const __mmask16 undefined = _mm512_cmp_ps_mask(v[0], v[1], _CMP_UNORD_Q) | _mm512_cmp_ps_mask(v[2], v[3], _CMP_UNORD_Q);
    if (__builtin_expect(undefined, 0))
        for (size_t j = 0; j < 4; j++)
            *nans += (size_t)_mm_popcnt_u32(_mm512_cmp_ps_mask(v[j], v[j], _CMP_UNORD_Q));
    /* Joined as masks, so that 64 values take one transfer to the integer registers. */
    return _mm512_kunpackd(_mm512_kunpackw(_mm512_cmp_ps_mask(v[3], zero, _CMP_GE_OQ), _mm512_cmp_ps_mask(v[2], zero, _CMP_GE_OQ)),
                           _mm512_kunpackw(_mm512_cmp_ps_mask(v[1], zero, _CMP_GE_OQ), _mm512_cmp_ps_mask(v[0], zero, _CMP_GE_OQ)));
}

static inline uint64_t word_f64(const double *x, size_t *nans)
{
    uint64_t word = 0, undefined = 0;
    for (size_t j = 0; j < 64; j += 8) {
        const __m512d v = _mm512_loadu_pd(x + j);
        word |= (uint64_t)_mm512_cmp_pd_mask(v, _mm512_setzero_pd(), _CMP_GE_OQ) << j;
        undefined |= (uint64_t)_mm512_cmp_pd_mask(v, v, _CMP_UNORD_Q) << j;
    }
    *nans += (size_t)_mm_popcnt_u64(undefined);
    return word;
}

static inline uint64_t word_i8(const int8_t *x) { return ~(uint64_t)_mm512_movepi8_mask(_mm512_loadu_si512(x)); }

static inline uint64_t word_bool(const uint8_t *x)
{
    const __m512i v = _mm512_loadu_si512(x);
    return _mm512_test_epi8_mask(v, v);
}

#include "packing.h"

/* int8 values against signs, see int8.h. */
#define OUTPUTS 16
#define ROWS 4
#define STEPS 128 /* of pairs of products, from -256 to 254 */

typedef __m512i minus_vec, four_vec, sums_vec;

static inline minus_vec load_minus(const uint8_t *p) { return _mm512_load_si512(p); }
static inline four_vec broadcast_four(uint32_t v) { return _mm512_set1_epi32((int)v); }
static inline sums_vec no_sums(void) { return _mm512_setzero_si512(); }

static inline sums_vec add_products(sums_vec sums, minus_vec minus, four_vec four)
{
    return _mm512_add_epi16(sums, _mm512_maddubs_epi16(minus, four));
}

static inline void total(sums_vec sums, uint32_t *counts)
{
    const __m512i pairs = _mm512_madd_epi16(sums, _mm512_set1_epi16(1));
    _mm512_store_si512(counts, _mm512_add_epi32(_mm512_load_si512(counts), pairs));
}

#include "int8.h"

/* float32 values, see reals.h. */
#define LANES_F 16
#define ROWS_F 12

typedef __m512 reals;

static inline reals load_reals(const float *p) { return _mm512_loadu_ps(p); }
static inline reals load_codes(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
static inline void store_reals(float *p, reals x) { _mm512_storeu_ps(p, x); }
static inline reals broadcast_real(float v) { return _mm512_set1_ps(v); }
static inline reals no_reals(void) { return _mm512_setzero_ps(); }
static inline reals add_reals(reals x, reals y) { return _mm512_add_ps(x, y); }
static inline reals multiply_add(reals x, reals w, reals sum) { return _mm512_fmadd_ps(x, w, sum); }
static inline uint32_t reached(reals x, const float *p) { return _mm512_cmp_ps_mask(x, _mm512_loadu_ps(p), _CMP_GE_OQ); }
static inline uint32_t sums_reached(const int32_t *v, const int32_t *p)
{
    return _mm512_cmpge_epi32_mask(_mm512_loadu_si512(v), _mm512_loadu_si512(p));
}

#include "pointwise.h"
#include "shifted.h"
#include "reals.h"

/* Bytes, see bytes.h. */
#ifdef __AVX512VNNI__
#define OUTPUTS_B 16
#define ROWS_B 14

typedef __m512i weights_b, four_b, sums_b;

static inline weights_b load_weights_b(const int8_t *p) { return _mm512_loadu_si512(p); }
static inline four_b broadcast_b(uint32_t v) { return _mm512_set1_epi32((int)v); }
static inline sums_b dot_b(sums_b sums, four_b four, weights_b w) { return _mm512_dpbusd_epi32(sums, four, w); }
static inline sums_b sums_from(const int32_t *p) { return _mm512_loadu_si512(p); }
static inline void store_b(int32_t *to, sums_b sums) { _mm512_store_si512(to, sums); }

#define REACHED_B
static inline uint32_t reached_b(const sums_b sums[2], const int32_t *p)
{
    return (uint32_t)_mm512_cmpge_epi32_mask(sums[0], _mm512_loadu_si512(p))
           | (uint32_t)_mm512_cmpge_epi32_mask(sums[1], _mm512_loadu_si512(p + 16)) << 16;
}
#else /* in 16 bits: two sums for each output, of two products each */
#define OUTPUTS_B 8
#define ROWS_B 4

typedef __m512i weights_b, four_b, sums_b;

static inline weights_b load_weights_b(const int8_t *p)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)p));
}
static inline four_b broadcast_b(uint32_t v)
{
    return _mm512_broadcastq_epi64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128((int)v)));
}
static inline sums_b dot_b(sums_b sums, four_b four, weights_b w)
{
    return _mm512_add_epi32(sums, _mm512_madd_epi16(four, w));
}
static inline sums_b sums_from(const int32_t *p)
{
    return _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)p)); /* into the first sum of each output */
}
static inline void store_b(int32_t *to, sums_b sums)
{
    const __m512i swapped = _mm512_shuffle_epi32(sums, _MM_PERM_CDAB);
    _mm256_store_si256((__m256i *)to, _mm512_cvtepi64_epi32(_mm512_add_epi32(sums, swapped)));
}
#endif
static inline sums_b no_sums_b(void) { return _mm512_setzero_si512(); }
static inline sums_b add_b(sums_b x, sums_b y) { return _mm512_add_epi32(x, y); }

#define CODED
static inline void coded(const int32_t *values, size_t width, const int32_t *thresholds, size_t steps, size_t step,
                         const int32_t *turned, uint8_t *out)
{
    const __m512i one = _mm512_set1_epi32(1), all = _mm512_set1_epi32((int)steps + 1);
    for (size_t v = 0; v < VECTORS && 16 * v < width; v++) {
        const __m512i value = _mm512_loadu_si512(values + 16 * v), down = _mm512_loadu_si512(turned + 16 * v);
        __m512i code = _mm512_setzero_si512();
        for (size_t s = 0; s < steps; s++) {
            const __m512i threshold = _mm512_loadu_si512(thresholds + s * step + 16 * v);
            code = _mm512_mask_add_epi32(code, _mm512_cmpge_epi32_mask(value, threshold), code, one);
        }
        code = _mm512_add_epi32(_mm512_xor_si512(code, down), _mm512_and_si512(down, all)); /* ~code is -code - 1 */
        const size_t left = width - 16 * v;
        const __m128i bytes = _mm512_cvtepi32_epi8(code);
        if (left >= 16)
            _mm_storeu_si128((__m128i *)(out + 16 * v), bytes);
        else
            _mm_mask_storeu_epi8(out + 16 * v, (__mmask16)((1u << left) - 1), bytes);
    }
}

#include "bytes.h"
