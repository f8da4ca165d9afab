/* SPDX-License-Identifier: Apache-2.0 */
#include "database/value.h"

#include "base/bytes/utf8.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

enum {
    DEFAULT_MAXLEN = 64 * 1024,
    REAL_MAX_LENGTH = 400, /* longer than any double written out in full */
};

const char *const cp_type_names[CP_TYPES + 1] = {
    [CP_TYPE_INTEGER] = "integer", [CP_TYPE_REAL] = "real",
    [CP_TYPE_TEXT] = "text",       [CP_TYPE_BOOLEAN] = "boolean",
    [CP_TYPE_DATE] = "date",       [CP_TYPE_BLOB] = "blob",
    [CP_TYPE_JSON] = "json",       [CP_TYPES] = NULL,
};

static const char not_an_integer[] = "is not an integer";
static const char not_a_number[] = "is not a number";
static const char not_a_boolean[] = "is not one of true, false, 1, 0, on, off";
static const char not_a_date[] = "is not a date (YYYY-MM-DD or RFC 3339)";
static const char not_base64[] = "is not standard base64";

/*** Numbers ***/

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The number of digits that text begins with. */
static apr_size_t count_digits(const char *text, apr_size_t size)
{
    apr_size_t count = 0;
    while (count < size && is_digit(text[count])) {
        count++;
    }
    return count;
}

static const char *parse_integer(const char *data, apr_size_t size,
                                 cp_value_t *value)
{
    apr_size_t sign = size > 0 && data[0] == '-';
    if (size == sign || count_digits(data + sign, size - sign) != size - sign) {
        return not_an_integer;
    }
    apr_int64_t sum = 0;
    for (apr_size_t i = sign; i < size; i++) {
        /* Downwards for negative numbers: -2^63 has no positive twin. */
        int digit = sign ? '0' - data[i] : data[i] - '0';
        if (__builtin_mul_overflow(sum, 10, &sum)
            || __builtin_add_overflow(sum, digit, &sum)) {
            return "is not an integer of 64 bits";
        }
    }
    value->storage = CP_INTEGER;
    value->as.integer = sum;
    return NULL;
}

/* -?DIGITS(.DIGITS)?([eE][+-]?DIGITS)? and nothing more. */
static int is_real(const char *data, apr_size_t size)
{
    apr_size_t i = size > 0 && data[0] == '-';
    apr_size_t digits = count_digits(data + i, size - i);
    i += digits;
    if (digits > 0 && i < size && data[i] == '.') {
        i++;
        digits = count_digits(data + i, size - i);
        i += digits;
    }
    if (digits > 0 && i < size && (data[i] == 'e' || data[i] == 'E')) {
        i++;
        i += i < size && (data[i] == '+' || data[i] == '-');
        digits = count_digits(data + i, size - i);
        i += digits;
    }
    return digits > 0 && i == size;
}

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static const char *parse_real(const char *data, apr_size_t size,
                              cp_value_t *value)
{
    if (size > REAL_MAX_LENGTH || !is_real(data, size)) {
        return not_a_number;
    }
    char text[REAL_MAX_LENGTH + 1];
    memcpy(text, data, size);
    text[size] = '\0';
    /* Another module may have set a locale whose decimal point is a comma. */
    pthread_once(&c_locale_once, make_c_locale);
    double real = strtod_l(text, NULL, c_locale);
    if (!isfinite(real)) {
        return "is too large a number";
    }
    value->storage = CP_REAL;
    value->as.real = real;
    return NULL;
}

static const char *parse_boolean(const char *data, apr_size_t size,
                                 cp_value_t *value)
{
    static const struct {
        const char *word;
        int value;
    } words[] = {{"true", 1}, {"false", 0}, {"1", 1},
                 {"0", 0},    {"on", 1},    {"off", 0}}; /* a checkbox's */
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (size == strlen(words[i].word)
            && !memcmp(data, words[i].word, size)) {
            value->storage = CP_INTEGER;
            value->as.integer = words[i].value;
            return NULL;
        }
    }
    return not_a_boolean;
}

/*** Dates ***/

