/* SPDX-License-Identifier: Apache-2.0
 * The core's way to speak: a callback that the server glue installs. */
#ifndef CP_LOG_H
#define CP_LOG_H

#include <stdint.h>

#include <apr_errno.h>
#include <apr_time.h>

typedef enum cp_log_level_t {
    CP_LOG_ERROR,
    CP_LOG_WARNING,
    CP_LOG_NOTICE,
    CP_LOG_INFO,
    CP_LOG_DEBUG,
} cp_log_level_t;

/** Writes one finished line. Called from any thread. */
typedef void (*cp_log_fn)(void *baton, const char *file, int line,
                          cp_log_level_t level, apr_status_t rv,
                          const char *text);

/** Install the sink; NULL silences the core. Call before threads start. */
void cp_log_install(cp_log_fn fn, void *baton, cp_log_level_t most_verbose);

/** Format and write one line, at most 1023 bytes. Lines above the installed
 * verbosity are not formatted. rv is for the sink: 0, or the cause. */
void cp_log(const char *file, int line, cp_log_level_t level, apr_status_t rv,
            const char *format, ...) __attribute__((format(printf, 5, 6)));

#define CP_LOG_MARK __FILE__, __LINE__

/** One per cause. Zero-initialise. Fields are atomic (relaxed). */
typedef struct cp_log_limit_t {
    int64_t next_us;
    uint64_t suppressed;
} cp_log_limit_t;

/** True when a line of this cause may be written now, at most once in
 * `every`; *psuppressed says how many were swallowed since the last one. */
int cp_log_allowed(cp_log_limit_t *limit, apr_interval_time_t every,
                   uint64_t *psuppressed);

/** The tail of such a line: " (3 more like this since the last line)", written
 * into the buffer; "" for 0. */
const char *cp_log_repeats(char *buffer, size_t size, uint64_t suppressed);

#endif
