/* SPDX-License-Identifier: Apache-2.0
 * Pure parsers of what administrators write: words, numbers, durations, sizes.
 * Each returns NULL, or a sentence (allocated in p) that names the value and
 * what is allowed; the caller puts the directive's name in front. */
#ifndef CP_PARAMS_H
#define CP_PARAMS_H

#include <stdint.h>

#include <apr_pools.h>
#include <apr_time.h>

/** Split a raw argument line into words. Quotes ('' or "") may stand anywhere
 * in a word (match="a b"); inside them a backslash escapes the quote and the
 * backslash. *pwords ends with NULL. */
const char *cp_params_split(apr_pool_t *p, const char *line,
                            const char ***pwords, int *pcount);

/** Names of pools, queries, upstreams: [A-Za-z_][A-Za-z0-9_.-]{0,63}. */
const char *cp_params_name(apr_pool_t *p, const char *word);

/** Decimal integer in [min, max]; no sign but '-', nothing behind it. */
const char *cp_params_int(apr_pool_t *p, const char *word, apr_int64_t min,
                          apr_int64_t max, apr_int64_t *pvalue);

/** "250ms", "2s", "10min", "1h", bare number = seconds; in [min, max]. The
 * range is shown in the unit an administrator would write. */
const char *cp_params_duration(apr_pool_t *p, const char *word,
                               apr_interval_time_t min, apr_interval_time_t max,
                               apr_interval_time_t *pvalue);

/** "512K", "8M", "1G" (powers of 1024), bare number = bytes; in [min, max]. */
const char *cp_params_size(apr_pool_t *p, const char *word, apr_int64_t min,
                           apr_int64_t max, apr_int64_t *pvalue);

/** "20/s", "100/min", "5/h": how often, up to a million per unit. */
const char *cp_params_rate(apr_pool_t *p, const char *word, int *pcount,
                           apr_interval_time_t *pperiod);

/** on|off, any case. The environment's words true|false|1|0|yes|no too when
 * is_environment. */
const char *cp_params_flag(apr_pool_t *p, const char *word, int is_environment,
                           int *pvalue);

/** One word of a NULL-terminated list, any case; *pindex is its place. */
const char *cp_params_choice(apr_pool_t *p, const char *word,
                             const char *const *choices, int *pindex);

/** Split "key=value" at the first '='; the key in lower case. */
const char *cp_params_option(apr_pool_t *p, const char *word, const char **pkey,
                             const char **pvalue);

/** Room for a number with its digits in threes: 2^64 has 26 of both. */
#define CP_GROUPED_SIZE 32

/** "1,234,567", written to the end of text. */
const char *cp_grouped(char text[CP_GROUPED_SIZE], uint64_t value);

/** "512K", "8M": a size as an administrator would write it. */
const char *cp_params_show_size(apr_pool_t *p, apr_int64_t value);

/** "250ms", "1h", likewise. */
const char *cp_params_show_duration(apr_pool_t *p, apr_interval_time_t value);

#endif
