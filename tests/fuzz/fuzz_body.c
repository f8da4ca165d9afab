/* SPDX-License-Identifier: Apache-2.0
 * A request's query string, form or JSON body on its way to typed values: what
 * is taken has the declared types. The first byte says which of the three.
 * httpd is played by some functions below. */
#include "base/bytes/utf8.h"
#include "child/child.h"
#include "child/memory.h"
#include "request/account.h"
#include "request/input.h"
#include "request/param/fact.h"
#include "stats/stats.h"

#include "fuzz.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_protocol.h>

/* --- httpd --- */

static const uint8_t *body;
static size_t body_size;

int ap_setup_client_block(request_rec *r, int policy)
{
    (void)r;
    (void)policy;
    return OK;
}

int ap_should_client_block(request_rec *r)
{
    (void)r;
    return 1;
}

long ap_get_client_block(request_rec *r, char *buffer, apr_size_t room)
{
    size_t got;
    const uint8_t *bytes = fuzz_take(&body, &body_size, room, &got);

    (void)r;
    memcpy(buffer, bytes, got);
    return (long)got;
}

int ap_discard_request_body(request_rec *r)
{
    (void)r;
    return OK;
}

char *ap_getword(apr_pool_t *p, const char **line, char stop)
{
    size_t n = strcspn(*line, (char[]){stop, '\0'});
    char *word = apr_pstrmemdup(p, *line, n);

    *line += n;
    while (**line == stop) {
        ++*line;
    }
    return word;
}

static int digit_of(char c)
{
    return apr_isdigit(c) ? c - '0' : apr_tolower(c) - 'a' + 10;
}

int ap_unescape_urlencoded(char *text)
{
    char *to = text;

    for (char *at = text; *at; at++) {
        *to = *at == '+' ? ' ' : *at;
        if (*at == '%') {
            if (!apr_isxdigit(at[1]) || !apr_isxdigit(at[2])) {
                return HTTP_BAD_REQUEST;
            }
            *to = (char)(digit_of(at[1]) * 16 + digit_of(at[2]));
            at += 2;
        }
        if (!*to++) {
            return HTTP_BAD_REQUEST;
        }
    }
    *to = '\0';
    return OK;
}

void connpool_memory_lacks(request_rec *r, const char *what)
{
    (void)r;
    (void)what;
    MUST(!"memory ends");
}

/* --- what the request itself tells: nothing --- */

int connpool_fact_read(request_rec *r, const connpool_query_t *query,
                       const connpool_param_t *param, cp_value_t *value,
                       const char **preason)
{
    (void)r;
    (void)query;
    (void)param;
    (void)value;
    (void)preason;
    MUST(!"a parameter has a source");
    return OK;
}

cp_query_stats_t *connpool_query_stats(const connpool_query_t *query)
{
    static cp_query_stats_t stats;

    return &stats;
}

connpool_state_t *connpool_state(request_rec *r)
{
    static connpool_state_t state;

    (void)r;
    return &state;
}

/* --- the query --- */

int connpool_find_param(const connpool_query_t *query, const char *name)
{
    for (int i = 0; i < query->params->nelts; i++) {
        if (strcmp(
                APR_ARRAY_IDX(query->params, i, connpool_param_t *)->spec.name,
                name)
            == 0) {
            return i;
        }
    }
    return -1;
}

/* Without a pattern. */
const char *connpool_param_parse(apr_pool_t *p, const connpool_param_t *param,
                                 const char *text, apr_size_t size,
                                 cp_value_t *value)
{
    return cp_value_parse(p, &param->spec, text, size, value);
}

static connpool_param_t params[CP_TYPES + 1];

static connpool_query_t *make_query(apr_pool_t *p)
{
    connpool_query_t *query = apr_pcalloc(p, sizeof(*query));

    query->params = apr_array_make(p, CP_TYPES + 1, sizeof(connpool_param_t *));
    for (int i = 0; i <= CP_TYPES; i++) {
        params[i].spec = (cp_param_spec_t){
            .name = i < CP_TYPES ? cp_type_names[i] : "r",
            .type = i < CP_TYPES ? (cp_type_t)i : CP_TYPE_TEXT,
            .is_required = i == CP_TYPES,
            .maxlen = 1000,
        };
        APR_ARRAY_PUSH(query->params, connpool_param_t *) = &params[i];
    }
    return query;
}

static void check_value(const cp_value_t *value, cp_type_t type)
{
    switch (value->storage) {
    case CP_NULL:
        return;
    case CP_INTEGER:
        MUST(type == CP_TYPE_INTEGER || type == CP_TYPE_BOOLEAN);
        MUST(type != CP_TYPE_BOOLEAN || (value->as.integer & ~1) == 0);
        return;
    case CP_REAL:
        MUST(type == CP_TYPE_REAL);
        return;
    case CP_JSON:
        MUST(!"a parameter's storage");
        return;
    case CP_TEXT:
        MUST(type == CP_TYPE_TEXT || type == CP_TYPE_DATE
             || type == CP_TYPE_JSON);
        MUST(cp_utf8_is_valid(value->as.bytes.data, value->as.bytes.size));
        break;
    case CP_BLOB:
        MUST(type == CP_TYPE_BLOB);
        break;
    }
    MUST(value->as.bytes.size <= 1000);
}

static void check(int status, const cp_value_t *values,
                  const apr_array_header_t *errors, const char *detail)
{
    MUST(status == OK || (status >= 400 && status < 500));
    MUST(status == OK || (detail && *detail));
    for (int i = 0; i < errors->nelts; i++) {
        const connpool_input_error_t *error = &APR_ARRAY_IDX(
            errors, i, connpool_input_error_t);

        MUST(*error->reason);
        MUST(cp_utf8_is_valid(error->param, strlen(error->param)));
    }
    if (status == OK) {
        MUST(errors->nelts == 0 && values[CP_TYPES].storage == CP_TEXT);
        for (int i = 0; i < CP_TYPES; i++) {
            check_value(&values[i], (cp_type_t)i);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const types[] = {"application/x-www-form-urlencoded",
                                        "application/json"};
    apr_pool_t *p = fuzz_pool();
    unsigned how = fuzz_byte(&data, &size) % 3;
    request_rec r = {.pool = p, .method_number = M_POST};
    apr_array_header_t *errors;
    cp_value_t *values = NULL;
    const char *detail = NULL;
    int status;

    r.headers_in = apr_table_make(p, 2);
    r.headers_out = apr_table_make(p, 2);
    if (how == 2) {
        r.method_number = M_GET;
        r.args = fuzz_text(p, data, size);
    }
    else {
        body = data;
        body_size = size;
        apr_table_setn(r.headers_in, "Content-Length", "1");
        apr_table_setn(r.headers_in, "Content-Type", types[how]);
    }
    status = connpool_params_read(&r, make_query(p), &values, &errors, &detail);
    check(status, values, errors, detail);
    return 0;
}
