/* The functions that a network in C is made of; bnnlib.packed.export.c copies those that a network uses. Between the lines
 * that begin with "//:" stands one function each, with the names of those that it calls.
 *
 * Maps have channels last. Bits are packed along the channels, 32 to a word, the least significant bit first; bits past the
 * last channel are 0. Floating point: no contraction of products and sums, but fmaf where it is written. */

//: multiply_add
/* x * y + z, rounded once. Without an instruction for it: the product of two floats is exact in double, and the sum, rounded to
 * odd there (its last bit set where it is inexact), gives on rounding to float what one rounding would. */
static float multiply_add(float x, float y, float z)
{
#if defined(__wasm__)
    const double product = (double)x * y, total = product + z, back = total - product;
    const double error = (product - (total - back)) + (z - back);
    union { double value; uint64_t bits; } odd = {total};
    if (error != 0.0 && !(odd.bits & 1))
        odd.bits += (error > 0.0) == (total > 0.0) ? 1 : (uint64_t)-1;
    return (float)odd.value;
#else
    return fmaf(x, y, z);
#endif
}

//: nearest
/* The nearest whole number, of two the even one. */
static float nearest(float x)
{
#if defined(__wasm__)
    return __builtin_nearbyintf(x);
#else
    return rintf(x);
#endif
}

//: window
/* A window that goes over a map: top and left are zeros around it, or codes of the value pad. */
typedef struct {
    int height, width, channels;          /* of the input */
    int out_height, out_width, outputs;   /* of the output */
    int kernel[2], stride[2], dilation[2], top, left, groups, pad;
} window;

/* The row (axis 0) or column (axis 1) of the input under a tap; it may lie outside. */
static int under(const window *w, int axis, int out, int tap)
{
    return out * w->stride[axis] + tap * w->dilation[axis] - (axis ? w->left : w->top);
}

static int inside(const window *w, int y, int x)
{
    return y >= 0 && y < w->height && x >= 0 && x < w->width;
}

//: words
static size_t words(int channels) { return ((size_t)channels + 31) / 32; }

//: ones
static int ones(uint32_t x)
{
#if defined(__POPCNT__) || defined(__wasm__) || defined(__aarch64__)
    return __builtin_popcount(x);
#else
    x = x - ((x >> 1) & 0x55555555u);
    x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
    return (int)((((x + (x >> 4)) & 0x0f0f0f0fu) * 0x01010101u) >> 24);
#endif
}

//: channels_last
static void channels_last(const float *x, int pixels, int channels, float *out)
{
    for (int p = 0; p < pixels; p++)
        for (int c = 0; c < channels; c++)
            *out++ = x[(size_t)c * pixels + p];
}

//: flatten
static void flatten(const float *x, int pixels, int channels, float *out)
{
    for (int c = 0; c < channels; c++)
        for (int p = 0; p < pixels; p++)
            *out++ = x[(size_t)p * channels + c];
}

//: reals_of_sums
static void reals_of_sums(const int32_t *x, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)x[i];
}

//: reals_of_codes
static void reals_of_codes(const int16_t *x, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)x[i];
}

//: is_positive
/* shift has `shifts` values, which repeat over the map: one for each channel, or for each value. */
static int is_positive(float x, size_t i, const float *shift, size_t shifts, int strict)
{
    if (shifts)
        x += shift[i % shifts];
    return strict ? x > 0.0f : x >= 0.0f;
}

//: signs is_positive words
static void signs(const float *x, int pixels, int channels, const float *shift, size_t shifts, int strict, uint32_t *out)
{
    for (int p = 0; p < pixels; p++, out += words(channels)) {
        for (size_t w = 0; w < words(channels); w++)
            out[w] = 0;
        for (int c = 0; c < channels; c++) {
            const size_t i = (size_t)p * channels + c;
            out[c / 32] |= (uint32_t)is_positive(x[i], i, shift, shifts, strict) << (c % 32);
        }
    }
}

//: sign_codes is_positive
static void sign_codes(const float *x, size_t n, const float *shift, size_t shifts, int strict, int16_t *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = is_positive(x[i], i, shift, shifts, strict) ? 1 : -1;
}

//: levels nearest
/* With a step of 0, x is multiplied by `factor`. */
static void levels(const float *x, size_t n, float step, float factor, float low, float high, int16_t *out)
{
    for (size_t i = 0; i < n; i++) {
        float v = step > 0.0f ? x[i] / step : x[i] * factor;
        v = v < low ? low : v > high ? high : v;
        out[i] = (int16_t)nearest(v);
    }
}

