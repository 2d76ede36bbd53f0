/* Every function by its definition, one loop for each index and one bit at a time: slow, and what all others must equal. */
#include "bits.h"

#include <string.h>

static int bit(const uint64_t *row, size_t k) { return (int)(row[k / 64] >> k % 64 & 1); }
static int sign(const uint64_t *row, size_t k) { return 2 * bit(row, k) - 1; }

void bits_reference_pack(const float *x, size_t rows, size_t columns, uint64_t *out)
{
    memset(out, 0, rows * bits_words(columns) * sizeof *out);
    for (size_t r = 0; r < rows; r++)
        for (size_t k = 0; k < columns; k++)
            if (x[r * columns + k] >= 0.0f)
                out[r * bits_words(columns) + k / 64] |= (uint64_t)1 << k % 64;
}

void bits_reference_matmul(const uint64_t *a, const uint64_t *b, size_t m, size_t n, size_t columns, int32_t *out)
{
    const size_t words = bits_words(columns);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            int64_t sum = 0;
            for (size_t k = 0; k < columns; k++)
                sum += sign(a + i * words, k) * sign(b + j * words, k);
            out[i * n + j] = (int32_t)sum;
        }
}

void bits_reference_matmul_i8(const int8_t *a, size_t a_stride, const uint64_t *b, size_t m, size_t n, size_t columns,
                              int32_t *out)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            int64_t sum = 0;
            for (size_t k = 0; k < columns; k++)
                sum += a[i * a_stride + k] * sign(b + j * bits_words(columns), k);
            out[i * n + j] = (int32_t)sum;
        }
}

void bits_reference_planes(const uint64_t *a, const bits_planes *a_planes, const uint64_t *b, const bits_planes *b_planes,
                           size_t m, size_t n, size_t columns, int32_t *out)
{
    const size_t words = bits_words(columns);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            int64_t sum = 0;
            for (size_t k = 0; k < columns; k++) {
                int64_t left = 0, right = 0;
                for (size_t p = 0; p < a_planes->count; p++)
                    left += a_planes->weights[p] * bit(a + (p * m + i) * words, k);
                for (size_t p = 0; p < b_planes->count; p++)
                    right += b_planes->weights[p] * bit(b + (p * n + j) * words, k);
                sum += left * right;
            }
            out[i * n + j] = (int32_t)sum;
        }
}

void bits_reference_convolve(const bits_convolution *c, const uint64_t *x, const uint64_t *filters, int32_t *out)
{
    const size_t words = bits_words(c->channels), heights = bits_convolution_size(c, 0), widths = bits_convolution_size(c, 1);
    for (size_t image = 0; image < c->images; image++)
        for (size_t i = 0; i < heights; i++)
            for (size_t j = 0; j < widths; j++)
                for (size_t f = 0; f < c->groups * c->filters; f++) {
                    int64_t sum = 0;
                    for (size_t u = 0; u < c->kernel[0]; u++)
                        for (size_t v = 0; v < c->kernel[1]; v++) {
                            const size_t tap = (f * c->kernel[0] + u) * c->kernel[1] + v, group = f / c->filters;
                            /* above or left of the image these wrap around to huge values */
                            const size_t row = i * c->stride[0] + u * c->dilation[0] - c->padding[0];
                            const size_t column = j * c->stride[1] + v * c->dilation[1] - c->padding[1];
                            const int inside = row < c->height && column < c->width;
                            const uint64_t *pixel =
                                inside ? x + (((image * c->height + row) * c->width + column) * c->groups + group) * words : NULL;
                            for (size_t k = 0; k < c->channels; k++)
                                sum += (inside ? sign(pixel, k) : c->pad_value) * sign(filters + tap * words, k);
                        }
                    *out++ = (int32_t)sum;
                }
}

void bits_reference_compare(const int32_t *values, size_t rows, size_t n, const bits_thresholds *compare, uint64_t *out)
{
    memset(out, 0, rows * bits_words(n) * sizeof *out);
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < n; j++)
            if ((values[r * n + j] >= compare->thresholds[j]) != (compare->flips && compare->flips[j]))
                out[r * bits_words(n) + j / 64] |= (uint64_t)1 << j % 64;
}

/* Where the values under tap (u, v) of a window at (row, column) begin; SIZE_MAX outside the map. */
static size_t under(const bits_window *w, size_t image, size_t row, size_t column, size_t u, size_t v)
{
    const size_t y = row * w->stride[0] + u * w->dilation[0], z = column * w->stride[1] + v * w->dilation[1];
    if (y < w->before[0] || y >= w->before[0] + w->height || z < w->before[1] || z >= w->before[1] + w->width)
        return SIZE_MAX;
    return ((image * w->height + y - w->before[0]) * w->width + z - w->before[1]) * w->channels;
}

void bits_reference_convolve_reals(const bits_window *w, const float *x, float pad_value, size_t filters, const float *weights,
                                   float *out)
{
    for (size_t image = 0; image < w->images; image++)
        for (size_t row = 0; row < bits_window_size(w, 0); row++)
            for (size_t column = 0; column < bits_window_size(w, 1); column++)
                for (size_t f = 0; f < filters; f++) {
                    const float *weight = weights + f * w->kernel[0] * w->kernel[1] * w->channels;
                    double sum = 0;
                    for (size_t u = 0; u < w->kernel[0]; u++)
                        for (size_t v = 0; v < w->kernel[1]; v++) {
                            const size_t at = under(w, image, row, column, u, v);
                            for (size_t k = 0; k < w->channels; k++)
                                sum += (double)*weight++ * (at == SIZE_MAX ? pad_value : x[at + k]);
                        }
                    *out++ = (float)sum;
                }
}

void bits_reference_convolve_bytes(const bits_window *w, const uint8_t *x, uint8_t pad_value, size_t filters,
                                   const int8_t *weights, int32_t *out)
{
    for (size_t image = 0; image < w->images; image++)
        for (size_t row = 0; row < bits_window_size(w, 0); row++)
            for (size_t column = 0; column < bits_window_size(w, 1); column++)
                for (size_t f = 0; f < filters; f++) {
                    const int8_t *weight = weights + f * w->kernel[0] * w->kernel[1] * w->channels;
                    int32_t sum = 0;
                    for (size_t u = 0; u < w->kernel[0]; u++)
                        for (size_t v = 0; v < w->kernel[1]; v++) {
                            const size_t at = under(w, image, row, column, u, v);
                            for (size_t k = 0; k < w->channels; k++)
                                sum += *weight++ * (at == SIZE_MAX ? pad_value : x[at + k]);
                        }
                    *out++ = sum;
                }
}

void bits_reference_max_pool(const bits_window *w, const float *x, float *out)
{
    for (size_t image = 0; image < w->images; image++)
        for (size_t row = 0; row < bits_window_size(w, 0); row++)
            for (size_t column = 0; column < bits_window_size(w, 1); column++)
                for (size_t k = 0; k < w->channels; k++, out++) {
                    int first = 1;
                    for (size_t u = 0; u < w->kernel[0]; u++)
                        for (size_t v = 0; v < w->kernel[1]; v++) {
                            const size_t at = under(w, image, row, column, u, v);
                            if (at != SIZE_MAX && (first || x[at + k] > *out))
                                *out = x[at + k], first = 0;
                        }
                }
}
