/* SPDX-License-Identifier: Apache-2.0
 * Methods of requests: those that may be configured, as people write them. */
#include "config/method/method.h"

#include "base/number.h"

#include <apr_strings.h>
#include <http_protocol.h>

/* As they are listed. */
static const char *const names[] = {"GET",   "HEAD",   "POST", "PUT",
                                    "PATCH", "DELETE", NULL};
static const char *const names_without_head[] = {"GET",   "POST",   "PUT",
                                                 "PATCH", "DELETE", NULL};

static apr_int64_t bit_of(const char *name)
{
    return AP_METHOD_BIT << ap_method_number_of(name);
}

const char *connpool_methods_read(apr_pool_t *p, const char *list, int has_head,
                                  apr_int64_t *pmethods)
{
    const char *const *allowed = has_head ? names : names_without_head;
    char *words = apr_pstrdup(p, list);
    char *word, *state;
    int names_head = 0;

    *pmethods = 0;
    for (word = apr_strtok(words, ",", &state); word;
         word = apr_strtok(NULL, ",", &state)) {
        int place;
        const char *error = cp_params_choice(p, word, allowed, &place);

        if (error) {
            return error;
        }
        if (strcmp(allowed[place], "HEAD") == 0) {
            names_head = 1; /* to httpd it is a GET */
        }
        else {
            *pmethods |= bit_of(allowed[place]);
        }
    }
    if (names_head && !(*pmethods & bit_of("GET"))) {
        return "HEAD comes with GET: name both, or GET alone";
    }
    return *pmethods ? NULL : "no method is named";
}

static const char *list_of(apr_pool_t *p, const char *const *all,
                           apr_int64_t methods, const char *separator)
{
    const char *list = "";

    for (; *all; all++) {
        /* HEAD has the number of GET. */
        if (methods & bit_of(*all)) {
            list = apr_pstrcat(p, list, *list ? separator : "", *all, NULL);
        }
    }
    return list;
}

const char *connpool_methods_text(apr_pool_t *p, apr_int64_t methods,
                                  const char *separator)
{
    return list_of(p, names_without_head, methods, separator);
}

const char *connpool_methods_allowed(apr_pool_t *p, apr_int64_t methods)
{
    return list_of(p, names, methods, ", ");
}
