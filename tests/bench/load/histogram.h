/* SPDX-License-Identifier: Apache-2.0
 * How long answers took, counted in microseconds: exact below 128, above with
 * 64 steps an octave, so that no figure is off by more than 1.6 %. */
#ifndef LOAD_HISTOGRAM_H
#define LOAD_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

enum {
    HISTOGRAM_STEPS = 64,
    HISTOGRAM_BUCKETS = HISTOGRAM_STEPS * 40
};

typedef struct histogram_t {
    uint64_t counts[HISTOGRAM_BUCKETS];
} histogram_t;

void histogram_add(histogram_t *histogram, uint64_t us);

/* As JSON: [[microseconds, count], ...], without empty buckets. */
void histogram_print(const histogram_t *histogram, FILE *out);

#endif
