/* SPDX-License-Identifier: Apache-2.0
 * Structs that are filled by a table of options. */
#include "base/option.h"

#include "base/number.h"

#include <string.h>

#include <apr_strings.h>

/* How a field is stored; which of its members is in use, its type says. */
typedef union field_t {
    int number;
    apr_int64_t wide;
    const char *text;
} field_t;

static int is_text(const cp_option_t *option)
{
    return option->type == CP_OPTION_NAME || option->type == CP_OPTION_WORD
           || option->type == CP_OPTION_FILE;
}

static int is_wide(const cp_option_t *option)
{
    return option->type == CP_OPTION_DURATION || option->type == CP_OPTION_SIZE;
}

static size_t field_size(const cp_option_t *option)
{
    return is_text(option)   ? sizeof(const char *)
           : is_wide(option) ? sizeof(apr_int64_t)
                             : sizeof(int);
}

static field_t get_field(const cp_option_t *option, const void *target)
{
    field_t field = {0};

    memcpy(&field, (const char *)target + option->offset, field_size(option));
    return field;
}

static void put_field(const cp_option_t *option, void *target, field_t field)
{
    memcpy((char *)target + option->offset, &field, field_size(option));
}

static int is_unset(const cp_option_t *option, const void *target)
{
    field_t field = get_field(option, target);

    return is_text(option)   ? field.text == NULL
           : is_wide(option) ? field.wide == CP_UNSET
                             : field.number == CP_UNSET;
}

static field_t field_of(const cp_option_t *option, apr_int64_t value)
{
    field_t field = {0};

    if (is_wide(option)) {
        field.wide = value;
    }
    else if (!is_text(option)) {
        field.number = (int)value;
    }
    else if (option->type == CP_OPTION_NAME && value != CP_UNSET) {
        field.text = option->choices[value];
    }
    return field;
}

void cp_options_clear(const cp_option_t *options, void *target)
{
    for (; options->key; options++) {
        put_field(options, target, field_of(options, CP_UNSET));
    }
}

void cp_options_inherit(const cp_option_t *options, void *target,
                        const void *base)
{
    for (; options->key; options++) {
        if (is_unset(options, target)) {
            put_field(options, target, get_field(options, base));
        }
    }
}

void cp_options_complete(const cp_option_t *options, void *target)
{
    for (; options->key; options++) {
        if (is_unset(options, target)) {
            put_field(options, target, field_of(options, options->initial));
        }
    }
}

const cp_option_t *cp_options_find(const cp_option_t *options, const char *key)
{
    for (; options->key; options++) {
        if (strcmp(options->key, key) == 0) {
            return options;
        }
    }
    return NULL;
}

const char *cp_options_list(apr_pool_t *p, const cp_option_t *options)
{
    const char *keys = "";

    for (; options->key; options++) {
        keys = apr_pstrcat(p, keys, *keys ? ", " : "", options->key, NULL);
    }
    return keys;
}

/* A number, or for choices and names the place among them. */
static const char *parse_number(apr_pool_t *p, const cp_option_t *option,
                                const char *text, apr_int64_t *pvalue)
{
    int number = 0;
    const char *error;

    switch (option->type) {
    case CP_OPTION_INT:
        return cp_params_int(p, text, option->min, option->max, pvalue);
    case CP_OPTION_DURATION:
        return cp_params_duration(p, text, option->min, option->max, pvalue);
    case CP_OPTION_SIZE:
        return cp_params_size(p, text, option->min, option->max, pvalue);
    case CP_OPTION_FLAG:
        error = cp_params_flag(p, text, 0, &number);
        break;
    default:
        error = cp_params_choice(p, text, option->choices, &number);
    }
    *pvalue = number;
    return error;
}

const char *cp_option_set(apr_pool_t *p, const cp_option_t *option,
                          void *target, const char *text)
{
    apr_int64_t value = 0;
    const char *error;

    if (option->type == CP_OPTION_WORD || option->type == CP_OPTION_FILE) {
        put_field(option, target, (field_t){.text = apr_pstrdup(p, text)});
        return NULL;
    }
    error = parse_number(p, option, text, &value);
    if (!error) {
        put_field(option, target, field_of(option, value));
    }
    return error;
}

int cp_option_number(const cp_option_t *option, const void *target,
                     apr_int64_t *pvalue)
{
    field_t field = get_field(option, target);

    if (is_text(option) || option->type == CP_OPTION_CHOICE
        || is_unset(option, target)) {
        return 0;
    }
    *pvalue = is_wide(option) ? field.wide : field.number;
    return 1;
}

const char *cp_option_show(apr_pool_t *p, const cp_option_t *option,
                           const void *target)
{
    field_t field = get_field(option, target);

    if (is_unset(option, target)) {
        return NULL;
    }
    switch (option->type) {
    case CP_OPTION_INT:
        return apr_itoa(p, field.number);
    case CP_OPTION_DURATION:
        return cp_params_show_duration(p, field.wide);
    case CP_OPTION_SIZE:
        return cp_params_show_size(p, field.wide);
    case CP_OPTION_FLAG:
        return field.number ? "on" : "off";
    case CP_OPTION_CHOICE:
        return option->choices[field.number];
    default:
        return field.text;
    }
}
