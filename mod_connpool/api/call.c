/* SPDX-License-Identifier: Apache-2.0
 * Running queries for other modules. */
#include "glue.h"
#include "api/api.h"
#include "base/error.h"
#include "config/database.h"
#include "config/query.h"
#include "config/setting.h"
#include "database/value.h"
#include "mod_connpool.h"
#include "request/input.h"
#include "request/param/fact.h"
#include "work/query.h"

#include <apr_hash.h>
#include <apr_optional.h>
#include <apr_strings.h>

typedef struct binding_t {
    const char *name;
    cp_value_t value;
} binding_t;

struct connpool_call_t {
    request_rec *r;
    connpool_query_t *query;
    int is_named;
    int is_answer;                /* what is wanted is all of it, as bytes */
    apr_array_header_t *bindings; /* binding_t */
    connpool_run_t run;
    int is_open;
    apr_status_t last; /* of the last step: decides over commit */
    cp_value_t *row;   /* room for `columns` values */
    int columns;
    int has_row; /* row holds the current row */
    cp_error_t err;
    apr_array_header_t *errors; /* connpool_input_error_t, of the values */
};

/* A call that its module forgot to end: undo it before the connection goes. */
static apr_status_t call_cleanup(void *data)
{
    connpool_call_t *call = data;

    if (call->is_open) {
        call->is_open = 0;
        connpool_run_close(&call->run, APR_EGENERAL, &call->err);
    }
    return APR_SUCCESS;
}

static connpool_call_t *make_call(request_rec *r, connpool_query_t *query,
                                  int is_named)
{
    connpool_call_t *call = apr_pcalloc(r->pool, sizeof(*call));

    call->r = r;
    call->query = query;
    call->is_named = is_named;
    call->bindings = apr_array_make(r->pool, 4, sizeof(binding_t));
    call->errors = apr_array_make(r->pool, 1, sizeof(connpool_input_error_t));
    cp_error_clear(&call->err);
    return call;
}

static apr_status_t connpool_call_named(connpool_call_t **pcall, request_rec *r,
                                        const char *name)
{
    connpool_query_t *query = apr_hash_get(
        connpool_server(r->server)->all_queries, name, APR_HASH_KEY_STRING);

    *pcall = query ? make_call(r, query, 1) : NULL;
    return query ? APR_SUCCESS : APR_NOTFOUND;
}

static apr_status_t connpool_call_sql(connpool_call_t **pcall, request_rec *r,
                                      const char *database, const char *sql,
                                      int mode)
{
    connpool_database_t *db = apr_hash_get(
        connpool_server(r->server)->all_databases, database,
        APR_HASH_KEY_STRING);
    connpool_query_t *query;

    *pcall = NULL;
    if (!db) {
        return APR_NOTFOUND;
    }
    if (mode == CONNPOOL_WRITE && db->facts.is_readonly) {
        return APR_EACCES;
    }
    query = apr_pcalloc(r->pool, sizeof(*query));
    query->name = database;
    query->database = db;
    query->sql = sql;
    query->is_write = mode == CONNPOOL_WRITE;
    query->timeout = db->timeout;
    query->max_rows = CONNPOOL_MAX_ROWS; /* these two: in a batch */
    query->max_bytes = CONNPOOL_MAX_BYTES;
    query->entry = -1; /* counted nowhere */
    query->params = apr_array_make(r->pool, 4, sizeof(connpool_param_t *));
    *pcall = make_call(r, query, 0);
    return APR_SUCCESS;
}

static cp_value_t *place_of(connpool_call_t *call, const char *name)
{
    binding_t *binding;

    for (int i = 0; i < call->bindings->nelts; i++) {
        binding = &APR_ARRAY_IDX(call->bindings, i, binding_t);
        if (strcmp(binding->name, name) == 0) {
            return &binding->value;
        }
    }
    binding = apr_array_push(call->bindings);
    binding->name = name;
    return &binding->value;
}

static void connpool_bind_null(connpool_call_t *call, const char *name)
{
    *place_of(call, name) = (cp_value_t){.storage = CP_NULL};
}

static void connpool_bind_int64(connpool_call_t *call, const char *name,
                                apr_int64_t value)
{
    *place_of(call, name) = (cp_value_t){.storage = CP_INTEGER,
                                         .as.integer = value};
}

