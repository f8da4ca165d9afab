/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static cp_log_fn log_sink;
static void *log_baton;
static cp_log_level_t log_verbosity = CP_LOG_NOTICE;

void cp_log_install(cp_log_fn fn, void *baton, cp_log_level_t most_verbose)
{
    log_sink = fn;
    log_baton = baton;
    log_verbosity = most_verbose;
}

void cp_log(const char *file, int line, cp_log_level_t level, apr_status_t rv,
            const char *format, ...)
{
    char text[1024];
    va_list args;

    if (!log_sink || level > log_verbosity) {
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_sink(log_baton, file, line, level, rv, text);
}

int cp_log_allowed(cp_log_limit_t *limit, apr_interval_time_t every,
                   uint64_t *psuppressed)
{
    int64_t now = cp_clock_now();
    int64_t next = __atomic_load_n(&limit->next_us, __ATOMIC_RELAXED);

    if (now < next
        || !__atomic_compare_exchange_n(&limit->next_us, &next, now + every, 0,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        __atomic_fetch_add(&limit->suppressed, 1, __ATOMIC_RELAXED);
        return 0;
    }
    *psuppressed = __atomic_exchange_n(&limit->suppressed, 0, __ATOMIC_RELAXED);
    return 1;
}

const char *cp_log_repeats(char *buffer, size_t size, uint64_t suppressed)
{
    if (suppressed == 0) {
        return "";
    }
    snprintf(buffer, size, " (%" PRIu64 " more like this since the last line)",
             suppressed);
    return buffer;
}
