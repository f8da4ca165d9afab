/* SPDX-License-Identifier: Apache-2.0
 * Queries and their parameters, as ConnPoolQuery and ConnPoolParam define them.
 */
#ifndef CONNPOOL_QUERY_H
#define CONNPOOL_QUERY_H

#include "glue.h"
#include "answers/encode.h"
#include "base/bytes/buffer.h"
#include "base/error.h"
#include "base/log.h"
#include "config/reply/reply.h"
#include "database/page.h"
#include "database/shape.h"
#include "database/value.h"
#include "pool/group/pace.h"

typedef struct connpool_param_t {
    cp_param_spec_t spec;
    ap_regex_t *match;                      /* NULL: none */
    const char *pattern;                    /* its text */
    const struct connpool_source_t *source; /* NULL: the client */
} connpool_param_t;

/** Of a query that does not say max-rows= or max-bytes=. */
#define CONNPOOL_MAX_ROWS  1000
#define CONNPOOL_MAX_BYTES (8 * 1024 * 1024)

/** How answers of a query are kept and shared. */
typedef struct connpool_caching_t {
    apr_interval_time_t ttl; /* 0: none */
    int is_by_data;          /* ttl=data: until the database changes */
    apr_interval_time_t stale;
    apr_interval_time_t stale_if_error;
    int is_shared; /* requests that carry credentials get the same answers */
    int coalesces;
    cp_buffer_t key; /* what all its keys begin with; set in the child */
} connpool_caching_t;

/** A query that is read page by page: config/page/. */
typedef struct connpool_page_t {
    cp_page_sort_t sort;
    int own; /* parameters of the SQL: limit and after are behind them */
    struct connpool_query_t *first;
    struct connpool_query_t *next[1 << CP_PAGE_COLUMNS_MAX]; /* by NULLs */
} connpool_page_t;

typedef struct connpool_query_t {
    const char *name;
    const char *holder; /* "query 'NAME'", for who asks who holds a connection;
                           NULL: SQL of another module, which has no name */
    server_rec *server;
    const char *where;
    const char *database_name;
    struct connpool_database_t *database; /* NULL: not defined so far */
    const char *sql;
    cp_sql_shape_t shape; /* without a verb: not known before check_config */
    int is_write;
    apr_int64_t methods; /* AP_METHOD_BIT << M_x, or'ed */
    int max_rows;
    apr_int64_t max_bytes;
    apr_interval_time_t timeout; /* CP_UNSET: the database's */
    cp_format_t format;
    connpool_reply_t reply;
    cp_log_limit_t complaints[CP_ERR_CLASSES]; /* of this child */
    cp_log_limit_t slow_log;                   /* likewise */
    cp_pace_t pace; /* likewise, of a write: may it go with others? */
    apr_array_header_t *params; /* connpool_param_t * */
    int has_facts;              /* a parameter has from= */
    unsigned segments; /* bits: those of the path that parameters have */
    connpool_caching_t caching;
    const char *paged_by;  /* what page= says; NULL: it has no pages */
    connpool_page_t *page; /* from check_config, if it has */
    int limit_place;       /* of a page: its last parameter, from 1; else 0 */
    int entry;
} connpool_query_t;

/** From check_config: that is its database. What could not be checked when the
 * query was read, for want of it, is.
 * @return NULL, or a sentence */
const char *connpool_query_resolve(apr_pool_t *p, connpool_query_t *query,
                                   struct connpool_database_t *db);

/** Is it a parameter of the SQL, as far as that is known? */
int connpool_query_takes(const connpool_query_t *query, const char *name);

/** The table of its keys. Beside the struct there is what was read of words. */
const struct cp_option_t *connpool_query_keys(void);

/** With ttl=. */
int connpool_query_is_cached(const connpool_query_t *query);
/** With ttl=, coalesce=on or page=: never streams. */
int connpool_query_is_collected(const connpool_query_t *query);

/** Parameters that its SQL has: the first ones of the declared. */
int connpool_query_bound(const connpool_query_t *query);

/** The place of a declared parameter, or -1. */
int connpool_find_param(const connpool_query_t *query, const char *name);

/** A declared parameter's value from text: NULL or the reason against it. */
const char *connpool_param_parse(apr_pool_t *p, const connpool_param_t *param,
                                 const char *data, apr_size_t size,
                                 cp_value_t *value);

#endif