static void connpool_bind_double(connpool_call_t *call, const char *name,
                                 double value)
{
    *place_of(call, name) = (cp_value_t){.storage = CP_REAL, .as.real = value};
}

static void connpool_bind_text(connpool_call_t *call, const char *name,
                               const char *data, apr_size_t size)
{
    *place_of(call, name) = (cp_value_t){.storage = CP_TEXT,
                                         .as.bytes = {data, size}};
}

static void connpool_bind_blob(connpool_call_t *call, const char *name,
                               const void *data, apr_size_t size)
{
    *place_of(call, name) = (cp_value_t){.storage = CP_BLOB,
                                         .as.bytes = {data, size}};
}

static cp_type_t type_of(const cp_value_t *value)
{
    switch (value->storage) {
    case CP_INTEGER:
        return CP_TYPE_INTEGER;
    case CP_REAL:
        return CP_TYPE_REAL;
    case CP_BLOB:
        return CP_TYPE_BLOB;
    default:
        return CP_TYPE_TEXT;
    }
}

/* SQL of the module's own declares its parameters by binding them. */
static apr_status_t values_of_sql(connpool_call_t *call, cp_value_t *values)
{
    apr_array_clear(call->query->params);
    for (int i = 0; i < call->bindings->nelts; i++) {
        const binding_t *binding = &APR_ARRAY_IDX(call->bindings, i, binding_t);
        connpool_param_t *param = apr_pcalloc(call->r->pool, sizeof(*param));

        param->spec.name = binding->name;
        param->spec.type = type_of(&binding->value);
        APR_ARRAY_PUSH(call->query->params, connpool_param_t *) = param;
        values[i] = binding->value;
    }
    return APR_SUCCESS;
}

static const cp_value_t *find_binding(const connpool_call_t *call,
                                      const char *name)
{
    for (int i = 0; i < call->bindings->nelts; i++) {
        const binding_t *binding = &APR_ARRAY_IDX(call->bindings, i, binding_t);

        if (strcmp(binding->name, name) == 0) {
            return &binding->value;
        }
    }
    return NULL;
}

/* A named query's parameters are the administrator's: his rules hold for
 * modules too. */
static const char *value_of_param(connpool_call_t *call,
                                  const connpool_param_t *param,
                                  cp_value_t *value, int *pstatus)
{
    const cp_value_t *bound = find_binding(call, param->spec.name);
    const char *reason = NULL;

    if (param->source) {
        if (!bound) {
            *pstatus = connpool_fact_read(call->r, call->query, param, value,
                                          &reason);
        }
        if (reason && *pstatus == HTTP_FORBIDDEN) {
            connpool_count_forbidden(call->query);
        }
        return bound ? "is not a parameter here" : reason;
    }
    if (!bound) {
        *value = param->spec.fallback;
        return param->spec.is_required ? "is required" : NULL;
    }
    *value = *bound;
    if (bound->storage == CP_NULL) {
        return param->spec.is_required ? "is required" : NULL;
    }
    if (bound->storage == CP_TEXT) {
        return connpool_param_parse(call->r->pool, param, bound->as.bytes.data,
                                    bound->as.bytes.size, value);
    }
    return cp_value_in_range(call->r->pool, &param->spec, value);
}

/* status: 0, or what a fact of the request says of itself. */
static apr_status_t refuse_value(connpool_call_t *call, apr_status_t rv,
                                 connpool_input_error_t error)
{
    cp_error_class_t cls = error.status == HTTP_FORBIDDEN ? CP_ERR_REFUSED
                           : error.status >= HTTP_INTERNAL_SERVER_ERROR
                               ? CP_ERR_INTERNAL
                               : CP_ERR_INPUT;

    APR_ARRAY_PUSH(call->errors, connpool_input_error_t) = error;
    cp_error_set(&call->err, cls, rv, "bad parameter", "query '%s': %s %s",
                 call->query->name, error.param, error.reason);
    return rv;
}

/* Of a query with page= which page it is only an answer is asked. */
static int count_params(const connpool_call_t *call)
{
    return call->is_answer ? call->query->params->nelts
                           : connpool_query_bound(call->query);
}

