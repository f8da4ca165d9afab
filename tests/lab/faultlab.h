/* SPDX-License-Identifier: Apache-2.0
 * What the injector and its masters share: a file that both have mapped, so
 * that faults of a running server can be switched on and off.
 * t/lib/ConnPoolFaults.pm writes the same records. */
#ifndef FAULTLAB_H
#define FAULTLAB_H

#include <stdint.h>

#define FAULTLAB_RULES 16

/** One fault, of 256 bytes. The master fills everything but the counters and
 * sets is_active last; a rule is not changed while it is active. */
typedef struct faultlab_rule_t {
    uint32_t is_active; /**< atomic */
    int32_t error;      /**< errno of a failure, or a code of getaddrinfo */
    uint64_t least;     /**< only calls of at least so many bytes */
    uint64_t skip;      /**< the first so many matching calls pass */
    uint64_t limit;     /**< it strikes so often; 0: always */
    uint64_t delay_us;  /**< before anything else happens */
    int64_t value;      /**< short: bytes that are taken; clock: microseconds */
    uint64_t seen;      /**< matching calls; atomic */
    uint64_t fired;     /**< times it struck; atomic */
    char call[16];      /**< what is called: "pwrite", "malloc", ... */
    char
        action[16]; /**< "fail", "short", "lie", "delay", "shift", "loopback" */
    char name[160]; /**< part of the file's path, "address:port" of the other
                         side, the host looked up, or the library that calls;
                         empty: any */
} faultlab_rule_t;

typedef struct faultlab_t {
    faultlab_rule_t rules[FAULTLAB_RULES];
} faultlab_t;

#endif
