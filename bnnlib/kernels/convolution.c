/* Direct convolution on the bits, without im2col. The rows of a strip are output pixels a fixed stride apart in the (padded)
 * image, and each row of the filter is one run of their words
 * (with groups or dilation, each tap).
 *
 * Padding with -1 or +1 is a border of zero or one bits. Padding with 0 is a border of -1 with a correction: each tap that
 * falls on it has added -w to sum(x * w), so the sum of those taps' weights is added back. The correction is the same for
 * all pixels whose filter overlaps the border in the same taps (nine classes for a 3x3 filter with padding 1), and is added
 * to the number of terms in the base of the epilogue.
 *
 * A pixel of at most 32 channels fills half a word. Then two rows of the filter share one: a second copy of the images has in
 * its upper halves the pixels that the filter's next row sees, and a 3x3 filter takes six words, not nine. */
#include "compare.h"
#include "epilogue.h"

#include <string.h>

/* Outputs narrower than this are cut into strips along the images of a batch, if there are more images than columns. */
#define NARROW 12
/* Bytes of padded images that are one block, with one pass over the panels: both stay in the first-level cache. */
#define IMAGE_BLOCK ((size_t)16 << 10)

size_t bits_convolution_size(const bits_convolution *c, int axis)
{
    const size_t covered = c->dilation[axis] * (c->kernel[axis] - 1) + 1;
    const size_t padded = (axis ? c->width : c->height) + 2 * c->padding[axis];
    return padded < covered ? 0 : (padded - covered) / c->stride[axis] + 1;
}

/* Whether two rows of the filter share a word. */
static int paired(const bits_convolution *c) { return c->channels <= 32 && c->kernel[0] > 1; }

size_t bits_filter_words(const bits_convolution *c)
{
    return (paired(c) ? (c->kernel[0] + 1) / 2 : c->kernel[0]) * c->kernel[1] * bits_words(c->channels);
}

/* Output positions of one axis, classified by the taps that fall on the padding. */
typedef struct {
    size_t classes;
    size_t *of;             /* class of each output position */
    size_t *before, *after; /* for each class, the taps before the image and past its end */
} positions;

