/* SPDX-License-Identifier: Apache-2.0
 * What comes with a request: its parameters and its body. */
#ifndef CONNPOOL_INPUT_H
#define CONNPOOL_INPUT_H

#include "glue.h"
#include "config/query.h"
#include "database/value.h"

typedef struct connpool_input_error_t {
    const char *param;
    const char *reason;
    int status; /* 0: 400 */
} connpool_input_error_t;

/** What to answer for these errors: the gravest, and the sentence for it. */
int connpool_input_status(const apr_array_header_t *errors,
                          const char **pdetail);

/** Read the request's parameters (query string; form or JSON body) for the
 * query's declared ones: one cp_value_t each, in r->pool.
 * @return OK, or the HTTP status to answer: 400, or 403, 404, 500 for what the
 * request itself tells, with entries in errors, 413, 415, with *pdetail set */
int connpool_params_read(request_rec *r, const connpool_query_t *query,
                         cp_value_t **pvalues, apr_array_header_t **perrors,
                         const char **pdetail);

/** One value as it came: text, or a member of a JSON object. */
typedef struct connpool_raw_t {
    const char *name;
    const char *data; /* NULL: typed */
    apr_size_t size;
    const struct json_t *typed;
} connpool_raw_t;

/** For several queries at once. Take a query string (NULL: none) apart;
 * *perrors gets what cannot be decoded (connpool_input_error_t).
 * @return connpool_raw_t, in the request's pool */
apr_array_header_t *connpool_params_split(request_rec *r, const char *args,
                                          apr_array_header_t **perrors);

/** Values for one query, from those that it declares among what is shared, or
 * from the members of a JSON object (NULL: none), which must outlive them.
 * @return what is wrong with them (connpool_input_error_t): empty when they can
 * be used */
apr_array_header_t *connpool_params_share(request_rec *r,
                                          const connpool_query_t *query,
                                          apr_array_header_t *raws,
                                          cp_value_t **pvalues);
apr_array_header_t *connpool_params_take(request_rec *r,
                                         const connpool_query_t *query,
                                         const struct json_t *object,
                                         cp_value_t **pvalues);

/** A name that came with the request, as it may be shown: short, and
 * well-formed or "?". */
const char *connpool_shown_name(request_rec *r, const char *name);

/** The request's body, with a NUL behind it; lives as long as r->pool.
 * @return OK, or the HTTP status to answer: 400, 413, 415 for one that is
 * compressed, 503 for want of memory, with *pdetail set */
int connpool_read_body(request_rec *r, apr_int64_t max, char **pbody,
                       apr_size_t *psize, const char **pdetail);

/** An object or an array, without equal keys; lives as long as r->pool.
 * @return OK, or the HTTP status to answer: 400, 503 for want of memory, with
 * *pdetail set */
int connpool_json_load(request_rec *r, const char *body, apr_size_t size,
                       struct json_t **proot, const char **pdetail);

/** Does a body come with the request? */
int connpool_has_body(request_rec *r);

/** Is that what the header's value says, whatever its parameters? */
int connpool_is_media_type(const char *header, const char *type);

/** Count a request that lacks a fact which the query requires; once for all
 * that it lacks. */
void connpool_count_forbidden(const struct connpool_query_t *query);

#endif
