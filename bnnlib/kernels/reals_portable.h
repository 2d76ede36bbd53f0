/* What reals.h asks for, in the vectors of GNU C. */
#include <stdint.h>
#include <string.h>

#define LANES_F 4
#define ROWS_F 1

typedef float reals __attribute__((vector_size(16)));

static inline reals load_reals(const float *p)
{
    reals x;
    memcpy(&x, p, sizeof x);
    return x;
}

static inline reals load_codes(const int8_t *p) { return (reals){p[0], p[1], p[2], p[3]}; }
static inline void store_reals(float *p, reals x) { memcpy(p, &x, sizeof x); }
static inline reals broadcast_real(float v) { return (reals){v, v, v, v}; }
static inline reals no_reals(void) { return (reals){0, 0, 0, 0}; }
static inline reals add_reals(reals x, reals y) { return x + y; }
static inline reals multiply_add(reals x, reals w, reals sum) { return sum + x * w; }

static inline uint32_t reached(reals x, const float *p)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < 4; i++)
        bits |= (uint32_t)(x[i] >= p[i]) << i;
    return bits;
}

static inline uint32_t sums_reached(const int32_t *v, const int32_t *p)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < 4; i++)
        bits |= (uint32_t)(v[i] >= p[i]) << i;
    return bits;
}

#include "reals.h"
