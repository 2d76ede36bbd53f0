/* aarch64: NEON, which every such processor has. One instruction counts the bits of each byte; carry-save adders still halve
 * the bytes to count and the counts to add. */
#include "epilogue.h"

#include <arm_neon.h>
#include <string.h>

#define TILE_ROWS 2
#define LANES 4
#define UNROLL 2

typedef uint32x4_t vec;

static inline vec load(const uint32_t *p) { return vld1q_u32(p); }
static inline void write(uint32_t *p, vec x) { vst1q_u32(p, x); }
static inline vec broadcast(const bits_half *p) { return vdupq_n_u32(*p); }
static inline vec zero(void) { return vdupq_n_u32(0); }
static inline vec differ(vec x, vec y) { return veorq_u32(x, y); }
static inline vec add_lanes(vec x, vec y) { return vaddq_u32(x, y); }
static inline vec sum_bytes(vec x) { return vpaddlq_u16(vpaddlq_u8(vreinterpretq_u8_u32(x))); }
static inline vec count_bytes(vec x) { return vreinterpretq_u32_u8(vcntq_u8(vreinterpretq_u8_u32(x))); }

static inline vec add_bytes(vec x, vec y)
{
    return vreinterpretq_u32_u8(vaddq_u8(vreinterpretq_u8_u32(x), vreinterpretq_u8_u32(y)));
}

static inline vec carry_save(vec *sum, vec x, vec y)
{
    const vec half = veorq_u32(*sum, x), carry = vbslq_u32(half, y, x); /* y where sum and x differ, else either */
    *sum = veorq_u32(half, y);
    return carry;
}

#include "carry_save.h"

static inline void tile(const bits_rows *a, size_t begin, size_t rows, const uint32_t *panel, const bits_epilogue *epilogue)
{
    if (rows == 2)
        tile_of(2, a, begin, panel, epilogue);
    else
        tile_of(1, a, begin, panel, epilogue);
}

#include "loops.h"
#include "strip.h"

#define OUTPUTS 4
#define ROWS 1
#define STEPS 256 /* of products of at most 128 */

typedef int8x16_t minus_vec;
typedef int8x8_t four_vec;
typedef struct {
    int16x8_t low, high; /* two outputs each */
} sums_vec;

static inline minus_vec load_minus(const uint8_t *p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
static inline four_vec broadcast_four(uint32_t v) { return vreinterpret_s8_u32(vdup_n_u32(v)); }
static inline sums_vec no_sums(void) { return (sums_vec){vdupq_n_s16(0), vdupq_n_s16(0)}; }

static inline sums_vec add_products(sums_vec sums, minus_vec minus, four_vec four)
{
    sums.low = vmlal_s8(sums.low, vget_low_s8(minus), four);
    sums.high = vmlal_s8(sums.high, vget_high_s8(minus), four);
    return sums;
}

static inline void total(sums_vec sums, uint32_t *counts)
{
    const int32x4_t totals = vpaddq_s32(vpaddlq_s16(sums.low), vpaddlq_s16(sums.high));
    vst1q_u32(counts, vaddq_u32(vld1q_u32(counts), vreinterpretq_u32_s32(totals)));
}

#include "int8.h"

#define LANES_F 4
#define ROWS_F 2

typedef float32x4_t reals;

static inline reals load_reals(const float *p) { return vld1q_f32(p); }
static inline reals load_codes(const int8_t *p)
{
    int8_t eight[8] = {0};
    memcpy(eight, p, 4);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(eight)))));
}
static inline void store_reals(float *p, reals x) { vst1q_f32(p, x); }
static inline reals broadcast_real(float v) { return vdupq_n_f32(v); }
static inline reals no_reals(void) { return vdupq_n_f32(0.0f); }
static inline reals add_reals(reals x, reals y) { return vaddq_f32(x, y); }
static inline reals multiply_add(reals x, reals w, reals sum) { return vfmaq_f32(sum, x, w); }
static inline uint32_t reached(reals x, const float *p)
{
    static const uint32_t bit[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcgeq_f32(x, vld1q_f32(p)), vld1q_u32(bit)));
}
static inline uint32_t sums_reached(const int32_t *v, const int32_t *p)
{
    static const uint32_t bit[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcgeq_s32(vld1q_s32(v), vld1q_s32(p)), vld1q_u32(bit)));
}

