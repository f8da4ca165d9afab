/* SPDX-License-Identifier: Apache-2.0
 * What the files of this driver share: its databases, connections and
 * statements. */
#ifndef CP_PGSQL_H
#define CP_PGSQL_H

#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "database/ahead.h"
#include "database/database.h"
#include "database/pgsql/session/keys.h"
#include "database/pgsql/text/sql.h"

#include <pthread.h>
#include <stdint.h>

#include <libpq-fe.h>

#define CP_PG_STATEMENTS 64  /* prepared per connection */
#define CP_PG_TYPED      256 /* remembered per database */
#define CP_PG_NAME       24  /* of a prepared statement */

struct cp_database_t {
    cp_pg_config_t config; /* completed */
    int is_stopping;       /* atomic */
    unsigned generation;   /* atomic: raised when its connections are of a
                              server that is no more what it was */
    int last_good[2];      /* atomic: server that was taken, by is_writer */
    int has_old_servers; /* atomic: without client_connection_check_interval */
    cp_log_limit_t notices;
    struct cp_pg_sentinel_t *sentinel;
    uint64_t identity; /* atomic: of the server that versions are of; 0: of
                          none */

    pthread_mutex_t lock;   /* guards all below */
    cp_clock_t retry_at[2]; /* not to be opened before, by is_writer */
    apr_interval_time_t pause[2];
    cp_error_t failure[2];
    struct cp_pg_types_t *types[CP_PG_TYPED]; /* that were found out, by hash */
};

static inline int cp_pg_is_stopping(const cp_database_t *db)
{
    return __atomic_load_n(&db->is_stopping, __ATOMIC_RELAXED);
}

static inline unsigned cp_pg_generation(const cp_database_t *db)
{
    return __atomic_load_n(&db->generation, __ATOMIC_RELAXED);
}

/* How far it is. */
typedef enum cp_pg_run_t {
    CP_PG_AT_REST,  /* not begun, or all was read */
    CP_PG_SENT,     /* results are to be read */
    CP_PG_FINISHED, /* nothing more is to be read */
} cp_pg_run_t;

/* Which command of a pipeline is read; without one the statement's. */
enum {
    CP_PG_STAGE_BEGIN,
    CP_PG_STAGE_STATEMENT,
};

struct cp_statement_t {
    cp_connection_t *conn;
    char *sql; /* as it was asked for; NULL: this place is free */
    size_t sql_size;
    unsigned long used_at; /* conn->uses when it was last taken */
    int is_out;
    int is_prepared; /* at the server */
    int is_settled;  /* with the types that are best for what is declared */
    int heals;       /* in this run */
    int was_ahead;   /* it was sent ahead */
    int writes;
    uint64_t hash;
    char name[CP_PG_NAME];
    cp_buffer_t text; /* as the server gets it, terminated */
    cp_pg_param_t *params;
    int param_count;
    /* A place a parameter. */
    unsigned *types;    /* that it is prepared with; 0: the server's choice */
    unsigned *inferred; /* the server's choice; 0: it had none */
    cp_type_t *declared;
    cp_type_t *settled;  /* what was declared when is_settled was set */
    const char **values; /* what is bound */
    int *lengths, *formats;
    char (*numbers)[32];    /* room for their texts */
    cp_buffer_t terminated; /* texts with a NUL behind */

    cp_pg_run_t run;
    int stage;
    PGresult *row;               /* the current one */
    PGresult *columns;           /* the first result: names and types */
    struct cp_pg_aside_t *aside; /* rows behind it that were read already */
    cp_buffer_t scratch;
    uint64_t rows;
    apr_int64_t changes;
};

typedef enum cp_pg_transaction_t {
    CP_PG_NONE,
    CP_PG_BEGINS, /* with its first statement */
    CP_PG_OPEN,
} cp_pg_transaction_t;

/* One thread at a time uses a connection. */
struct cp_connection_t {
    cp_database_t *db;
    PGconn *pg;
    int is_writer;
    unsigned generation;
    cp_limit_t limit;
    cp_clock_t look_at; /* at the client */
    cp_pg_transaction_t transaction;
    int depth;          /* of savepoints */
    int is_in_pipeline; /* BEGIN went out with a statement */
    int is_broken;      /* not to be used again */
    char state[6];      /* SQLSTATE of why, "" */
    int is_exposed;     /* somebody had its handle */
    int is_large;       /* a row made libpq's buffer large, which it keeps */
    int entered;        /* enter_write without its end */
    uint64_t identity;  /* of its server, see identity.h; 0: not asked yet */
    cp_statement_t *running;
    /* Sent ahead, and how many of them were received (statement/pipeline.c). */
    cp_statement_t *queue[CP_AHEAD_MOST];
    int queued, received;
    unsigned long uses;
    cp_statement_t cache[CP_PG_STATEMENTS];
};

#define CP_PG_LARGE (1024 * 1024) /* bytes of a row */

#endif
