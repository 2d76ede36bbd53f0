/* x86-64 with AVX-512 VPOPCNTDQ and VNNI (Ice Lake, Zen 4 and later): xor, popcount and add, sixteen outputs at a time.
 *
 * A tile is eight rows by two vectors. The left vector is counted directly: two xors, popcounts and additions for each word
 * of K. The right one goes through a carry-save adder, which needs one popcount for each word: three ternary operations,
 * one popcount, one addition. Neither alone is as fast as both: the direct method is bound by the number of operations, and
 * the adder takes another register for each output, so that half as many rows would share the loads of the panel. The sums
 * (3 registers a row), the panel (4) and the temporaries (4) fill the 32 registers. */
#include "avx512.h"

#define TILE_ROWS 8

/* The running counts of one row of a tile. */
typedef struct {
    __m512i left;       /* ones of the left vector */
    __m512i right, odd; /* the right vector's ones are 2 * right + ones(odd) */
} tally;

/* Forces x into a register at this point. Without it gcc 12 interleaves the work of several rows and spills. */
#define HOLD(x) __asm__("" : "+v"(x))

/* The same for an address: the next row's is one addition away, where gcc 12 would keep eight multiples of the stride. */
#define HOLD_ADDRESS(x) __asm__("" : "+r"(x))

/* One word of a row against the same columns of the panel. */
static inline __attribute__((always_inline)) tally count(tally t, const bits_half word[2], const __m512i panel[4])
{
    const __m512i low = _mm512_set1_epi32((int)word[0]), high = _mm512_set1_epi32((int)word[1]);
    t.left = _mm512_add_epi32(t.left, _mm512_popcnt_epi32(_mm512_xor_si512(panel[0], low)));
    t.left = _mm512_add_epi32(t.left, _mm512_popcnt_epi32(_mm512_xor_si512(panel[2], high)));
    const __m512i one = _mm512_ternarylogic_epi32(low, panel[1], t.odd, 0x96); /* the parity of three */
    const __m512i both = _mm512_ternarylogic_epi32(high, panel[3], one, 0x96);
    const __m512i carry = _mm512_ternarylogic_epi32(one, t.odd, both, 0x5c); /* one ? ~both : odd, the majority */
    t.odd = both;
    t.right = _mm512_add_epi32(t.right, _mm512_popcnt_epi32(carry));
    HOLD(t.left);
    HOLD(t.right);
    HOLD(t.odd);
    return t;
}

static inline __m512i right_of(tally t)
{
    return _mm512_add_epi32(_mm512_add_epi32(t.right, t.right), _mm512_popcnt_epi32(t.odd));
}

#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)

static inline __attribute__((always_inline)) void tile_of(const size_t rows, const bits_rows *a, size_t begin,
                                                          const uint32_t *panel, const bits_epilogue *epilogue)
{
    const __m512i zero = _mm512_setzero_si512();
    const size_t stride = a->stride;
    tally t[TILE_ROWS];
#define START(r) t[r] = (tally){zero, zero, zero};
    EACH_ROW(START)
    for (size_t s = 0; s < a->runs; s++) {
        const uint64_t *words = a->first + begin * stride + a->offsets[s], *end = words + a->length;
        uintptr_t ahead = (uintptr_t)words + 8 * rows * stride; /* the next tile, if rows follow each other closely */
        for (; words < end; words++, panel += 2 * BITS_PANEL, ahead += 8 * rows) {
            const __m512i b[4] = {_mm512_load_si512(panel), _mm512_load_si512(panel + 16), _mm512_load_si512(panel + 32),
                                  _mm512_load_si512(panel + 48)};
            _mm_prefetch((const char *)ahead, _MM_HINT_T0);
            uintptr_t word = (uintptr_t)words;
#define COUNT(r) if (rows > r) { t[r] = count(t[r], (const bits_half *)word, b); word += 8 * stride; HOLD_ADDRESS(word); }
            EACH_ROW(COUNT)
        }
    }
    /* The same stores several times over, so that each condition is tested once for the tile and not for each row. */
    const bits_epilogue w = *epilogue;
#define COUNTS(r) (const __m512i[VECTORS]){t[r].left, right_of(t[r])}
#define STORE(r) if (rows > r) store(COUNTS(r), begin + r, &w);
#define STORE_FROM(r) if (rows > r) store_from(base, COUNTS(r), begin + r, &w);
    if (w.thresholds) {
        EACH_ROW(STORE)
    } else if (w.width == BITS_PANEL && w.bases) {
        EACH_ROW(STORE)
    } else if (w.width == BITS_PANEL) {
        const __m512i base[VECTORS] = {_mm512_loadu_si512(w.base), _mm512_loadu_si512(w.base + 16)};
        if (w.stream) {
            EACH_ROW(STORE_FROM)
        } else {
            EACH_ROW(STORE_FROM)
        }
    } else {
        __m512i counts[TILE_ROWS][VECTORS];
#define SAVE(r) if (rows > r) counts[r][0] = t[r].left, counts[r][1] = right_of(t[r]);
        EACH_ROW(SAVE)
#pragma GCC unroll 1
        for (size_t r = 0; r < rows; r++)
            store(counts[r], begin + r, epilogue);
    }
}

/* With a constant number of rows all sums stay in registers. */
#define TILE(n) static void tile_##n(const bits_rows *a, size_t begin, const uint32_t *panel, \
                                     const bits_epilogue *epilogue) \
    { tile_of(n, a, begin, panel, epilogue); }
TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6) TILE(7) TILE(8)

static inline void tile(const bits_rows *a, size_t begin, size_t rows, const uint32_t *panel, const bits_epilogue *epilogue)
{
    static void (*const tiles[])(const bits_rows *, size_t, const uint32_t *, const bits_epilogue *) = {
        tile_1, tile_2, tile_3, tile_4, tile_5, tile_6, tile_7, tile_8};
    tiles[rows - 1](a, begin, panel, epilogue);
}

#include "loops.h"
#include "strip.h"

const bits_kernels bits_avx512_vpopcntdq = {"avx512-vpopcntdq", pack_f32, pack_f64, pack_i8, pack_bool, pack_channels_f32,
                                            read_words, strip, strip_i8, strip_reals, strip_codes, strip_bytes, coded,
                                            pointwise, larger, compared, to_bytes, shifted_signs, shifted_gradient, loops};
