/* What bytes.h asks for, in plain C. */
#include <stdint.h>
#include <string.h>

#define OUTPUTS_B 4
#define ROWS_B 1

typedef int32_t sums_b __attribute__((vector_size(16)));
typedef const int8_t *weights_b;
typedef uint32_t four_b;

static inline weights_b load_weights_b(const int8_t *p) { return p; }
static inline four_b broadcast_b(uint32_t v) { return v; }
static inline sums_b no_sums_b(void) { return (sums_b){0, 0, 0, 0}; }
static inline sums_b sums_from(const int32_t *p) { return (sums_b){p[0], p[1], p[2], p[3]}; }
static inline sums_b add_b(sums_b x, sums_b y) { return x + y; }

static inline sums_b dot_b(sums_b sums, four_b four, weights_b w)
{
    const int32_t a = four & 255, b = four >> 8 & 255, c = four >> 16 & 255, d = (int32_t)(four >> 24);
    return sums + (sums_b){a * w[0] + b * w[1] + c * w[2] + d * w[3], a * w[4] + b * w[5] + c * w[6] + d * w[7],
                           a * w[8] + b * w[9] + c * w[10] + d * w[11], a * w[12] + b * w[13] + c * w[14] + d * w[15]};
}

static inline void store_b(int32_t *to, sums_b sums) { memcpy(to, &sums, sizeof sums); }

#include "bytes.h"
