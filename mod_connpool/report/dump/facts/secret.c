/* SPDX-License-Identifier: Apache-2.0
 * What a dry run must not print. */
#include "report/dump/facts/secret.h"

#include <string.h>

#include <apr_strings.h>

#define HIDDEN "(hidden)"

static const char *const secrets[] = {"password",   "passwd", "passphrase",
                                      "secret",     "token",  "apikey",
                                      "credential", NULL};

static int names_secret(const char *key)
{
    for (const char *const *word = secrets; *word; word++) {
        if (strcasestr(key, *word)) {
            return 1;
        }
    }
    return 0;
}

/* "host=db password=hidden" */
static int holds_secret(const char *value)
{
    for (const char *const *word = secrets; *word; word++) {
        const char *at = strcasestr(value, *word);

        if (at && at[strlen(*word)] == '=') {
            return 1;
        }
    }
    return 0;
}

/* scheme://user:password@host/path?key=... */
static const char *hide_in_url(apr_pool_t *p, const char *url)
{
    const char *rest = strstr(url, "://") + 3;
    const char *scheme = apr_pstrmemdup(p, url, (apr_size_t)(rest - url));
    apr_size_t host = strcspn(rest, "/?#");
    const char *at = memrchr(rest, '@', host);
    const char *query = strchr(rest, '?');
    const char *begin = at ? at + 1 : rest;

    return apr_pstrcat(
        p, scheme, at ? HIDDEN "@" : "",
        query ? apr_pstrmemdup(p, begin, (apr_size_t)(query - begin)) : begin,
        query ? "?" HIDDEN : "", NULL);
}

/* "Accept,X-Key: abc" -> "Accept,X-Key: (hidden)" */
static const char *hide_in_headers(apr_pool_t *p, const char *list)
{
    apr_size_t name = strcspn(list, ":=");

    return list[name] ? apr_pstrcat(p, apr_pstrmemdup(p, list, name), ": ",
                                    HIDDEN, NULL)
                      : list;
}

const char *connpool_hide_secrets(apr_pool_t *p, const char *key,
                                  const char *value)
{
    if (strcasestr(key, "header")) {
        return hide_in_headers(p, value);
    }
    if (names_secret(key) || holds_secret(value)) {
        return HIDDEN;
    }
    return strstr(value, "://") ? hide_in_url(p, value) : value;
}
