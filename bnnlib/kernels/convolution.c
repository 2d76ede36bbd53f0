/* Convolution straight on the bits: no matrix of patches is ever made. The rows that a strip takes are output pixels that
 * lie a fixed stride apart in the (padded) image, and the rows of the filter are the runs of their words.
 *
 * Padding with -1 or +1 is a border of zeros or ones. Padding with 0 is a border of -1 whose share is taken back: where
 * taps lie outside, sum(x * w) lacks -w of each, so the sum of those taps' weights is added. It is the same for all pixels
 * that miss the same taps (nine classes for a 3x3 filter with padding 1), and joins K in the base of the way out. */
#include "compare.h"
#include "way_out.h"

#include <string.h>

/* Below this width of the output, strips run along the images of a batch if those are more. */
#define NARROW 12

size_t bits_convolution_size(const bits_convolution *c, int axis)
{
    const size_t covered = c->dilation[axis] * (c->kernel[axis] - 1) + 1;
    const size_t padded = (axis ? c->width : c->height) + 2 * c->padding[axis];
    return padded < covered ? 0 : (padded - covered) / c->stride[axis] + 1;
}

/* Which taps of one axis lie outside, for each class of output positions that miss the same ones. */
typedef struct {
    size_t classes;
    size_t *of;             /* class of each output position */
    size_t *before, *after; /* taps of each class before and behind the image */
} border;

static int border_make(border *made, const bits_convolution *c, int axis)
{
    const size_t size = bits_convolution_size(c, axis), length = axis ? c->width : c->height;
    size_t *room = malloc(3 * size * sizeof *room);
    if (!room)
        return -1;
    *made = (border){0, room, room + size, room + 2 * size};
    for (size_t o = 0; o < size; o++) {
        size_t before = 0, after = 0;
        for (size_t k = 0; k < c->kernel[axis]; k++) {
            const size_t at = o * c->stride[axis] + k * c->dilation[axis]; /* in the padded image */
            before += at < c->padding[axis];
            after += at >= c->padding[axis] + length;
        }
        size_t class = 0;
        while (class < made->classes && (made->before[class] != before || made->after[class] != after))
            class++;
        if (class == made->classes)
            made->before[class] = before, made->after[class] = after, made->classes++;
        made->of[o] = class;
    }
    return 0;
}

typedef struct {
    const bits_kernels *kernels;
    const bits_convolution *c;
    const uint64_t *x;         /* padded */
    size_t height, width;      /* of it */
    size_t heights, widths;    /* of the output */
    size_t words, pixel;       /* of a group's channels, of all groups' */
    size_t runs, length;
    size_t *offsets;
    const uint32_t *panels;
    int32_t base[BITS_PANEL];  /* K, if no padding changes it */
    border rows, columns;
    int32_t *tables;           /* bases (class of rows, class of columns, group, panel, BITS_PANEL) */
    const int32_t **bases;     /* (class of rows, output column): into tables */
    const panel_thresholds *compare;
    void *out;
    int along_images, past_caches;
} task;

/* Copies the images into the middle of padded ones. */
static int pad(task *t, const uint64_t *x, uint64_t **room)
{
    const bits_convolution *c = t->c;
    const size_t size = c->images * t->height * t->width * t->pixel;
    uint64_t *to = *room = malloc(size * sizeof *to);
    if (!to)
        return -1;
    if (c->pad_value == 1) {
        for (size_t i = 0; i < size; i++)
            to[i] = c->channels % 64 && i % t->words == t->words - 1 ? ((uint64_t)1 << c->channels % 64) - 1 : ~(uint64_t)0;
    } else
        memset(to, 0, size * sizeof *to);
    for (size_t image = 0; image < c->images; image++)
        for (size_t row = 0; row < c->height && c->width; row++)
            memcpy(to + ((image * t->height + row + c->padding[0]) * t->width + c->padding[1]) * t->pixel,
                   x + (image * c->height + row) * c->width * t->pixel, c->width * t->pixel * sizeof *to);
    t->x = to;
    return 0;
}

/* K plus the weights of the taps that lie outside, for each class of pixels. */
static int tabulate(task *t, const int32_t *tap_sums)
{
    const bits_convolution *c = t->c;
    const size_t taps = c->kernel[0] * c->kernel[1], size = bits_panels(c->filters) * BITS_PANEL;
    if (border_make(&t->rows, c, 0) || border_make(&t->columns, c, 1))
        return -1;
    t->tables = malloc(t->rows.classes * t->columns.classes * c->groups * size * sizeof *t->tables);
    t->bases = malloc(t->rows.classes * t->widths * sizeof *t->bases);
    if (!t->tables || !t->bases)
        return -1;
    for (size_t i = 0; i < t->rows.classes; i++) {
        for (size_t j = 0; j < t->columns.classes; j++)
            for (size_t g = 0; g < c->groups; g++) {
                int32_t *table = t->tables + ((i * t->columns.classes + j) * c->groups + g) * size;
                for (size_t f = 0; f < size; f++)
                    table[f] = t->base[0];
                for (size_t u = 0; u < c->kernel[0]; u++)
                    for (size_t v = 0; v < c->kernel[1]; v++) {
                        const int inside = u >= t->rows.before[i] && u + t->rows.after[i] < c->kernel[0]
                                           && v >= t->columns.before[j] && v + t->columns.after[j] < c->kernel[1];
                        const int32_t *sums = tap_sums + (g * taps + u * c->kernel[1] + v) * size;
                        for (size_t f = 0; !inside && f < size; f++)
                            table[f] += sums[f];
                    }
            }
        for (size_t column = 0; column < t->widths; column++)
            t->bases[i * t->widths + column] =
                t->tables + (i * t->columns.classes + t->columns.of[column]) * c->groups * size;
    }
    return 0;
}

