/* Thresholds in the layout of strips: padded to whole panels, the flips as bits. */
#ifndef BNNLIB_COMPARE_H
#define BNNLIB_COMPARE_H

#include "bits.h"

#include <stdlib.h>

typedef struct {
    int32_t *thresholds; /* panels * BITS_PANEL */
    uint32_t *flips;     /* panels */
} panel_thresholds;

static inline void panel_thresholds_free(panel_thresholds *made)
{
    free(made->thresholds), free(made->flips);
    *made = (panel_thresholds){NULL, NULL};
}

/* For `groups` groups of n outputs. Returns 0, or -1 if there is no memory; `made` is then empty, and may be freed. */
static inline int panel_thresholds_make(panel_thresholds *made, const bits_thresholds *compare, size_t groups, size_t n)
{
    const size_t panels = bits_panels(n);
    made->thresholds = calloc(groups * panels * BITS_PANEL, sizeof *made->thresholds);
    made->flips = calloc(groups * panels, sizeof *made->flips);
    if (!made->thresholds || !made->flips)
        return panel_thresholds_free(made), -1;
    for (size_t g = 0; g < groups; g++)
        for (size_t j = 0; j < n; j++) {
            made->thresholds[g * panels * BITS_PANEL + j] = compare->thresholds[g * n + j];
            if (compare->flips && compare->flips[g * n + j])
                made->flips[g * panels + j / BITS_PANEL] |= (uint32_t)1 << j % BITS_PANEL;
        }
    return 0;
}

#endif
