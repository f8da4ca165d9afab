/* SPDX-License-Identifier: Apache-2.0
 * A word and a time of day share a cell, so that nobody sees one of them
 * without the other. */
#include "stats/state/standing.h"

#define WORD_BITS 4

_Static_assert(CP_LEVELS <= 1 << WORD_BITS && CP_ERR_CLASSES <= 1 << WORD_BITS,
               "words fit beside the time");

static uint64_t pack(int word, apr_time_t at)
{
    return (uint64_t)at << WORD_BITS | (uint64_t)word;
}

static int word_of(uint64_t packed)
{
    return (int)(packed & ((1 << WORD_BITS) - 1));
}

static apr_time_t time_of(uint64_t packed)
{
    return (apr_time_t)(packed >> WORD_BITS);
}

static uint64_t get(const uint64_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_RELAXED);
}

static void set(uint64_t *cell, uint64_t value)
{
    __atomic_store_n(cell, value, __ATOMIC_RELAXED);
}

/* Of several who see the change at once, the first one's time stays. */
apr_time_t cp_standing_look(cp_standing_t *standing, cp_level_t level,
                            apr_time_t now)
{
    uint64_t seen = get(&standing->now);

    while (seen == 0 || word_of(seen) != (int)level) {
        if (__atomic_compare_exchange_n(&standing->now, &seen, pack(level, now),
                                        0, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
            return now;
        }
    }
    return time_of(seen);
}

cp_level_t cp_standing_level(const cp_standing_t *standing)
{
    return (cp_level_t)word_of(get(&standing->now));
}

/* How long it was bad; it may be bad and not told yet. */
static apr_interval_time_t end_of_bad(cp_standing_t *standing, apr_time_t since)
{
    apr_time_t began = (apr_time_t)get(&standing->bad_since);

    set(&standing->bad_since, 0);
    return began != 0 && since > began ? since - began : 0;
}

cp_news_t cp_standing_news(cp_standing_t *standing, cp_level_t level,
                           apr_time_t since, apr_time_t now,
                           apr_interval_time_t *plasted)
{
    uint64_t told = get(&standing->told);

    *plasted = 0;
    if (level != CP_LEVEL_OK && get(&standing->bad_since) == 0) {
        set(&standing->bad_since, (uint64_t)since);
    }
    if (word_of(told) == (int)level) {
        if (level == CP_LEVEL_OK) {
            end_of_bad(standing, since);
        }
        return CP_NEWS_NONE;
    }
    if (now - since < CP_STANDING_TELL_AFTER
        || now - time_of(told) < CP_STANDING_TELL_EVERY) {
        return CP_NEWS_NONE;
    }
    set(&standing->told, pack(level, now));
    if (level != CP_LEVEL_OK) {
        return CP_NEWS_BAD;
    }
    *plasted = end_of_bad(standing, since);
    return CP_NEWS_BACK;
}

void cp_standing_note_failures(cp_standing_t *standing,
                               const uint64_t *failures, apr_time_t now)
{
    for (int i = CP_ERR_NONE + 1; i < CP_ERR_CLASSES; i++) {
        if (failures[i] != get(&standing->failures[i])) {
            set(&standing->failures[i], failures[i]);
            set(&standing->error, pack(i, now));
        }
    }
}

cp_error_class_t cp_standing_unnoted(const cp_standing_t *standing,
                                     const uint64_t *failures)
{
    for (int i = CP_ERR_NONE + 1; i < CP_ERR_CLASSES; i++) {
        if (failures[i] > get(&standing->failures[i])) {
            return (cp_error_class_t)i;
        }
    }
    return CP_ERR_NONE;
}

void cp_standing_note_error(cp_standing_t *standing, cp_error_class_t error,
                            apr_time_t now)
{
    set(&standing->error, pack((int)error, now));
}

cp_error_class_t cp_standing_last_error(const cp_standing_t *standing,
                                        apr_time_t *pat)
{
    uint64_t error = get(&standing->error);

    *pat = time_of(error);
    return (cp_error_class_t)word_of(error);
}