/* A point in time, so that dates with different offsets can be compared. */
typedef struct instant_t {
    apr_int64_t day;  /* in UTC */
    apr_int64_t nano; /* of the day */
    int has_time;
} instant_t;

typedef struct scanner_t {
    const char *at;
    const char *end;
} scanner_t;

/* Reads exactly `count` digits; -1 if they are not there or exceed max. */
static int scan_number(scanner_t *s, int count, int max)
{
    int value = 0;
    if (s->end - s->at < count) {
        return -1;
    }
    for (int i = 0; i < count; i++, s->at++) {
        if (!is_digit(*s->at)) {
            return -1;
        }
        value = value * 10 + (*s->at - '0');
    }
    return value <= max ? value : -1;
}

static int scan_char(scanner_t *s, const char *choices)
{
    if (s->at == s->end || !*s->at || !strchr(choices, *s->at)) {
        return 0;
    }
    return *s->at++;
}

static int days_in_month(int year, int month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30,
                                         31, 31, 30, 31, 30, 31};
    int is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && is_leap);
}

/* With years that begin in March, a leap day is the last day of its year; 400
 * years more, a whole cycle, keep January of the year 0 positive. */
static apr_int64_t day_number(int year, int month, int day)
{
    int y = year + 400 - (month <= 2);
    int m = (month + 9) % 12;
    return y * 365 + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + day - 1;
}

static int scan_day(scanner_t *s, instant_t *instant)
{
    int year = scan_number(s, 4, 9999);
    if (year < 0 || !scan_char(s, "-")) {
        return 0;
    }
    int month = scan_number(s, 2, 12);
    if (month < 1 || !scan_char(s, "-")) {
        return 0;
    }
    int day = scan_number(s, 2, days_in_month(year, month));
    instant->day = day_number(year, month, day);
    return day >= 1;
}

/* HH:MM[:SS[.fraction]] */
static int scan_clock(scanner_t *s, instant_t *instant)
{
    int hour = scan_number(s, 2, 23);
    if (hour < 0 || !scan_char(s, ":")) {
        return 0;
    }
    int minute = scan_number(s, 2, 59);
    int second = 0;
    apr_int64_t nano = 0;
    if (minute < 0) {
        return 0;
    }
    if (scan_char(s, ":")) {
        second = scan_number(s, 2, 59);
        if (second >= 0 && scan_char(s, ".")) {
            apr_int64_t weight = 100 * 1000 * 1000;
            apr_size_t digits = count_digits(s->at,
                                             (apr_size_t)(s->end - s->at));
            if (digits < 1 || digits > 9) {
                return 0;
            }
            for (; digits > 0; digits--, weight /= 10) {
                nano += weight * (*s->at++ - '0');
            }
        }
    }
    instant->has_time = 1;
    instant->nano = (hour * 3600 + minute * 60 + second)
                        * APR_INT64_C(1000000000)
                    + nano;
    return second >= 0;
}

/* Z, or +HH:MM up to the 14:59 that SQLite knows: it would turn anything
 * beyond into a silent NULL. */
static int scan_offset(scanner_t *s, instant_t *instant)
{
    static const apr_int64_t day = 86400 * APR_INT64_C(1000000000);
    int sign = scan_char(s, "Z+-");
    if (!sign || sign == 'Z') {
        return 1;
    }
    int hour = scan_number(s, 2, 14);
    if (hour < 0 || !scan_char(s, ":")) {
        return 0;
    }
    int minute = scan_number(s, 2, 59);
    apr_int64_t offset = (hour * 60 + minute) * 60 * APR_INT64_C(1000000000);
    instant->nano += sign == '-' ? offset : -offset;
    if (instant->nano < 0) {
        instant->nano += day;
        instant->day--;
    }
    else if (instant->nano >= day) {
        instant->nano -= day;
        instant->day++;
    }
    return minute >= 0;
}

