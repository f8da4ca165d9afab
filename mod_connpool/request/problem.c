/* SPDX-License-Identifier: Apache-2.0
 * Answers that say what is wrong. */
#include "glue.h"
#include "answers/encode.h"
#include "answers/put.h"
#include "base/bytes/buffer.h"
#include "base/error.h"
#include "base/log.h"
#include "config/method/method.h"
#include "request/account.h"
#include "request/input.h"
#include "request/output.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

#define RETRY_AFTER    "1" /* seconds: pools free up, files come back */
#define COMPLAIN_EVERY apr_time_from_sec(10)

int connpool_status_of(cp_error_class_t cls)
{
    switch (cls) {
    case CP_ERR_INPUT:
        return HTTP_BAD_REQUEST;
    case CP_ERR_REFUSED:
        return HTTP_FORBIDDEN;
    case CP_ERR_CONFLICT:
        return HTTP_CONFLICT;
    case CP_ERR_SIZE:
        return HTTP_REQUEST_ENTITY_TOO_LARGE;
    case CP_ERR_RATE:
        return HTTP_TOO_MANY_REQUESTS;
    case CP_ERR_UPSTREAM:
        return HTTP_BAD_GATEWAY;
    case CP_ERR_CAPACITY:
    case CP_ERR_STORAGE:
    case CP_ERR_MEMORY:
        return HTTP_SERVICE_UNAVAILABLE;
    case CP_ERR_DEADLINE:
        return HTTP_GATEWAY_TIME_OUT;
    default:
        return HTTP_INTERNAL_SERVER_ERROR;
    }
}

/* "404 Not Found" -> "Not Found" */
static const char *title_of(int status)
{
    const char *line = ap_get_status_line(status);

    return strlen(line) > 4 ? line + 4 : line;
}

