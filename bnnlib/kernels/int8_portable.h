/* What int8.h asks for, in the vectors of GNU C. */
#include <stdint.h>
#include <string.h>

#define OUTPUTS 4
#define ROWS 1
#define STEPS 256 /* of products of at most 128 */

typedef uint8_t minus_vec __attribute__((vector_size(16)));
typedef int16_t half_vec __attribute__((vector_size(16)));
typedef half_vec four_vec;
typedef struct {
    half_vec low, high; /* two outputs each */
} sums_vec;

static inline minus_vec load_minus(const uint8_t *p)
{
    minus_vec x;
    memcpy(&x, p, sizeof x);
    return x;
}

static inline four_vec broadcast_four(uint32_t v)
{
    const int16_t a = (int8_t)v, b = (int8_t)(v >> 8), c = (int8_t)(v >> 16), d = (int8_t)(v >> 24);
    return (four_vec){a, b, c, d, a, b, c, d};
}

static inline sums_vec no_sums(void) { return (sums_vec){{0}, {0}}; }

static inline half_vec widened(const uint8_t *eight)
{
    typedef uint8_t bytes __attribute__((vector_size(8)));
    bytes x;
    memcpy(&x, eight, sizeof x);
    return __builtin_convertvector(x, half_vec);
}

static inline sums_vec add_products(sums_vec sums, minus_vec minus, four_vec four)
{
    uint8_t bytes[16];
    memcpy(bytes, &minus, sizeof bytes);
    sums.low += widened(bytes) * four;
    sums.high += widened(bytes + 8) * four;
    return sums;
}

static inline void total(sums_vec sums, uint32_t *counts)
{
    for (int i = 0; i < 8; i++) {
        counts[i / 4] += (uint32_t)sums.low[i];
        counts[2 + i / 4] += (uint32_t)sums.high[i];
    }
}

#include "int8.h"