#include "reals.h"
#include "pointwise.h"
#include "shifted.h"

/* Bytes in 16 bits, see bytes.h: two sums for each output, of two products each, which lie between -32,640 and 32,385. */
#define OUTPUTS_B 2
#define ROWS_B 1

typedef int16x8_t weights_b, four_b;
typedef int32x4_t sums_b;

static inline weights_b load_weights_b(const int8_t *p) { return vmovl_s8(vld1_s8(p)); }
static inline four_b broadcast_b(uint32_t v)
{
    return vreinterpretq_s16_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(v))));
}
static inline sums_b no_sums_b(void) { return vdupq_n_s32(0); }
static inline sums_b sums_from(const int32_t *p)
{
    return vreinterpretq_s32_u64(vmovl_u32(vreinterpret_u32_s32(vld1_s32(p)))); /* into the first sum of each output */
}
static inline sums_b add_b(sums_b x, sums_b y) { return vaddq_s32(x, y); }
static inline sums_b dot_b(sums_b sums, four_b four, weights_b w) { return vpadalq_s16(sums, vmulq_s16(four, w)); }
static inline void store_b(int32_t *to, sums_b sums) { vst1_s32(to, vpadd_s32(vget_low_s32(sums), vget_high_s32(sums))); }

#include "bytes.h"

/* Eight lanes of ones or zeros, each masked to its own bit, add up to a byte. */
static inline uint64_t eight(uint16x8_t lanes)
{
    static const uint16_t bit[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    return vaddvq_u16(vandq_u16(lanes, vld1q_u16(bit)));
}

static inline uint64_t word_f32(const float *x, size_t *nans)
{
    const float32x4_t zeros = vdupq_n_f32(0.0f);
    uint64_t word = 0, defined = 0;
    for (size_t j = 0; j < 64; j += 8) {
        const float32x4_t low = vld1q_f32(x + j), high = vld1q_f32(x + j + 4);
        word |= eight(vcombine_u16(vmovn_u32(vcgeq_f32(low, zeros)), vmovn_u32(vcgeq_f32(high, zeros)))) << j;
        defined |= eight(vcombine_u16(vmovn_u32(vceqq_f32(low, low)), vmovn_u32(vceqq_f32(high, high)))) << j;
    }
    *nans += (size_t)__builtin_popcountll(~defined);
    return word;
}

static inline uint64_t word_f64(const double *x, size_t *nans)
{
    uint64_t word = 0;
    for (size_t j = 0; j < 64; j++) { /* rarely used: left to the compiler */
        word |= (uint64_t)(x[j] >= 0.0) << j;
        *nans += x[j] != x[j];
    }
    return word;
}

static inline uint64_t word_i8(const int8_t *x)
{
    uint64_t word = 0;
    for (size_t j = 0; j < 64; j += 8)
        word |= eight(vreinterpretq_u16_s16(vmovl_s8(vreinterpret_s8_u8(vcgez_s8(vld1_s8(x + j)))))) << j;
    return word;
}

static inline uint64_t word_bool(const uint8_t *x)
{
    uint64_t word = 0;
    for (size_t j = 0; j < 64; j += 8) {
        const uint8x8_t set = vtst_u8(vld1_u8(x + j), vdup_n_u8(0xff));
        word |= eight(vreinterpretq_u16_s16(vmovl_s8(vreinterpret_s8_u8(set)))) << j;
    }
    return word;
}

#include "packing.h"

const bits_kernels bits_neon = {"neon", pack_f32, pack_f64, pack_i8, pack_bool, pack_channels_f32, read_words,
                                    strip, strip_i8, strip_reals, strip_codes, strip_bytes, coded, pointwise, larger, compared,
                                    to_bytes, shifted_signs, shifted_gradient, loops};
