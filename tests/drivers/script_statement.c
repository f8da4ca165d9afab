/* SPDX-License-Identifier: Apache-2.0
 * What the scripted driver makes of its SQL. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <apr_strings.h>

#include "drivers/script_parts.h"

const char *const script_read_verbs[] = {"ROWS", "ECHO", "SLEEP",
                                         "LIST", "NOW",  NULL};
const char *const script_write_verbs[] = {"ADD", "CLEAR", "FAIL", "HEAL", NULL};

/* The next word of *ptext, up to a blank, into word; 0 at the end. */
static int next_word(const char **ptext, char word[TEXT_MAX])
{
    size_t size = 0;

    while (isspace((unsigned char)**ptext)) {
        ++*ptext;
    }
    for (; **ptext && !isspace((unsigned char)**ptext); ++*ptext) {
        if (size < TEXT_MAX - 1) {
            word[size++] = **ptext;
        }
    }
    word[size] = '\0';
    return size > 0;
}

const char *script_scan(apr_pool_t *p, const char *sql, cp_sql_shape_t *shape)
{
    char word[TEXT_MAX];

    memset(shape, 0, sizeof(*shape));
    shape->names = apr_array_make(p, 2, sizeof(const char *));
    if (strchr(sql, ';')) {
        return "there are several statements";
    }
    if (!next_word(&sql, word)) {
        return "there is no statement";
    }
    shape->verb = apr_pstrdup(p, word);
    for (char *c = (char *)shape->verb; *c; c++) {
        *c = (char)toupper((unsigned char)*c);
    }
    while (next_word(&sql, word)) {
        if (word[0] == ':') {
            APR_ARRAY_PUSH(shape->names, const char *) = apr_pstrdup(p,
                                                                     word + 1);
        }
    }
    return NULL;
}

int script_is_volatile(const char *sql, const char **word)
{
    if (strncmp(sql, "now", 3) != 0) {
        return 0;
    }
    *word = "now";
    return 1;
}

int script_is_volatile_value(const cp_value_t *value)
{
    return value->storage == CP_TEXT && value->as.bytes.size == 3
           && memcmp(value->as.bytes.data, "now", 3) == 0;
}

static apr_status_t refuse(cp_connection_t *conn, cp_error_class_t cls,
                           const char *cause, const char *sql, cp_error_t *err)
{
    return cp_error_set(err, cls, APR_EINVAL, cause, "database '%s': %.200s",
                        conn->db->config->name, sql);
}

static int is_one_of(const char *word, const char *const *list)
{
    for (; *list; list++) {
        if (strcasecmp(word, *list) == 0) {
            return 1;
        }
    }
    return 0;
}

int script_writes(cp_statement_t *st)
{
    return is_one_of(st->verb, script_write_verbs);
}

/* What stands behind the verb. */
static void parse(cp_statement_t *st, const char *sql)
{
    char word[TEXT_MAX];

    next_word(&sql, st->verb);
    st->rows = strcmp(st->verb, "echo") == 0 || strcmp(st->verb, "now") == 0;
    while (next_word(&sql, word)) {
        if (word[0] == ':' && st->params < PARAMS_MAX) {
            apr_cpystrn(st->param[st->params++].name, word + 1, TEXT_MAX);
        }
        else if (!*st->what) {
            apr_cpystrn(st->what, word, TEXT_MAX);
        }
        else if (isdigit((unsigned char)word[0])) {
            st->rows = atoi(word);
        }
    }
    if (strcmp(st->verb, "rows") == 0) {
        st->rows = atoi(st->what);
    }
    if (strcmp(st->verb, "sleep") == 0) {
        st->sleep_ms = atoi(st->what);
    }
}

apr_status_t script_prepare(cp_connection_t *conn, const char *sql,
                            cp_statement_t **pst, cp_error_t *err)
{
    cp_statement_t *st = calloc(1, sizeof(*st));

    *pst = NULL;
    if (!st) {
        return refuse(conn, CP_ERR_CAPACITY, "out of memory", sql, err);
    }
    st->conn = conn;
    parse(st, sql);
    if (strchr(sql, ';')
        || (!script_writes(st) && !is_one_of(st->verb, script_read_verbs))) {
        free(st);
        return refuse(conn, CP_ERR_STORAGE,
                      "the query does not fit the database", sql, err);
    }
    if (script_writes(st) && !conn->is_writer) {
        free(st);
        return refuse(conn, CP_ERR_REFUSED, "the query would write", sql, err);
    }
    st->next = conn->out;
    conn->out = st;
    *pst = st;
    return APR_SUCCESS;
}

void script_finish(cp_statement_t *st)
{
    cp_statement_t **link = &st->conn->out;

    while (*link != st) {
        link = &(*link)->next;
    }
    *link = st->next;
    free(st);
}

apr_status_t script_bind_value(cp_statement_t *st, const char *name,
                               cp_type_t type, const cp_value_t *value,
                               cp_error_t *err)
{
    for (int i = 0; i < st->params; i++) {
        if (strcmp(st->param[i].name, name) == 0) {
            st->param[i].value = *value;
            return APR_SUCCESS;
        }
    }
    cp_error_set(err, CP_ERR_INPUT, APR_NOTFOUND, "unknown parameter",
                 "database '%s': no parameter :%.64s",
                 st->conn->db->config->name, name);
    return APR_NOTFOUND;
}