static int classify(positions *made, const bits_convolution *c, int axis)
{
    const size_t size = bits_convolution_size(c, axis), length = axis ? c->width : c->height;
    size_t *buffer = malloc(3 * size * sizeof *buffer);
    if (!buffer)
        return -1;
    *made = (positions){0, buffer, buffer + size, buffer + 2 * size};
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

struct bits_border {
    positions rows, columns;
    int32_t *tables;       /* bases, (class of rows, class of columns, group, panel, BITS_PANEL) */
    const int32_t **bases; /* pointers into tables, (class of rows, output column) */
};

static int32_t terms_of(const bits_convolution *c) { return (int32_t)(c->kernel[0] * c->kernel[1] * c->channels); }

void bits_border_free(bits_border *border)
{
    if (border)
        free(border->rows.of), free(border->columns.of), free(border->tables), free(border->bases);
    free(border);
}

bits_border *bits_border_make(const bits_convolution *c, const int32_t *tap_sums)
{
    const size_t taps = c->kernel[0] * c->kernel[1], size = bits_panels(c->filters) * BITS_PANEL;
    const size_t widths = bits_convolution_size(c, 1);
    bits_border *made = calloc(1, sizeof *made);
    if (!made || classify(&made->rows, c, 0) || classify(&made->columns, c, 1)) {
        bits_border_free(made);
        return NULL;
    }
    made->tables = malloc(made->rows.classes * made->columns.classes * c->groups * size * sizeof *made->tables);
    made->bases = malloc(made->rows.classes * widths * sizeof *made->bases);
    if (!made->tables || !made->bases) {
        bits_border_free(made);
        return NULL;
    }
    for (size_t i = 0; i < made->rows.classes; i++) {
        for (size_t j = 0; j < made->columns.classes; j++)
            for (size_t g = 0; g < c->groups; g++) {
                int32_t *table = made->tables + ((i * made->columns.classes + j) * c->groups + g) * size;
                for (size_t f = 0; f < size; f++)
                    table[f] = terms_of(c);
                for (size_t u = 0; u < c->kernel[0]; u++)
                    for (size_t v = 0; v < c->kernel[1]; v++) {
                        const int inside = u >= made->rows.before[i] && u + made->rows.after[i] < c->kernel[0]
                                           && v >= made->columns.before[j] && v + made->columns.after[j] < c->kernel[1];
                        const int32_t *sums = tap_sums + (g * taps + u * c->kernel[1] + v) * size;
                        for (size_t f = 0; !inside && f < size; f++)
                            table[f] += sums[f];
                    }
            }
        for (size_t column = 0; column < widths; column++)
            made->bases[i * widths + column] =
                made->tables + (i * made->columns.classes + made->columns.of[column]) * c->groups * size;
    }
    return made;
}

typedef struct {
    const bits_kernels *kernels;
    const bits_convolution *c;
    const uint64_t *x;         /* padded */
    size_t height, width;      /* of the padded images */
    size_t heights, widths;    /* of the output */
    size_t words, pixel;       /* words of a pixel: of one group, of all groups */
    size_t runs, length;
    size_t *offsets;
    const uint32_t *panels;
    int32_t base[BITS_PANEL];  /* K, where no padding changes it */
    const bits_border *border; /* or NULL */
    const panel_thresholds *compare;
    void *out;
    int along_images, stream;
    size_t image_block; /* images that share a pass over the panels */
} task;

/* Copies the images into a buffer of padded ones; where two rows of the filter share a word, after the pairs. */
static int pad(task *t, const uint64_t *x, uint64_t **buffer)
{
    const bits_convolution *c = t->c;
    const size_t size = c->images * t->height * t->width * t->pixel;
    uint64_t *pairs = *buffer = malloc((paired(c) ? 2 : 1) * size * sizeof *pairs);
    if (!pairs)
        return -1;
    uint64_t *to = paired(c) ? pairs + size : pairs;
    if (c->pad_value == 1) {
        for (size_t i = 0; i < size; i++)
            to[i] = c->channels % 64 && i % t->words == t->words - 1 ? ((uint64_t)1 << c->channels % 64) - 1 : ~(uint64_t)0;
    } else
        memset(to, 0, size * sizeof *to);
    for (size_t image = 0; image < c->images; image++)
        for (size_t row = 0; row < c->height && c->width; row++)
            memcpy(to + ((image * t->height + row + c->padding[0]) * t->width + c->padding[1]) * t->pixel,
                   x + (image * c->height + row) * c->width * t->pixel, c->width * t->pixel * sizeof *to);
    if (paired(c)) { /* what lies below the last row is in no filter */
        const size_t below = c->dilation[0] * t->width * t->pixel;
        for (size_t i = 0; i < size; i++)
            pairs[i] = to[i] | (i + below < size ? to[i + below] << 32 : 0);
    }
    t->x = pairs;
    return 0;
}

/* One strip: the output pixels from (image, row, column) on, along the width or along the images. */
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
    bits_epilogue epilogue = {.base = t->base,
                              .width = c->filters - filter < BITS_PANEL ? c->filters - filter : BITS_PANEL};
    if (t->border) {
        const int32_t *const *bases = t->border->bases + t->border->rows.of[row] * t->widths;
        if (t->along_images)
            epilogue.base = bases[column] + at;
        else
            epilogue.bases = bases, epilogue.base_at = at;
    }
    if (t->compare) {
        epilogue.thresholds = t->compare->thresholds + at, epilogue.flips = t->compare->flips[group * panels + panel];
        epilogue.bits_stride = 2 * bits_words(outputs);
        epilogue.bits = (bits_half *)t->out + pixel * epilogue.bits_stride + group * c->filters / 32 + panel;
        epilogue.bits_stride *= step;
    } else {
        epilogue.out = (int32_t *)t->out + pixel * outputs + group * c->filters + filter, epilogue.stride = outputs * step;
        epilogue.stream = t->stream;
    }
    const size_t panel_size = bits_panel_size(bits_filter_words(c));
    const size_t rows = t->along_images ? c->images : t->widths;
    t->kernels->strip(&a, rows, t->panels + (group * panels + panel) * panel_size, &epilogue);
}

