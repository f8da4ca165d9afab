/* SPDX-License-Identifier: Apache-2.0
 * The state of a database, as something to compare. */
#ifndef CP_VERSION_H
#define CP_VERSION_H

#include <stdint.h>

/** Equal ones: nothing was committed in between. Different ones say nothing
 * about their order. */
typedef struct cp_version_t {
    uint64_t epoch;  /**< of who counts; unique over all processes */
    uint64_t number; /**< within the epoch */
} cp_version_t;

static inline int cp_version_equals(cp_version_t a, cp_version_t b)
{
    return a.epoch == b.epoch && a.number == b.number;
}

#endif