//: convolve_signs window words ones
/* Signs times signs: for each tap the number of channels less twice the number of bits that differ. */
static void convolve_signs(const uint32_t *x, const uint32_t *weights, const window *w, int32_t *out)
{
    const int each = w->channels / w->groups;
    const size_t of_pixel = words(w->channels), of_tap = words(each);
    for (int i = 0; i < w->out_height; i++)
        for (int j = 0; j < w->out_width; j++) {
            const uint32_t *tap = weights;
            for (int o = 0; o < w->outputs; o++) {
                const int first = o / (w->outputs / w->groups) * each; /* channel of the group */
                int32_t sum = 0;
                for (int k = 0; k < w->kernel[0]; k++)
                    for (int l = 0; l < w->kernel[1]; l++, tap += of_tap) {
                        const int y = under(w, 0, i, k), z = under(w, 1, j, l), in = inside(w, y, z);
                        if (!in && !w->pad)
                            continue;
                        const uint32_t *pixel = in ? x + ((size_t)y * w->width + z) * of_pixel : 0;
                        int differing = 0;
                        for (size_t v = 0; v < of_tap; v++) {
                            const int left = each - 32 * (int)v;
                            const uint32_t mask = left < 32 ? (1u << left) - 1u : 0xffffffffu;
                            uint32_t bits = w->pad > 0 ? mask : 0u;
                            if (in) {
                                const size_t at = (size_t)first + 32 * v, shift = at % 32;
                                bits = pixel[at / 32] >> shift;
                                if (shift && at / 32 + 1 < of_pixel)
                                    bits |= pixel[at / 32 + 1] << (32 - shift);
                                bits &= mask;
                            }
                            differing += ones(bits ^ tap[v]);
                        }
                        sum += each - 2 * differing;
                    }
                *out++ = sum;
            }
        }
}

//: convolve window
/* The convolutions of numbers are the same but for their types: of the input, of the weights, and of the sum. */
#define CONVOLVE(name, input, weight, total)                                                                    \
    static void name(const input *x, const weight *weights, const window *w, total *out)                        \
    {                                                                                                           \
        const int each = w->channels / w->groups;                                                               \
        for (int i = 0; i < w->out_height; i++)                                                                 \
            for (int j = 0; j < w->out_width; j++) {                                                            \
                const weight *tap = weights;                                                                    \
                for (int o = 0; o < w->outputs; o++) {                                                          \
                    const int first = o / (w->outputs / w->groups) * each;                                      \
                    total sum = 0;                                                                              \
                    for (int k = 0; k < w->kernel[0]; k++)                                                      \
                        for (int l = 0; l < w->kernel[1]; l++, tap += each) {                                   \
                            const int y = under(w, 0, i, k), z = under(w, 1, j, l), in = inside(w, y, z);       \
                            const input *pixel = in ? x + ((size_t)y * w->width + z) * w->channels + first : 0; \
                            for (int c = 0; c < each; c++)                                                      \
                                sum += (total)(in ? pixel[c] : (input)w->pad) * (total)tap[c];                  \
                        }                                                                                       \
                    *out++ = sum;                                                                               \
                }                                                                                               \
            }                                                                                                   \
    }

//: convolve_codes convolve
CONVOLVE(convolve_codes, int16_t, int16_t, int32_t)

//: convolve_reals convolve
CONVOLVE(convolve_reals, float, float, float)

//: convolve_reals_codes convolve
CONVOLVE(convolve_reals_codes, float, int16_t, float)

//: compare words
/* Bits: (sum >= threshold) xor flip. */
static void compare(const int32_t *sums, int pixels, int outputs, const int32_t *thresholds, const uint32_t *flips,
                    uint32_t *out)
{
    for (int p = 0; p < pixels; p++, sums += outputs, out += words(outputs)) {
        for (size_t w = 0; w < words(outputs); w++)
            out[w] = flips[w];
        for (int o = 0; o < outputs; o++)
            out[o / 32] ^= (uint32_t)(sums[o] >= thresholds[o]) << (o % 32);
    }
}

