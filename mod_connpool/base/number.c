/* SPDX-License-Identifier: Apache-2.0 */
#include "base/number.h"

#include <string.h>

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_tables.h>

enum {
    NAME_MAX_LENGTH = 64, /* fits a label of the report and a hash key */
    SHOWN_LENGTH = 80,    /* of a bad value in a sentence */
    RATE_MAX = 1000000,
};

typedef struct unit_t {
    const char *name;
    apr_int64_t factor;
} unit_t;

/* Ascending. */
static const unit_t duration_units[] = {
    {"us", 1}, /* shown only: no directive is that fine */
    {"ms", 1000},
    {"s", APR_USEC_PER_SEC},
    {"min", 60 * APR_USEC_PER_SEC},
    {"h", 3600 * APR_USEC_PER_SEC},
    {NULL, 0},
};

static const unit_t size_units[] = {
    {"", 1},   {"K", 1024}, {"M", 1024 * 1024}, {"G", 1024 * 1024 * 1024},
    {NULL, 0},
};

/* "'VALUE' is not ALLOWED". */
static const char *refuse(apr_pool_t *p, const char *word, const char *allowed)
{
    int is_long = strlen(word) > SHOWN_LENGTH;
    return apr_psprintf(p, "'%.*s%s' is not %s", SHOWN_LENGTH, word,
                        is_long ? "..." : "", allowed);
}

/* Copies one word to `to` and returns the first byte behind it; NULL when a
 * quote is not closed. */
static const char *copy_word(const char *from, char *to)
{
    char quote = '\0';
    for (; *from && (quote || !apr_isspace(*from)); from++) {
        if (!quote && (*from == '"' || *from == '\'')) {
            quote = *from;
        }
        else if (quote && *from == quote) {
            quote = '\0';
        }
        else {
            if (quote && *from == '\\'
                && (from[1] == quote || from[1] == '\\')) {
                from++;
            }
            *to++ = *from;
        }
    }
    *to = '\0';
    return quote ? NULL : from;
}

const char *cp_params_split(apr_pool_t *p, const char *line,
                            const char ***pwords, int *pcount)
{
    apr_array_header_t *words = apr_array_make(p, 8, sizeof(const char *));
    for (;;) {
        while (apr_isspace(*line)) {
            line++;
        }
        if (!*line) {
            break;
        }
        char *word = apr_palloc(p, strlen(line) + 1);
        const char *end = copy_word(line, word);
        if (!end) {
            return apr_psprintf(p, "a quote is not closed in: %.*s",
                                SHOWN_LENGTH, line);
        }
        APR_ARRAY_PUSH(words, const char *) = word;
        line = end;
    }
    *pcount = words->nelts;
    APR_ARRAY_PUSH(words, const char *) = NULL;
    *pwords = (const char **)words->elts;
    return NULL;
}

const char *cp_params_name(apr_pool_t *p, const char *word)
{
    apr_size_t length = strlen(word);
    int is_name = length >= 1 && length <= NAME_MAX_LENGTH
                  && (apr_isalpha(word[0]) || word[0] == '_');
    for (const char *c = word; is_name && *c; c++) {
        is_name = apr_isascii(*c) && (apr_isalnum(*c) || strchr("_.-", *c));
    }
    if (is_name) {
        return NULL;
    }
    return refuse(p, word,
                  "a name (a letter or _, then at most 63 letters, digits, "
                  "'_', '.' or '-')");
}

/* Reads digits; 0 when there are none or they exceed the type. */
static int read_digits(const char **ptext, apr_int64_t *pvalue)
{
    const char *c = *ptext;
    apr_int64_t value = 0;
    for (; *c >= '0' && *c <= '9'; c++) {
        if (__builtin_mul_overflow(value, 10, &value)
            || __builtin_add_overflow(value, *c - '0', &value)) {
            return 0;
        }
    }
    int is_number = c != *ptext;
    *ptext = c;
    *pvalue = value;
    return is_number;
}

const char *cp_params_int(apr_pool_t *p, const char *word, apr_int64_t min,
                          apr_int64_t max, apr_int64_t *pvalue)
{
    int is_negative = word[0] == '-';
    const char *text = word + is_negative;
    apr_int64_t value;
    int is_number = read_digits(&text, &value) && !*text;
    if (is_number && is_negative) {
        value = -value;
    }
    if (!is_number || value < min || value > max) {
        return refuse(p, word,
                      apr_psprintf(p,
                                   "a whole number from %" APR_INT64_T_FMT
                                   " to %" APR_INT64_T_FMT,
                                   min, max));
    }
    *pvalue = value;
    return NULL;
}

/* Digits and one of the units from `first` on; `bare` is the factor of a
 * number without a unit. 0 when it is not that, or exceeds the type. */
static int read_with_unit(const char *word, const unit_t *first,
                          apr_int64_t bare, apr_int64_t *pvalue)
{
    if (!read_digits(&word, pvalue)) {
        return 0;
    }
    apr_int64_t factor = *word ? 0 : bare;
    for (const unit_t *unit = first; !factor && unit->name; unit++) {
        if (!apr_cstr_casecmp(word, unit->name)) {
            factor = unit->factor;
        }
    }
    return factor > 0 && !__builtin_mul_overflow(*pvalue, factor, pvalue);
}