static void append_errors(cp_buffer_t *buf, const apr_array_header_t *errors)
{
    connpool_json_put(buf, ",\"errors\":[");
    for (int i = 0; i < errors->nelts; i++) {
        const connpool_input_error_t *error = &APR_ARRAY_IDX(
            errors, i, connpool_input_error_t);

        connpool_json_put(buf, i ? ",{" : "{");
        connpool_json_text(buf, "", "param", error->param);
        connpool_json_text(buf, ",", "reason", error->reason);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
}

/* "item.email, item.tenant" as columns, anything else as a name. */
static void append_subject(cp_buffer_t *buf, const char *subject)
{
    const char *end;

    if (!strchr(subject, '.')) {
        connpool_json_text(buf, ",", "name", subject);
        return;
    }
    connpool_json_key(buf, ",", "columns");
    connpool_json_put(buf, "[");
    for (const char *column = subject; *column; column = end) {
        end = strstr(column, ", ");
        end = end ? end : column + strlen(column);
        connpool_json_put(buf, column == subject ? "" : ",");
        cp_encode_json_string(buf, column, (apr_size_t)(end - column));
        end += *end ? 2 : 0;
    }
    connpool_json_put(buf, "]");
}

static void append_violation(cp_buffer_t *buf,
                             const connpool_violation_t *violation)
{
    if (violation && violation->constraint) {
        connpool_json_text(buf, ",", "constraint", violation->constraint);
        if (violation->subject && *violation->subject) {
            append_subject(buf, violation->subject);
        }
    }
}

void connpool_problem_write(cp_buffer_t *buf, int status, const char *detail,
                            int retry_after, const apr_array_header_t *errors,
                            const connpool_violation_t *violation)
{
    const char *title = title_of(status);

    connpool_json_put(buf, "{");
    connpool_json_text(buf, "", "type", "about:blank");
    connpool_json_text(buf, ",", "title", title);
    connpool_json_number(buf, ",", "status", (uint64_t)status);
    connpool_json_text(buf, ",", "detail", detail ? detail : title);
    if (retry_after > 0) {
        connpool_json_number(buf, ",", "retry_after", (uint64_t)retry_after);
    }
    if (errors && errors->nelts > 0) {
        append_errors(buf, errors);
    }
    append_violation(buf, violation);
    connpool_json_put(buf, "}");
}

static int send_problem(request_rec *r, int status, const char *detail,
                        const apr_array_header_t *errors,
                        const connpool_violation_t *violation)
{
    cp_buffer_t buf = {0};

    if (r->eos_sent) {
        return OK; /* httpd has answered: the request's body was broken */
    }
    connpool_problem_write(&buf, status, detail, 0, errors, violation);
    connpool_json_put(&buf, "\n");
    r->status = status;
    r->status_line = NULL;
    /* What was to be sent instead. */
    apr_table_unset(r->headers_out, "Content-Encoding");
    apr_table_unset(r->headers_out, "Content-Disposition");
    connpool_add_server_timing(r);
    if (status == HTTP_SERVICE_UNAVAILABLE) {
        apr_table_setn(r->headers_out, "Retry-After", RETRY_AFTER);
    }
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    ap_set_content_type(r, "application/problem+json");
    ap_set_content_length(r, (apr_off_t)buf.size);
    connpool_pass_buffer(r, &buf, 1);
    return OK;
}

int connpool_problem(request_rec *r, int status, const char *detail,
                     const apr_array_header_t *errors)
{
    return send_problem(r, status, detail, errors, NULL);
}

const char *connpool_suppressed(apr_pool_t *p, uint64_t count)
{
    char text[64];

    return apr_pstrdup(p, cp_log_repeats(text, sizeof(text), count));
}

/* One line per class and COMPLAIN_EVERY for what goes wrong with every request
 * once it goes wrong, also where the configuration is what refuses; the others
 * can be had with LogLevel debug. */
void connpool_complain(request_rec *r, const char *what, const cp_error_t *err,
                       cp_log_limit_t *complaints)
{
    uint64_t suppressed = 0;
    char more[sizeof(err->detail) + 2];
    int is_ours = err->cls == CP_ERR_REFUSED
                  || (connpool_status_of(err->cls) >= 500 && !err->is_told
                      && err->cls != CP_ERR_CAPACITY /* the pool has told */
                      && err->cls != CP_ERR_CANCELLED);
    int level = !is_ours ? APLOG_DEBUG
                : cp_log_allowed(&complaints[err->cls], COMPLAIN_EVERY,
                                 &suppressed)
                    ? APLOG_ERR
                    : APLOG_DEBUG;

    ap_log_rerror(APLOG_MARK, level, err->rv == APR_EGENERAL ? 0 : err->rv, r,
                  "%s: %s (%s)%s%s", what, err->cause,
                  cp_error_class_name(err->cls),
                  cp_error_more(err, what, more, sizeof(more)),
                  connpool_suppressed(r->pool, suppressed));
}

const char *connpool_explain(apr_pool_t *p, const char *what,
                             const cp_error_t *err)
{
    const char *again = "";

    if (err->message[0]) {
        /* Whoever wrote the trigger speaks to clients. */
        return apr_pstrdup(p, err->message);
    }
    if (err->retry_after > 0) {
        again = apr_psprintf(p, ", it is asked again in %d s",
                             err->retry_after);
    }
    return apr_pstrcat(p, what, ": ", err->cause, again, ".", NULL);
}

int connpool_problem_of(request_rec *r, const char *what, const cp_error_t *err,
                        cp_log_limit_t *complaints)
{
    if (err->cls == CP_ERR_CANCELLED) {
        r->connection->aborted = 1;
    }
    connpool_complain(r, what, err, complaints);
    if (err->retry_after > 0) {
        apr_table_setn(r->headers_out, "Retry-After",
                       apr_itoa(r->pool, err->retry_after));
    }
    return send_problem(r, connpool_status_of(err->cls),
                        connpool_explain(r->pool, what, err), NULL,
                        &(connpool_violation_t){err->constraint, err->subject});
}

/* --- methods --- */

int connpool_answer_method(request_rec *r, apr_int64_t methods)
{
    const char *list;

    if (methods & (AP_METHOD_BIT << r->method_number)) {
        return 0;
    }
    list = connpool_methods_allowed(r->pool, methods);
    apr_table_setn(r->headers_out, "Allow",
                   apr_pstrcat(r->pool, list, ", OPTIONS", NULL));
    if (connpool_origin_is_preflight(r)) {
        connpool_origin_allow(r, list);
    }
    else if (r->method_number != M_OPTIONS) {
        connpool_problem(r, HTTP_METHOD_NOT_ALLOWED,
                         apr_psprintf(r->pool, "Use %s.", list), NULL);
    }
    return 1;
}
