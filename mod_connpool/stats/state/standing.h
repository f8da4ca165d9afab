/* SPDX-License-Identifier: Apache-2.0
 * Since when something is as it is, over all children and restarts, and what
 * the log has been told of it. Lives in shared memory; all cells are relaxed
 * atomics, and 0 in a new one. */
#ifndef CP_STANDING_H
#define CP_STANDING_H

#include <stdint.h>

#include <apr_time.h>

#include "base/error.h"
#include "stats/state/state.h"

/** What lasts less than this is not worth a line of the log. */
#define CP_STANDING_TELL_AFTER apr_time_from_sec(2)
/** And of one subject there is no more than one line in this time. */
#define CP_STANDING_TELL_EVERY apr_time_from_sec(10)

typedef struct cp_standing_t {
    uint64_t now;       /**< level, and since when; by whoever looks */
    uint64_t told;      /**< level that the log knows, and since when */
    uint64_t bad_since; /**< when it ceased to be ok, 0: it is */
    uint64_t error;     /**< class of the last error, and when it was seen */
    uint64_t failures[CP_ERR_CLASSES]; /**< seen so far */
} cp_standing_t;

/** Look at it: since when (time of day) it is at that level. now: time of day.
 * By anybody. */
apr_time_t cp_standing_look(cp_standing_t *standing, cp_level_t level,
                            apr_time_t now);

/** The level that was seen last. */
cp_level_t cp_standing_level(const cp_standing_t *standing);

typedef enum cp_news_t {
    CP_NEWS_NONE,
    CP_NEWS_BAD, /**< it is not ok, or is so in another way */
    CP_NEWS_BACK /**< it is ok again */
} cp_news_t;

/** What the log is to be told of one that is at that level since then. By the
 * one who takes the second's sample. *plasted: how long it was not ok, when it
 * is back. */
cp_news_t cp_standing_news(cp_standing_t *standing, cp_level_t level,
                           apr_time_t since, apr_time_t now,
                           apr_interval_time_t *plasted);

/** Compare counts of failures, by class, with those of the last look; by the
 * same one. */
void cp_standing_note_failures(cp_standing_t *standing,
                               const uint64_t *failures, apr_time_t now);

/** An error that is among no counts. By anybody. */
void cp_standing_note_error(cp_standing_t *standing, cp_error_class_t error,
                            apr_time_t now);

/** A class that has more failures now than the last look has noted, or
 * CP_ERR_NONE. By anybody. */
cp_error_class_t cp_standing_unnoted(const cp_standing_t *standing,
                                     const uint64_t *failures);

/** The class of the last error, CP_ERR_NONE: there was none, and when it was.
 */
cp_error_class_t cp_standing_last_error(const cp_standing_t *standing,
                                        apr_time_t *pat);

#endif