static int read_date(const char *data, apr_size_t size, instant_t *instant)
{
    scanner_t s = {data, data + size};
    memset(instant, 0, sizeof(*instant));
    if (!scan_day(&s, instant)) {
        return 0;
    }
    if (scan_char(&s, "T ")) {
        if (!scan_clock(&s, instant) || !scan_offset(&s, instant)) {
            return 0;
        }
    }
    return s.at == s.end;
}

/* Only days are compared when the bound is a day: max=2024-12-31 includes all
 * of that day. */
static int compare_with_bound(const instant_t *a, const instant_t *bound)
{
    if (a->day != bound->day) {
        return a->day < bound->day ? -1 : 1;
    }
    if (!bound->has_time || a->nano == bound->nano) {
        return 0;
    }
    return a->nano < bound->nano ? -1 : 1;
}

/*** Bytes ***/

static apr_size_t max_length(const cp_param_spec_t *spec)
{
    return spec->maxlen ? spec->maxlen : DEFAULT_MAXLEN;
}

static const char *check_length(apr_pool_t *p, const cp_param_spec_t *spec,
                                apr_size_t size)
{
    if (size <= max_length(spec)) {
        return NULL;
    }
    return apr_psprintf(p, "is longer than %" APR_SIZE_T_FMT " bytes",
                        max_length(spec));
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (is_digit(c)) {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Own decoder, because that of APR needs a NUL behind the text and stops
 * without a word at the first foreign character. */
static const char *parse_blob(apr_pool_t *p, const cp_param_spec_t *spec,
                              const char *data, apr_size_t size,
                              cp_value_t *value)
{
    apr_size_t padding = 0;
    while (padding < 2 && padding < size && data[size - 1 - padding] == '=') {
        padding++;
    }
    if (size % 4 != 0) {
        return not_base64;
    }
    apr_size_t length = size / 4 * 3 - padding;
    const char *reason = check_length(p, spec, length);
    if (reason) {
        return reason;
    }
    unsigned char *out = apr_palloc(p, length + 1);
    unsigned bits = 0, bit_count = 0;
    value->storage = CP_BLOB;
    value->as.bytes.data = (const char *)out;
    value->as.bytes.size = length;
    for (apr_size_t i = 0; i < size - padding; i++) {
        int digit = base64_digit(data[i]);
        if (digit < 0) {
            return not_base64;
        }
        bits = (bits << 6 | (unsigned)digit) & 0xfff;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            *out++ = (unsigned char)(bits >> bit_count);
        }
    }
    /* Bits that no byte takes must be 0, else one blob had several texts. */
    return bits & ((1u << bit_count) - 1) ? not_base64 : NULL;
}

/*** The two entries ***/

static double as_real(const cp_value_t *value)
{
    return value->storage == CP_INTEGER ? (double)value->as.integer
                                        : value->as.real;
}

static const char *check_integer(apr_pool_t *p, const cp_param_spec_t *spec,
                                 const cp_value_t *value)
{
    if (value->storage != CP_INTEGER) {
        return not_an_integer;
    }
    if (spec->has_min && value->as.integer < spec->min.as.integer) {
        return apr_psprintf(p, "is less than %" APR_INT64_T_FMT,
                            spec->min.as.integer);
    }
    if (spec->has_max && value->as.integer > spec->max.as.integer) {
        return apr_psprintf(p, "is greater than %" APR_INT64_T_FMT,
                            spec->max.as.integer);
    }
    return NULL;
}

/* By libc, because APR writes 0.5 as ".5". */
static const char *show_real(apr_pool_t *p, const char *relation, double real)
{
    char text[32];
    snprintf(text, sizeof(text), "%.15g", real);
    return apr_psprintf(p, "is %s %s", relation, text);
}

static const char *check_real(apr_pool_t *p, const cp_param_spec_t *spec,
                              const cp_value_t *value)
{
    if ((value->storage != CP_REAL && value->storage != CP_INTEGER)
        || !isfinite(as_real(value))) {
        return not_a_number;
    }
    if (spec->has_min && as_real(value) < as_real(&spec->min)) {
        return show_real(p, "less than", as_real(&spec->min));
    }
    if (spec->has_max && as_real(value) > as_real(&spec->max)) {
        return show_real(p, "greater than", as_real(&spec->max));
    }
    return NULL;
}

static const char *check_boolean(const cp_value_t *value)
{
    int is_boolean = value->storage == CP_INTEGER
                     && (value->as.integer == 0 || value->as.integer == 1);
    return is_boolean ? NULL : not_a_boolean;
}

static const char *check_text(apr_pool_t *p, const cp_param_spec_t *spec,
                              const cp_value_t *value)
{
    if (value->storage != CP_TEXT) {
        return "is not text";
    }
    apr_size_t size = value->as.bytes.size;
    const char *reason = check_length(p, spec, size);
    if (reason) {
        return reason;
    }
    if (size > 0 && memchr(value->as.bytes.data, '\0', size)) {
        return "contains a NUL byte";
    }
    if (!cp_utf8_is_valid(value->as.bytes.data, size)) {
        return "is not valid UTF-8";
    }
    return NULL;
}

static int read_bound(const cp_value_t *bound, instant_t *instant)
{
    return bound->storage == CP_TEXT
           && read_date(bound->as.bytes.data, bound->as.bytes.size, instant);
}

static const char *show_bound(apr_pool_t *p, const char *relation,
                              const cp_value_t *bound)
{
    return apr_psprintf(p, "is %s %.*s", relation, (int)bound->as.bytes.size,
                        bound->as.bytes.data);
}

static const char *check_date(apr_pool_t *p, const cp_param_spec_t *spec,
                              const cp_value_t *value)
{
    instant_t instant, bound;
    if (!read_bound(value, &instant)) {
        return not_a_date;
    }
    if (spec->has_min && read_bound(&spec->min, &bound)
        && compare_with_bound(&instant, &bound) < 0) {
        return show_bound(p, "before", &spec->min);
    }
    if (spec->has_max && read_bound(&spec->max, &bound)
        && compare_with_bound(&instant, &bound) > 0) {
        return show_bound(p, "after", &spec->max);
    }
    return NULL;
}

static const char *check_blob(apr_pool_t *p, const cp_param_spec_t *spec,
                              const cp_value_t *value)
{
    if (value->storage != CP_BLOB) {
        return not_base64;
    }
    return check_length(p, spec, value->as.bytes.size);
}

const char *cp_value_in_range(apr_pool_t *p, const cp_param_spec_t *spec,
                              const cp_value_t *value)
{
    if (value->storage == CP_NULL) {
        return spec->is_required ? "is null but required" : NULL;
    }
    switch (spec->type) {
    case CP_TYPE_INTEGER:
        return check_integer(p, spec, value);
    case CP_TYPE_REAL:
        return check_real(p, spec, value);
    case CP_TYPE_BOOLEAN:
        return check_boolean(value);
    case CP_TYPE_TEXT:
    case CP_TYPE_JSON:
        return check_text(p, spec, value);
    case CP_TYPE_DATE:
        return check_date(p, spec, value);
    case CP_TYPE_BLOB:
        return check_blob(p, spec, value);
    case CP_TYPES:
        break;
    }
    return "has no type";
}

static void keep_text(const char *data, apr_size_t size, cp_value_t *value)
{
    value->storage = CP_TEXT;
    value->as.bytes.data = data;
    value->as.bytes.size = size;
}

const char *cp_value_parse(apr_pool_t *p, const cp_param_spec_t *spec,
                           const char *data, apr_size_t size, cp_value_t *value)
{
    const char *reason = NULL;
    switch (spec->type) {
    case CP_TYPE_INTEGER:
        reason = parse_integer(data, size, value);
        break;
    case CP_TYPE_REAL:
        reason = parse_real(data, size, value);
        break;
    case CP_TYPE_BOOLEAN:
        reason = parse_boolean(data, size, value);
        break;
    case CP_TYPE_BLOB:
        reason = parse_blob(p, spec, data, size, value);
        break;
    case CP_TYPE_TEXT:
    case CP_TYPE_DATE:
    case CP_TYPE_JSON:
    case CP_TYPES:
        keep_text(data, size, value);
        break;
    }
    return reason ? reason : cp_value_in_range(p, spec, value);
}