//: pool_bits window words
/* The OR over each window, then an xor. */
static void pool_bits(const uint32_t *x, const window *w, const uint32_t *inverted, uint32_t *out)
{
    const size_t of_pixel = words(w->channels);
    for (int i = 0; i < w->out_height; i++)
        for (int j = 0; j < w->out_width; j++, out += of_pixel)
            for (size_t v = 0; v < of_pixel; v++) {
                uint32_t any = 0;
                for (int k = 0; k < w->kernel[0]; k++)
                    for (int l = 0; l < w->kernel[1]; l++) {
                        const int y = under(w, 0, i, k), z = under(w, 1, j, l);
                        if (inside(w, y, z))
                            any |= x[((size_t)y * w->width + z) * of_pixel + v];
                    }
                out[v] = any ^ inverted[v];
            }
}

//: pool_largest window
static void pool_largest(const float *x, const window *w, float *out)
{
    for (int i = 0; i < w->out_height; i++)
        for (int j = 0; j < w->out_width; j++)
            for (int c = 0; c < w->channels; c++) {
                int some = 0;
                float largest = 0.0f;
                for (int k = 0; k < w->kernel[0]; k++)
                    for (int l = 0; l < w->kernel[1]; l++) {
                        const int y = under(w, 0, i, k), z = under(w, 1, j, l);
                        if (!inside(w, y, z))
                            continue;
                        const float v = x[((size_t)y * w->width + z) * w->channels + c];
                        largest = some && largest >= v ? largest : v;
                        some = 1;
                    }
                *out++ = largest;
            }
}

//: pool_average window
/* Zeros around the map count (bottom and right so many) or not (-1). */
static void pool_average(const float *x, const window *w, int bottom, int right, float *out)
{
    for (int i = 0; i < w->out_height; i++)
        for (int j = 0; j < w->out_width; j++)
            for (int c = 0; c < w->channels; c++) {
                int count = 0;
                float sum = 0.0f;
                for (int k = 0; k < w->kernel[0]; k++)
                    for (int l = 0; l < w->kernel[1]; l++) {
                        const int y = under(w, 0, i, k), z = under(w, 1, j, l);
                        count += inside(w, y, z) || (bottom >= 0 && y < w->height + bottom && z < w->width + right);
                        if (inside(w, y, z))
                            sum += x[((size_t)y * w->width + z) * w->channels + c];
                    }
                *out++ = sum / (float)count;
            }
}

//: input_scale window
/* The mean absolute value of each group's channels under the kernel. */
static void input_scale(const float *x, const window *w, float *out)
{
    const int each = w->channels / w->groups;
    const float share = 1.0f / (float)(w->kernel[0] * w->kernel[1]);
    for (int i = 0; i < w->out_height; i++)
        for (int j = 0; j < w->out_width; j++)
            for (int g = 0; g < w->groups; g++) {
                float sum = 0.0f;
                for (int k = 0; k < w->kernel[0]; k++)
                    for (int l = 0; l < w->kernel[1]; l++) {
                        const int y = under(w, 0, i, k), z = under(w, 1, j, l);
                        float sizes = 0.0f;
                        for (int c = 0; c < each && inside(w, y, z); c++) {
                            const float v = x[((size_t)y * w->width + z) * w->channels + g * each + c];
                            sizes += v < 0.0f ? -v : v;
                        }
                        sum += sizes / (float)each * share;
                    }
                *out++ = sum;
            }
}

//: scale
static void scale(const float *x, size_t n, const float *values, size_t count, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * values[i % count];
}

//: bias
static void bias(const float *x, size_t n, const float *values, size_t count, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] + values[i % count];
}

//: norm multiply_add
static void norm(const float *x, size_t n, const float *multiplier, const float *offset, size_t count, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = multiply_add(x[i], multiplier[i % count], offset[i % count]);
}

//: clip_low
static void clip_low(const float *x, size_t n, float low, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] < low ? low : x[i];
}

//: clip
static void clip(const float *x, size_t n, float low, float high, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] < low ? low : x[i] > high ? high : x[i];
}

//: bend
/* before and after may be NULL. */
static void bend(const float *x, size_t n, const float *slope, size_t slopes, const float *before, const float *after,
                 size_t channels, float *out)
{
    for (size_t i = 0; i < n; i++) {
        const float v = before ? x[i] + before[i % channels] : x[i];
        const float negative = v < 0.0f ? v * slope[i % slopes] : 0.0f;
        const float bent = (v > 0.0f ? v : 0.0f) + negative;
        out[i] = after ? bent + after[i % channels] : bent;
    }
}

//: add
static void add(const float *x, const float *y, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] + y[i];
}

//: multiply
/* y has one value for each `each` channels of x. */
static void multiply(const float *x, const float *y, size_t n, size_t each, float *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] * y[i / each];
}