/* One that the query does not have. */
static const char *find_unknown(const connpool_call_t *call)
{
    for (int i = 0; i < call->bindings->nelts; i++) {
        const binding_t *binding = &APR_ARRAY_IDX(call->bindings, i, binding_t);
        int place = connpool_find_param(call->query, binding->name);

        if (place < 0 || place >= count_params(call)) {
            return binding->name;
        }
    }
    return NULL;
}

static apr_status_t values_of_named(connpool_call_t *call, cp_value_t *values)
{
    const char *unknown;

    for (int i = 0; i < count_params(call); i++) {
        const connpool_param_t *param = APR_ARRAY_IDX(call->query->params, i,
                                                      connpool_param_t *);
        int status = 0;
        const char *reason = value_of_param(call, param, &values[i], &status);

        if (reason) {
            return refuse_value(
                call, APR_EINVAL,
                (connpool_input_error_t){param->spec.name, reason, status});
        }
    }
    unknown = find_unknown(call);
    return unknown ? refuse_value(
               call, APR_NOTFOUND,
               (connpool_input_error_t){unknown, "is not a parameter here", 0})
                   : APR_SUCCESS;
}

apr_status_t connpool_call_values(connpool_call_t *call,
                                  connpool_query_t **pquery,
                                  const cp_value_t **pvalues)
{
    int count = call->query->params->nelts + call->bindings->nelts + 1;
    cp_value_t *values = apr_pcalloc(call->r->pool,
                                     (apr_size_t)count * sizeof(*values));

    if (call->is_open) {
        return APR_EBUSY;
    }
    *pquery = call->query;
    *pvalues = values;
    cp_error_clear(&call->err);
    apr_array_clear(call->errors);
    return call->is_named ? values_of_named(call, values)
                          : values_of_sql(call, values);
}

static apr_status_t connpool_call_run(connpool_call_t *call)
{
    connpool_query_t *query;
    const cp_value_t *values;
    apr_status_t rv = connpool_call_values(call, &query, &values);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    memset(&call->run, 0, sizeof(call->run));
    rv = connpool_run_open(&call->run, call->r, query, values, &call->err);
    if (rv == APR_SUCCESS) {
        call->is_open = 1;
        call->last = APR_SUCCESS;
        apr_pool_cleanup_register(call->r->pool, call, call_cleanup,
                                  apr_pool_cleanup_null);
    }
    return rv;
}

static apr_status_t connpool_call_next(connpool_call_t *call)
{
    if (!call->is_open) {
        return APR_EINVAL;
    }
    call->has_row = 0;
    if (call->last != APR_SUCCESS) {
        return call->last;
    }
    call->last = connpool_run_next(&call->run, &call->err);
    return call->last;
}

static int connpool_columns(connpool_call_t *call)
{
    return call->is_open ? call->run.driver->columns(call->run.statement) : 0;
}

static const char *connpool_column_name(connpool_call_t *call, int i)
{
    return call->is_open && i >= 0 && i < connpool_columns(call)
               ? call->run.driver->column_name(call->run.statement, i)
               : NULL;
}

/* The value in column i of the current row; NULL when there is none. */
static const cp_value_t *column(connpool_call_t *call, int i)
{
    int columns = connpool_columns(call);

    if (!call->is_open || call->last != APR_SUCCESS || i < 0 || i >= columns
        || call->run.rows == 0) {
        return NULL;
    }
    if (columns > call->columns) {
        call->columns = columns;
        call->row = apr_palloc(call->r->pool,
                               (apr_size_t)columns * sizeof(*call->row));
        call->has_row = 0;
    }
    if (!call->has_row) {
        call->run.driver->row(call->run.statement, call->row);
        call->has_row = 1;
    }
    return &call->row[i];
}

static int connpool_column_kind(connpool_call_t *call, int i)
{
    const cp_value_t *value = column(call, i);

    switch (value ? value->storage : CP_NULL) {
    case CP_INTEGER:
        return CONNPOOL_INTEGER;
    case CP_REAL:
        return CONNPOOL_REAL;
    case CP_TEXT:
    case CP_JSON:
        return CONNPOOL_TEXT;
    case CP_BLOB:
        return CONNPOOL_BLOB;
    default:
        return CONNPOOL_NULL;
    }
}