/* Strips begin .. end. A panel stays in the first-level cache for all strips of one image, or of several small ones. */
static void part(void *context, size_t begin, size_t end)
{
    const task *t = context;
    const size_t many = t->along_images ? end - begin : t->heights * t->image_block; /* consecutive strips of one panel */
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
    if (t->stream)
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* streaming stores are not ordered otherwise */
}

int bits_convolve(const bits_kernels *kernels, const bits_convolution *c, const uint64_t *x, const uint32_t *panels,
                  const int32_t *tap_sums, const bits_border *border, const bits_thresholds *compare, void *out, int threads)
{
    const size_t words = bits_words(c->channels), pixel = c->groups * words, outputs = c->groups * c->filters;
    const int padded = c->padding[0] || c->padding[1];
    task t = {kernels, c, x, c->height + 2 * c->padding[0], c->width + 2 * c->padding[1], bits_convolution_size(c, 0),
              bits_convolution_size(c, 1), words, pixel, .panels = panels, .out = out};
    if (!c->images || !t.heights || !t.widths || !outputs)
        return 0;
    for (size_t i = 0; i < BITS_PANEL; i++)
        t.base[i] = terms_of(c);
    /* The taps of a row of the filter are one run if their words are contiguous. */
    const int joined = c->groups == 1 && c->dilation[1] == 1;
    t.length = joined ? c->kernel[1] * words : words;
    t.runs = bits_filter_words(c) / t.length;
    t.along_images = t.widths < NARROW && c->images > t.widths;
    t.image_block = IMAGE_BLOCK / (t.height * t.width * pixel * sizeof *x);
    t.image_block += !t.image_block; /* at least one */

    panel_thresholds made = {NULL, NULL};
    uint64_t *buffer = NULL;
    bits_border *own = NULL;
    int failed = (t.offsets = malloc(t.runs * sizeof *t.offsets)) == NULL;
    for (size_t s = 0; !failed && s < t.runs; s++) {
        const size_t u = (joined ? s : s / c->kernel[1]) * (paired(c) ? 2 : 1), v = joined ? 0 : s % c->kernel[1];
        t.offsets[s] = (u * c->dilation[0] * t.width + v * c->dilation[1]) * pixel;
        if (paired(c) && u + 1 == c->kernel[0]) /* a last row by itself: in the copy whose upper halves are empty */
            t.offsets[s] += c->images * t.height * t.width * pixel;
    }
    failed = failed || ((padded || paired(c)) && pad(&t, x, &buffer)) || (compare && panel_thresholds_make(&made, compare, c->groups, c->filters));
    if (!failed && padded && c->pad_value == 0) {
        if (!border)
            border = own = bits_border_make(c, tap_sums);
        t.border = border;
        failed = !border;
    }
    if (!failed) {
        t.compare = compare ? &made : NULL;
        t.stream = !compare && c->filters % 16 == 0 && streams(out, c->images * t.heights * t.widths, outputs);
        if (compare && bits_panels(outputs) % 2) /* the last word of a pixel has only one half */
            memset(out, 0, c->images * t.heights * t.widths * bits_words(outputs) * sizeof(uint64_t));
        bits_in_parallel(threads, t.along_images ? t.heights * t.widths : c->images * t.heights, part, &t);
    }
    panel_thresholds_free(&made);
    free(buffer), free(t.offsets), bits_border_free(own);
    return failed ? -1 : 0;
}
