/* SPDX-License-Identifier: Apache-2.0
 * What the fuzz targets share. Each takes any bytes and ends the process when
 * a promise is broken. They run for long under libFuzzer (`make fuzz`), and
 * over tests/fuzz/corpus/NAME in `make check`. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include <apr_pools.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** Ends the process when what must hold does not, in every build. */
#define MUST(condition)                                                        \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fuzz_broken(#condition, __FILE__, __LINE__);                       \
        }                                                                      \
    } while (0)

__attribute__((noreturn)) void fuzz_broken(const char *condition,
                                           const char *file, int line);

/** A pool for one input; the one before is destroyed. */
apr_pool_t *fuzz_pool(void);

/** The bytes in memory of their own, so that each read behind them is seen;
 * lives as long as the pool. */
char *fuzz_copy(apr_pool_t *p, const void *data, size_t size);

/** The same with a NUL behind it, up to the first NUL. */
char *fuzz_text(apr_pool_t *p, const void *data, size_t size);

/** Take so many bytes from the front, or what there is; *pgot says how many. */
const uint8_t *fuzz_take(const uint8_t **pdata, size_t *psize, size_t wanted,
                         size_t *pgot);

/** Take one byte; 0 when there is none. */
unsigned fuzz_byte(const uint8_t **pdata, size_t *psize);

#endif
