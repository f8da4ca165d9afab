/* SPDX-License-Identifier: Apache-2.0
 * A histogram of times, and it as JSON. */
#include "histogram.h"

/* Octave n > 0 begins at 64 << n, its buckets are 1 << n wide. */
static unsigned bucket_of(uint64_t us)
{
    unsigned octave = 0;

    while ((us >> octave) >= 2 * HISTOGRAM_STEPS) {
        octave++;
    }
    return octave * HISTOGRAM_STEPS + (unsigned)(us >> octave);
}

static uint64_t middle_of(unsigned bucket)
{
    unsigned octave = bucket < 2 * HISTOGRAM_STEPS
                          ? 0
                          : bucket / HISTOGRAM_STEPS - 1;
    uint64_t first = (uint64_t)(bucket - octave * HISTOGRAM_STEPS) << octave;

    return first + ((uint64_t)1 << octave) / 2;
}

void histogram_add(histogram_t *histogram, uint64_t us)
{
    unsigned bucket = bucket_of(us);

    if (bucket >= HISTOGRAM_BUCKETS) {
        bucket = HISTOGRAM_BUCKETS - 1;
    }
    histogram->counts[bucket]++;
}

void histogram_print(const histogram_t *histogram, FILE *out)
{
    const char *between = "";

    fputc('[', out);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (histogram->counts[i]) {
            fprintf(out, "%s[%llu,%llu]", between,
                    (unsigned long long)middle_of(i),
                    (unsigned long long)histogram->counts[i]);
            between = ",";
        }
    }
    fputc(']', out);
}