/* Let the time pass, and look around meanwhile. */
static apr_status_t pass_time(cp_statement_t *st, cp_error_t *err)
{
    const cp_limit_t *l = &st->conn->limit;
    cp_clock_t until = cp_clock_after(apr_time_from_msec(st->sleep_ms));
    cp_database_t *db = st->conn->db;

    do {
        if (__atomic_load_n(&db->is_stopping, __ATOMIC_RELAXED)) {
            return refuse(st->conn, CP_ERR_CANCELLED, "the server is stopping",
                          st->verb, err);
        }
        if (cp_clock_left(l->deadline) == 0) {
            return refuse(st->conn, CP_ERR_DEADLINE,
                          "the query took longer than its limit", st->verb,
                          err);
        }
        if (st->sleep_ms > 0 && l->is_gone && l->is_gone(l->gone_baton)) {
            return refuse(st->conn, CP_ERR_CANCELLED,
                          "nobody waits for the answer", st->verb, err);
        }
        if (st->sleep_ms > 0 && l->meanwhile) {
            l->meanwhile(l->baton);
        }
        usleep(st->sleep_ms > 0 ? 1000 : 0);
    } while (cp_clock_left(until) > 0);
    st->sleep_ms = 0;
    return APR_SUCCESS;
}

static void set_faults(cp_statement_t *st)
{
    cp_database_t *db = st->conn->db;
    int is_healed = strcmp(st->verb, "heal") == 0;

    pthread_mutex_lock(&db->lock);
    db->fails_open = !is_healed
                     && (db->fails_open || strcmp(st->what, "open") == 0);
    db->fails_commit = !is_healed
                       && (db->fails_commit || strcmp(st->what, "commit") == 0);
    pthread_mutex_unlock(&db->lock);
}

static apr_status_t write_rows(cp_statement_t *st, cp_error_t *err)
{
    rows_t *rows = st->conn->draft;
    const cp_value_t *name = &st->param[0].value;

    if (!rows) {
        return refuse(st->conn, CP_ERR_INTERNAL, "not in a transaction",
                      st->verb, err);
    }
    if (strcmp(st->verb, "clear") == 0) {
        st->result.changes = rows->count;
        rows->count = 0;
    }
    else if (strcmp(st->verb, "add") == 0) {
        if (name->storage != CP_TEXT || name->as.bytes.size >= TEXT_MAX
            || rows->count == ROWS_MAX) {
            return refuse(st->conn, CP_ERR_INPUT,
                          "the database refused the values", st->verb, err);
        }
        memcpy(rows->name[rows->count], name->as.bytes.data,
               name->as.bytes.size);
        rows->name[rows->count++][name->as.bytes.size] = '\0';
        st->result.changes = 1;
    }
    else {
        set_faults(st);
    }
    return APR_EOF;
}

/* The next row of the table, as whoever asks sees it. */
static int read_table(cp_statement_t *st)
{
    cp_database_t *db = st->conn->db;
    const rows_t *rows = st->conn->draft ? st->conn->draft : &db->rows;
    int is_there;

    pthread_mutex_lock(&db->lock);
    is_there = st->at < rows->count;
    if (is_there) {
        apr_cpystrn(st->text, rows->name[st->at++], TEXT_MAX);
    }
    pthread_mutex_unlock(&db->lock);
    return is_there;
}

apr_status_t script_step(cp_statement_t *st, cp_error_t *err)
{
    apr_status_t rv = pass_time(st, err);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (script_writes(st)) {
        return write_rows(st, err);
    }
    if (strcmp(st->verb, "list") == 0) {
        return read_table(st) ? APR_SUCCESS : APR_EOF;
    }
    if (st->at == st->rows) {
        return APR_EOF;
    }
    st->at++;
    snprintf(st->text, sizeof(st->text), "row %d", st->at);
    return APR_SUCCESS;
}

int script_columns(cp_statement_t *st)
{
    if (script_writes(st)) {
        return 0;
    }
    if (strcmp(st->verb, "echo") == 0) {
        return st->params;
    }
    return strcmp(st->verb, "list") == 0 || strcmp(st->verb, "now") == 0 ? 1
                                                                         : 2;
}

const char *script_column_name(cp_statement_t *st, int i)
{
    static const char *const names[] = {"n", "name"};

    if (strcmp(st->verb, "echo") == 0) {
        return st->param[i].name;
    }
    return script_columns(st) == 1 ? "name" : names[i];
}

/* Of echo: a parameter's name says it, flag_ and doc_. */
const char *script_column_type(cp_statement_t *st, int i)
{
    const char *name = script_column_name(st, i);

    return strncmp(name, "flag_", 5) == 0  ? "boolean"
           : strncmp(name, "doc_", 4) == 0 ? "json"
                                           : NULL;
}

void script_row(cp_statement_t *st, cp_value_t *values)
{
    cp_value_t text = {.storage = CP_TEXT,
                       .as.bytes = {st->text, strlen(st->text)}};

    if (strcmp(st->verb, "echo") == 0) {
        for (int i = 0; i < st->params; i++) {
            values[i] = st->param[i].value;
        }
    }
    else if (strcmp(st->verb, "now") == 0) {
        values[0] = (cp_value_t){.storage = CP_INTEGER,
                                 .as.integer = cp_clock_now()};
    }
    else if (script_columns(st) == 1) {
        values[0] = text;
    }
    else {
        values[0] = (cp_value_t){.storage = CP_INTEGER, .as.integer = st->at};
        values[1] = text;
    }
}

void script_result(cp_statement_t *st, cp_result_t *r)
{
    *r = st->result;
}

const char *script_depends(cp_statement_t *st)
{
    return strcmp(st->verb, "now") == 0 ? "now" : NULL;
}
