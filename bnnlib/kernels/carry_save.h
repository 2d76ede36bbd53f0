/* A tile for processors without a popcount of vectors. Counting the bits of a vector costs several instructions, so four
 * vectors are first added bit by bit: three carry-save adders (full adders without a carry chain) turn them, and the ones
 * and twos carried over from earlier steps, into one vector of fours, and only that is counted (Harley and Seal; Hacker's
 * Delight, section 5-1).
 *
 * An including file defines, before including:
 *   vec, LANES             a vector of LANES 32-bit lanes
 *   TILE_ROWS, UNROLL      rows and vectors of the panel that one pass keeps in registers
 *   load(p), broadcast(p), zero(), differ(x, y), add_bytes(x, y), add_lanes(x, y), write(p, x)
 *   carry_save(sum, x, y)  sum becomes sum ^ x ^ y, bit by bit; returns the carries
 *   count_bytes(x)         the ones of each byte
 *   sum_bytes(x)           the sum of the four bytes of each 32-bit lane
 * and gets tile_of(). */
#include "epilogue.h"

#define STEPS_PER_BYTE 31 /* a byte holds the sum of 31 counts of at most 8 */

static inline __attribute__((always_inline)) void tile_of(const size_t rows, const bits_rows *a, size_t begin,
                                                          const uint32_t *panel, const bits_epilogue *epilogue)
{
    _Alignas(64) uint32_t counts[TILE_ROWS][BITS_PANEL];
    for (size_t c = 0; c < BITS_PANEL; c += UNROLL * LANES) {
        vec ones[TILE_ROWS][UNROLL], twos[TILE_ROWS][UNROLL], bytes[TILE_ROWS][UNROLL], fours[TILE_ROWS][UNROLL];
        for (size_t r = 0; r < rows; r++)
            for (size_t v = 0; v < UNROLL; v++)
                ones[r][v] = twos[r][v] = bytes[r][v] = fours[r][v] = zero();
        const uint32_t *columns = panel + c;
        size_t steps_left = STEPS_PER_BYTE;
        for (size_t s = 0; s < a->runs; s++) {
            const bits_half *values = (const bits_half *)(a->first + begin * a->stride + a->offsets[s]);
            for (size_t w = 0; w < a->length; w += 2) {
                const int pair = w + 2 <= a->length; /* else the run ends with a single word */
                for (size_t r = 0; r < rows; r++) {
                    const bits_half *value = values + 2 * (r * a->stride + w);
                    for (size_t v = 0; v < UNROLL; v++) {
                        const uint32_t *from = columns + v * LANES;
                        vec carry = carry_save(&ones[r][v], differ(load(from), broadcast(value)),
                                               differ(load(from + BITS_PANEL), broadcast(value + 1)));
                        vec other = zero();
                        if (pair)
                            other = carry_save(&ones[r][v], differ(load(from + 2 * BITS_PANEL), broadcast(value + 2)),
                                               differ(load(from + 3 * BITS_PANEL), broadcast(value + 3)));
                        bytes[r][v] = add_bytes(bytes[r][v], count_bytes(carry_save(&twos[r][v], carry, other)));
                    }
                }
                columns += (pair ? 4 : 2) * BITS_PANEL;
                if (--steps_left == 0) {
                    for (size_t r = 0; r < rows; r++)
                        for (size_t v = 0; v < UNROLL; v++) {
                            fours[r][v] = add_lanes(fours[r][v], sum_bytes(bytes[r][v]));
                            bytes[r][v] = zero();
                        }
                    steps_left = STEPS_PER_BYTE;
                }
            }
        }
        for (size_t r = 0; r < rows; r++)
            for (size_t v = 0; v < UNROLL; v++) {
                vec sum = add_lanes(fours[r][v], sum_bytes(bytes[r][v]));
                sum = add_lanes(sum, sum);
                sum = add_lanes(sum, sum_bytes(count_bytes(twos[r][v])));
                sum = add_lanes(sum, sum);
                write(counts[r] + c + v * LANES, add_lanes(sum, sum_bytes(count_bytes(ones[r][v]))));
            }
    }
    for (size_t r = 0; r < rows; r++)
        store_plain(counts[r], begin + r, epilogue);
}
