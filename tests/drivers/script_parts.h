/* SPDX-License-Identifier: Apache-2.0
 * What the files of the scripted driver share. */
#ifndef SCRIPT_PARTS_H
#define SCRIPT_PARTS_H

#include <pthread.h>

#include "database/database.h"

#define TEXT_MAX   64
#define PARAMS_MAX 8
#define ROWS_MAX   1000

typedef struct config_t {
    const char *name;
    const char *word;
    int is_readonly;
    const char *down; /* a file, or NULL */
} config_t;

/* The table. */
typedef struct rows_t {
    int count;
    char name[ROWS_MAX][TEXT_MAX];
} rows_t;

struct cp_database_t {
    const config_t *config;
    apr_global_mutex_t *write_lock;
    int is_stopping;      /* atomic */
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t freed;
    cp_connection_t *writer; /* who is in a transaction, or has entered */
    rows_t rows;
    uint64_t commits;
    uint64_t generation; /* raised when it is replaced */
    int was_down;
    int fails_open;
    int fails_commit;
};

struct cp_connection_t {
    cp_database_t *db;
    int is_writer;
    cp_limit_t limit;
    uint64_t generation;
    int entered;   /* how often */
    int is_within; /* a transaction */
    rows_t *draft; /* its rows */
    cp_statement_t *out;
};

typedef struct param_t {
    char name[TEXT_MAX];
    cp_value_t value;
} param_t;

struct cp_statement_t {
    cp_connection_t *conn;
    cp_statement_t *next; /* of those that are out */
    char verb[TEXT_MAX];
    char what[TEXT_MAX]; /* the word behind the verb */
    int sleep_ms;
    int rows; /* to come, of rows and echo; -1: those of the table */
    int at;   /* the current row, from 1 */
    int params;
    param_t param[PARAMS_MAX];
    char text[TEXT_MAX]; /* of the current row */
    cp_result_t result;
};

extern const char *const script_read_verbs[];
extern const char *const script_write_verbs[];

const char *script_scan(apr_pool_t *p, const char *sql, cp_sql_shape_t *shape);
int script_is_volatile(const char *sql, const char **word);
int script_is_volatile_value(const cp_value_t *value);
int script_writes(cp_statement_t *st);
apr_status_t script_prepare(cp_connection_t *conn, const char *sql,
                            cp_statement_t **pst, cp_error_t *err);
void script_finish(cp_statement_t *st);
apr_status_t script_bind_value(cp_statement_t *st, const char *name,
                               cp_type_t type, const cp_value_t *value,
                               cp_error_t *err);
apr_status_t script_step(cp_statement_t *st, cp_error_t *err);
int script_columns(cp_statement_t *st);
const char *script_column_name(cp_statement_t *st, int i);
const char *script_column_type(cp_statement_t *st, int i);
void script_row(cp_statement_t *st, cp_value_t *values);
void script_result(cp_statement_t *st, cp_result_t *r);
const char *script_depends(cp_statement_t *st);

#endif