/* One strip: output pixels (image, row, column) and following, along the width or along the images. */
static void strip(const task *t, size_t group, size_t panel, size_t image, size_t row, size_t column)
{
    const bits_convolution *c = t->c;
    const size_t panels = bits_panels(c->filters), at = (group * panels + panel) * BITS_PANEL;
    const size_t filter = panel * BITS_PANEL, outputs = c->groups * c->filters;
    const size_t pixel = (image * t->heights + row) * t->widths + column; /* of the output */
    const size_t step = t->along_images ? t->heights * t->widths : 1;
    const bits_rows a = {t->x + ((image * t->height + row * c->stride[0]) * t->width + column * c->stride[1]) * t->pixel
                             + group * t->words,
                         (t->along_images ? t->height * t->width : c->stride[1]) * t->pixel, t->runs, t->length, t->offsets};
    bits_way_out way = {.base = t->base, .width = c->filters - filter < BITS_PANEL ? c->filters - filter : BITS_PANEL};
    if (t->tables) {
        const int32_t *const *bases = t->bases + t->rows.of[row] * t->widths;
        if (t->along_images)
            way.base = bases[column] + at;
        else
            way.bases = bases, way.base_at = at;
    }
    if (t->compare) {
        way.thresholds = t->compare->thresholds + at, way.flips = t->compare->flips[group * panels + panel];
        way.bits_stride = 2 * bits_words(outputs);
        way.bits = (bits_half *)t->out + pixel * way.bits_stride + group * c->filters / 32 + panel;
        way.bits_stride *= step;
    } else {
        way.out = (int32_t *)t->out + pixel * outputs + group * c->filters + filter, way.stride = outputs * step;
        way.past_caches = t->past_caches;
    }
    t->kernels->strip(&a, t->along_images ? c->images : t->widths,
                      t->panels + (group * panels + panel) * bits_panel_size(c->kernel[0] * c->kernel[1] * t->words), &way);
}

/* Strips begin .. end. A panel stays in the first-level cache while the strips of an image pass. */
static void part(void *context, size_t begin, size_t end)
{
    const task *t = context;
    const size_t many = t->along_images ? end - begin : t->heights; /* strips that a panel meets in a row */
    for (size_t first = begin, last; first < end; first = last) {
        last = t->along_images ? end : (first / many + 1) * many;
        last = last < end ? last : end;
        for (size_t group = 0; group < t->c->groups; group++)
            for (size_t panel = 0; panel < bits_panels(t->c->filters); panel++)
                for (size_t s = first; s < last; s++)
                    if (t->along_images)
                        strip(t, group, panel, 0, s / t->widths, s % t->widths);
                    else
                        strip(t, group, panel, s / t->heights, s % t->heights, 0);
    }
    if (t->past_caches)
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* stores around the caches are not ordered by themselves */
}

int bits_convolve(const bits_kernels *kernels, const bits_convolution *c, const uint64_t *x, const uint32_t *panels,
                  const int32_t *tap_sums, const bits_thresholds *compare, void *out, int threads)
{
    const size_t words = bits_words(c->channels), pixel = c->groups * words, outputs = c->groups * c->filters;
    const int padded = c->padding[0] || c->padding[1];
    task t = {kernels, c, x, c->height + 2 * c->padding[0], c->width + 2 * c->padding[1], bits_convolution_size(c, 0),
              bits_convolution_size(c, 1), words, pixel, .panels = panels, .out = out};
    if (!c->images || !t.heights || !t.widths || !outputs)
        return 0;
    for (size_t i = 0; i < BITS_PANEL; i++)
        t.base[i] = (int32_t)(c->kernel[0] * c->kernel[1] * c->channels);
    /* Neighbouring taps of a filter's row are one run if nothing lies between them. */
    const int joined = c->groups == 1 && c->dilation[1] == 1;
    t.length = joined ? c->kernel[1] * words : words;
    t.runs = c->kernel[0] * (joined ? 1 : c->kernel[1]);
    t.along_images = t.widths < NARROW && c->images > t.widths;

    panel_thresholds made = {NULL, NULL};
    uint64_t *room = NULL;
    int failed = (t.offsets = malloc(t.runs * sizeof *t.offsets)) == NULL;
    for (size_t s = 0; !failed && s < t.runs; s++) {
        const size_t u = joined ? s : s / c->kernel[1], v = joined ? 0 : s % c->kernel[1];
        t.offsets[s] = (u * c->dilation[0] * t.width + v * c->dilation[1]) * pixel;
    }
    failed = failed || (padded && pad(&t, x, &room)) || (padded && c->pad_value == 0 && tabulate(&t, tap_sums))
             || (compare && panel_thresholds_make(&made, compare, c->groups, c->filters));
    if (!failed) {
        t.compare = compare ? &made : NULL;
        t.past_caches = !compare && c->filters % 16 == 0 && past_caches(out, c->images * t.heights * t.widths, outputs);
        if (compare && bits_panels(outputs) % 2) /* the last word of a pixel has one half only */
            memset(out, 0, c->images * t.heights * t.widths * bits_words(outputs) * sizeof(uint64_t));
        bits_in_parallel(threads, t.along_images ? t.heights * t.widths : c->images * t.heights, part, &t);
    }
    panel_thresholds_free(&made);
    free(room), free(t.offsets), free(t.rows.of), free(t.columns.of), free(t.tables), free(t.bases);
    return failed ? -1 : 0;
}