/* In the largest unit that leaves no rest. */
static const char *show_with_unit(apr_pool_t *p, apr_int64_t value,
                                  const unit_t *units, const char *zero)
{
    if (value == 0) {
        return zero;
    }
    const unit_t *best = units;
    for (const unit_t *unit = units; unit->name; unit++) {
        if (value % unit->factor == 0) {
            best = unit;
        }
    }
    return apr_psprintf(p, "%" APR_INT64_T_FMT "%s", value / best->factor,
                        best->name);
}

const char *cp_params_show_duration(apr_pool_t *p, apr_interval_time_t value)
{
    return show_with_unit(p, value, duration_units, "0s");
}

const char *cp_params_show_size(apr_pool_t *p, apr_int64_t value)
{
    return show_with_unit(p, value, size_units, "0");
}

const char *cp_params_duration(apr_pool_t *p, const char *word,
                               apr_interval_time_t min, apr_interval_time_t max,
                               apr_interval_time_t *pvalue)
{
    apr_int64_t value;
    if (!read_with_unit(word, duration_units + 1, APR_USEC_PER_SEC, &value)
        || value < min || value > max) {
        return refuse(p, word,
                      apr_psprintf(p,
                                   "a duration from %s to %s "
                                   "(units ms, s, min, h)",
                                   cp_params_show_duration(p, min),
                                   cp_params_show_duration(p, max)));
    }
    *pvalue = value;
    return NULL;
}

const char *cp_params_size(apr_pool_t *p, const char *word, apr_int64_t min,
                           apr_int64_t max, apr_int64_t *pvalue)
{
    apr_int64_t value;
    if (!read_with_unit(word, size_units + 1, 1, &value) || value < min
        || value > max) {
        return refuse(p, word,
                      apr_psprintf(p, "a size from %s to %s (units K, M, G)",
                                   cp_params_show_size(p, min),
                                   cp_params_show_size(p, max)));
    }
    *pvalue = value;
    return NULL;
}

/* The place of word in a NULL-terminated list, or -1. */
static int find_word(const char *word, const char *const *words)
{
    for (int i = 0; words[i]; i++) {
        if (!apr_cstr_casecmp(word, words[i])) {
            return i;
        }
    }
    return -1;
}

const char *cp_params_rate(apr_pool_t *p, const char *word, int *pcount,
                           apr_interval_time_t *pperiod)
{
    static const unit_t units[] = {
        {"/s", APR_USEC_PER_SEC},
        {"/min", 60 * APR_USEC_PER_SEC},
        {"/h", 3600 * APR_USEC_PER_SEC},
        {NULL, 0},
    };
    const char *end = word;
    apr_int64_t count;

    if (read_digits(&end, &count) && count >= 1 && count <= RATE_MAX) {
        for (const unit_t *unit = units; unit->name; unit++) {
            if (!apr_cstr_casecmp(end, unit->name)) {
                *pcount = (int)count;
                *pperiod = unit->factor;
                return NULL;
            }
        }
    }
    return refuse(p, word,
                  "a rate (a whole number from 1 to 1000000 and /s, /min or "
                  "/h)");
}

const char *cp_params_flag(apr_pool_t *p, const char *word, int is_environment,
                           int *pvalue)
{
    /* Pairs of off and on: the parity of the place is the value. */
    static const char *const directive_words[] = {"off", "on", NULL};
    static const char *const environment_words[] = {
        "off", "on", "false", "true", "no", "yes", "0", "1", NULL};
    int place = find_word(word,
                          is_environment ? environment_words : directive_words);
    if (place < 0) {
        return refuse(p, word,
                      is_environment
                          ? "one of on, off, true, false, yes, no, 1, 0"
                          : "on or off");
    }
    *pvalue = place & 1;
    return NULL;
}

const char *cp_params_choice(apr_pool_t *p, const char *word,
                             const char *const *choices, int *pindex)
{
    int place = find_word(word, choices);
    if (place < 0) {
        const char *allowed = "one of";
        for (int i = 0; choices[i]; i++) {
            allowed = apr_pstrcat(p, allowed, i ? ", " : " ", choices[i], NULL);
        }
        return refuse(p, word, allowed);
    }
    *pindex = place;
    return NULL;
}

const char *cp_params_option(apr_pool_t *p, const char *word, const char **pkey,
                             const char **pvalue)
{
    const char *equals = strchr(word, '=');
    if (!equals || equals == word) {
        return refuse(p, word, "of the form key=value");
    }
    char *key = apr_pstrmemdup(p, word, (apr_size_t)(equals - word));
    for (char *c = key; *c; c++) {
        *c = (char)apr_tolower(*c);
    }
    *pkey = key;
    *pvalue = equals + 1;
    return NULL;
}

/* From the right. */
const char *cp_grouped(char text[CP_GROUPED_SIZE], uint64_t value)
{
    int at = CP_GROUPED_SIZE - 1;
    int digits = 0;

    text[at] = '\0';
    do {
        if (digits > 0 && digits % 3 == 0) {
            text[--at] = ',';
        }
        text[--at] = (char)('0' + value % 10);
        value /= 10;
        digits++;
    } while (value > 0);
    return text + at;
}