static apr_int64_t connpool_column_int64(connpool_call_t *call, int i)
{
    const cp_value_t *value = column(call, i);

    return value && value->storage == CP_INTEGER ? value->as.integer : 0;
}

static double connpool_column_double(connpool_call_t *call, int i)
{
    const cp_value_t *value = column(call, i);

    return value && value->storage == CP_REAL ? value->as.real : 0.0;
}

static const char *connpool_column_bytes(connpool_call_t *call, int i,
                                         apr_size_t *psize)
{
    const cp_value_t *value = column(call, i);
    int has_bytes = value
                    && (value->storage == CP_TEXT || value->storage == CP_BLOB);

    *psize = has_bytes ? value->as.bytes.size : 0;
    return has_bytes ? value->as.bytes.data : NULL;
}

/* A write's statement does its work by being stepped to its end. */
static apr_status_t step_to_end(connpool_call_t *call)
{
    while (call->last == APR_SUCCESS) {
        call->last = connpool_run_next(&call->run, &call->err);
    }
    return call->last;
}

static apr_status_t connpool_call_end(connpool_call_t *call)
{
    apr_status_t rv;

    if (!call->is_open) {
        return APR_SUCCESS;
    }
    rv = call->query->is_write ? step_to_end(call) : call->last;
    call->is_open = 0;
    apr_pool_cleanup_kill(call->r->pool, call, call_cleanup);
    rv = connpool_run_close(&call->run, rv, &call->err);
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

static apr_int64_t connpool_call_changes(connpool_call_t *call)
{
    return call->run.result.changes;
}

static apr_int64_t connpool_call_last_rowid(connpool_call_t *call)
{
    return call->run.result.last_rowid;
}

static const char *connpool_call_constraint(connpool_call_t *call,
                                            const char **psubject)
{
    if (psubject) {
        *psubject = call->err.subject;
    }
    return call->err.constraint;
}

static const char *connpool_call_error(connpool_call_t *call)
{
    return call->err.detail;
}

request_rec *connpool_call_request(const connpool_call_t *call)
{
    return call->r;
}

apr_status_t connpool_call_refuse(connpool_call_t *call,
                                  connpool_input_error_t error)
{
    return refuse_value(call, APR_EINVAL, error);
}

void connpool_call_is_answer(connpool_call_t *call, int is_answer)
{
    call->is_answer = is_answer;
}

cp_error_t *connpool_call_failed(connpool_call_t *call)
{
    return &call->err;
}

const apr_array_header_t *connpool_call_errors(const connpool_call_t *call)
{
    return call->errors;
}

void connpool_call_api_register(void)
{
    APR_REGISTER_OPTIONAL_FN(connpool_call_named);
    APR_REGISTER_OPTIONAL_FN(connpool_call_sql);
    APR_REGISTER_OPTIONAL_FN(connpool_bind_null);
    APR_REGISTER_OPTIONAL_FN(connpool_bind_int64);
    APR_REGISTER_OPTIONAL_FN(connpool_bind_double);
    APR_REGISTER_OPTIONAL_FN(connpool_bind_text);
    APR_REGISTER_OPTIONAL_FN(connpool_bind_blob);
    APR_REGISTER_OPTIONAL_FN(connpool_call_run);
    APR_REGISTER_OPTIONAL_FN(connpool_call_next);
    APR_REGISTER_OPTIONAL_FN(connpool_columns);
    APR_REGISTER_OPTIONAL_FN(connpool_column_name);
    APR_REGISTER_OPTIONAL_FN(connpool_column_kind);
    APR_REGISTER_OPTIONAL_FN(connpool_column_int64);
    APR_REGISTER_OPTIONAL_FN(connpool_column_double);
    APR_REGISTER_OPTIONAL_FN(connpool_column_bytes);
    APR_REGISTER_OPTIONAL_FN(connpool_call_end);
    APR_REGISTER_OPTIONAL_FN(connpool_call_changes);
    APR_REGISTER_OPTIONAL_FN(connpool_call_last_rowid);
    APR_REGISTER_OPTIONAL_FN(connpool_call_error);
    APR_REGISTER_OPTIONAL_FN(connpool_call_constraint);
}
