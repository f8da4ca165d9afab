/* SPDX-License-Identifier: Apache-2.0
 *
 * libpq would go through the servers by itself, but stays for ever at one that
 * takes the connection and says nothing, and asks for addresses as long as that
 * takes: it gets one server at a time, by its address. */
#include "database/pgsql/session/connect.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "database/pgsql/session/address.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/session/resolve.h"
#include "database/pgsql/text/state.h"

#include <poll.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#define SLICE       apr_time_from_msec(50) /* the child may end */
#define PAUSE_FIRST apr_time_from_msec(250)
#define PAUSE_LAST  apr_time_from_sec(1)
#define PAUSE_LONG  apr_time_from_sec(15) /* what somebody must repair */
#define SHOWN       240
#define KEYWORDS    80

/* What is set for the session: an answer as expected, no writes but in
 * transactions that begin so, and an end of what nobody waits for. */
#define SETTINGS                                                               \
    "-c default_transaction_read_only=on -c datestyle=ISO "                    \
    "-c bytea_output=hex -c extra_float_digits=1 "                             \
    "-c standard_conforming_strings=on "                                       \
    "-c idle_in_transaction_session_timeout=60s"
#define CHECK_INTERVAL " -c client_connection_check_interval=1s"

/* One try to get a connection. */
typedef struct attempt_t {
    cp_database_t *db;
    int is_writer;
    cp_pg_role_t role;
    cp_clock_t deadline; /* of this server */
    PGconn *pg;
    char state[6];  /* SQLSTATE of the failure, "" without */
    int is_refused; /* at once: nothing listens there */
    cp_error_t *err;
} attempt_t;

/* --- failures --- */

/* "FATAL:  53300: sorry, too many clients": libpq tells it of a session that
 * came to nothing only in its text. */
static const char *find_state(const char *message)
{
    const char *at = message;

    while ((at = strstr(at, ":  ")) != NULL) {
        size_t size = 0;

        at += 3;
        while (size < 5 && (apr_isdigit(at[size]) || apr_isupper(at[size]))) {
            size++;
        }
        if (size == 5 && at[5] == ':') {
            return at;
        }
    }
    return NULL;
}

static apr_status_t refuse(attempt_t *at, const cp_pg_host_t *host,
                           apr_status_t rv, const char *why)
{
    const char *state = find_state(why);
    const cp_pg_outcome_t *outcome;
    char shown[SHOWN];

    at->state[0] = '\0';
    at->is_refused = strstr(why, "refused") != NULL
                     || strstr(why, "No such file") != NULL;
    if (state) {
        apr_cpystrn(at->state, state, sizeof(at->state));
    }
    outcome = state ? cp_pg_outcome(at->state) : NULL;
    cp_pg_show(shown, sizeof(shown), why);
    rv = cp_error_set(at->err,
                      outcome && outcome->cls == CP_ERR_CAPACITY
                          ? CP_ERR_CAPACITY
                          : CP_ERR_STORAGE,
                      rv,
                      outcome && outcome->cls == CP_ERR_CAPACITY
                          ? outcome->cause
                          : "the database cannot be opened",
                      "database '%s': %s port %s: %s", at->db->config.name,
                      host->host, host->port, shown);
    apr_cpystrn(at->err->state, at->state, sizeof(at->err->state));
    return rv;
}

static apr_status_t refuse_late(attempt_t *at, const cp_pg_host_t *host)
{
    return refuse(at, host, APR_TIMEUP, "it did not answer in time");
}

/* --- one server --- */

void cp_pg_on_notice(void *data, const PGresult *result)
{
    cp_database_t *db = data;
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    uint64_t suppressed;
    char shown[SHOWN], tail[64];

    if (text
        && cp_log_allowed(&db->notices, apr_time_from_sec(1), &suppressed)) {
        cp_pg_show(shown, sizeof(shown), text);
        cp_log(CP_LOG_MARK, CP_LOG_DEBUG, 0, "database '%s': notice: %s%s",
               db->config.name, shown,
               cp_log_repeats(tail, sizeof(tail), suppressed));
    }
}

static const char *role_word(const attempt_t *at)
{
    switch (at->role) {
    case CP_PG_PRIMARY:
        return "primary";
    case CP_PG_STANDBY:
        return "standby";
    default:
        return "any";
    }
}

static int has_old_servers(const cp_database_t *db)
{
    return __atomic_load_n(&db->has_old_servers, __ATOMIC_RELAXED);
}

static PGconn *start(attempt_t *at, const cp_pg_host_t *host,
                     const char *address)
{
    const cp_pg_config_t *config = &at->db->config;
    const char *keywords[KEYWORDS], *values[KEYWORDS];
    char options[1024];
    int n = 0;

    for (; n < config->keyword_count; n++) {
        keywords[n] = config->keywords[n];
        values[n] = config->values[n];
    }
    keywords[n] = "host";
    values[n++] = host->host;
    keywords[n] = "port";
    values[n++] = host->port;
    keywords[n] = "user";
    values[n++] = config->user;
    keywords[n] = "target_session_attrs";
    values[n++] = role_word(at);
    if (address) {
        keywords[n] = "hostaddr";
        values[n++] = address;
    }
    if (config->pooler == CP_PG_POOLER_NONE) {
        apr_snprintf(options, sizeof(options), "%s %s%s",
                     config->options ? config->options : "", SETTINGS,
                     has_old_servers(at->db) ? "" : CHECK_INTERVAL);
        keywords[n] = "options";
        values[n++] = options;
    }
    keywords[n] = values[n] = NULL;
    return PQconnectStartParams(keywords, values, 0);
}

/* Until the socket is ready.
 * @return APR_TIMEUP, APR_EINTR */
static apr_status_t wait_socket(const attempt_t *at, short events)
{
    struct pollfd fd = {.fd = PQsocket(at->pg), .events = events};

    for (;;) {
        apr_interval_time_t left = cp_clock_left(at->deadline);
        struct timespec time = {0};

        if (left == 0) {
            return APR_TIMEUP;
        }
        if (cp_pg_is_stopping(at->db)) {
            return APR_EINTR;
        }
        time.tv_nsec = (long)(left < SLICE ? left : SLICE) * 1000;
        if (ppoll(&fd, 1, &time, NULL) != 0) {
            return APR_SUCCESS;
        }
    }
}

static apr_status_t drive(attempt_t *at)
{
    short events = POLLOUT;

    for (;;) {
        apr_status_t rv = wait_socket(at, events);

        if (rv != APR_SUCCESS) {
            return rv;
        }
        switch (PQconnectPoll(at->pg)) {
        case PGRES_POLLING_OK:
            return APR_SUCCESS;
        case PGRES_POLLING_READING:
            events = POLLIN;
            break;
        case PGRES_POLLING_WRITING:
            events = POLLOUT;
            break;
        default:
            return APR_EGENERAL;
        }
    }
}

/* What values are read by. A pooler, or the environment, may have it
 * otherwise. */
static const char *find_misfit(PGconn *pg)
{
    const char *style = PQparameterStatus(pg, "DateStyle");
    const char *strings = PQparameterStatus(pg, "standard_conforming_strings");
    const char *encoding = PQparameterStatus(pg, "client_encoding");

    if (style && strncmp(style, "ISO", 3) != 0) {
        return "its DateStyle is not ISO";
    }
    if (strings && strcmp(strings, "on") != 0) {
        return "its standard_conforming_strings is not on";
    }
    return encoding && strcmp(encoding, "UTF8") != 0
               ? "its client_encoding is not UTF8"
               : NULL;
}

static apr_status_t take(attempt_t *at, const cp_pg_host_t *host)
{
    const char *misfit = find_misfit(at->pg);

    if (misfit || PQsetnonblocking(at->pg, 1) != 0) {
        return refuse(at, host, APR_EGENERAL, misfit ? misfit : "no memory");
    }
    PQsetErrorVerbosity(at->pg, PQERRORS_TERSE);
    PQsetNoticeReceiver(at->pg, cp_pg_on_notice, at->db);
    return APR_SUCCESS;
}

static apr_status_t try_address(attempt_t *at, const cp_pg_host_t *host,
                                const char *address)
{
    apr_status_t rv;

    at->pg = start(at, host, address);
    if (!at->pg) {
        return cp_error_memory(at->err, "a connection");
    }
    PQsetErrorVerbosity(at->pg, PQERRORS_VERBOSE);
    PQsetNoticeReceiver(at->pg, cp_pg_on_notice, at->db);
    rv = PQstatus(at->pg) == CONNECTION_BAD ? APR_EGENERAL : drive(at);
    if (rv == APR_SUCCESS) {
        rv = take(at, host);
    }
    else if (rv == APR_EGENERAL) {
        rv = refuse(at, host, APR_EGENERAL, PQerrorMessage(at->pg));
    }
    else if (APR_STATUS_IS_TIMEUP(rv)) {
        rv = refuse_late(at, host);
    }
    else {
        rv = cp_error_set(at->err, CP_ERR_CANCELLED, rv,
                          "nobody waits for the answer",
                          "database '%s': the child ends", at->db->config.name);
    }
    if (rv != APR_SUCCESS) {
        PQfinish(at->pg);
        at->pg = NULL;
    }
    return rv;
}

/* A server before 14 does not know of the check: without it, then. */
static apr_status_t try_twice(attempt_t *at, const cp_pg_host_t *host,
                              const char *address)
{
    apr_status_t rv = try_address(at, host, address);

    if (rv != APR_SUCCESS && strcmp(at->state, "42704") == 0
        && !has_old_servers(at->db)) {
        __atomic_store_n(&at->db->has_old_servers, 1, __ATOMIC_RELAXED);
        rv = try_address(at, host, address);
    }
    return rv;
}

static cp_clock_t share_of(cp_clock_t deadline, int parts)
{
    return parts > 1 ? cp_clock_after(cp_clock_left(deadline) / parts)
                     : deadline;
}

static apr_status_t try_host(attempt_t *at, const cp_pg_host_t *host)
{
    cp_clock_t deadline = at->deadline;
    cp_pg_addresses_t addresses;
    apr_status_t rv;

    if (host->hostaddr || cp_pg_is_socket(host->host)) {
        return try_twice(at, host, host->hostaddr);
    }
    rv = cp_pg_resolve(host->host, deadline, &addresses);
    if (rv != APR_SUCCESS) {
        return refuse(at, host, rv,
                      APR_STATUS_IS_TIMEUP(rv)
                          ? "its address was not found in time"
                          : "it has no address");
    }
    for (int i = 0; i < addresses.count; i++) {
        at->deadline = share_of(deadline, addresses.count - i);
        rv = try_twice(at, host, addresses.text[i]);
        if (rv == APR_SUCCESS || at->err->cls == CP_ERR_CANCELLED) {
            break;
        }
    }
    at->deadline = deadline;
    return rv;
}

/* --- all of them --- */

/* The one that was taken last goes first: after a failover that is the one that
 * has been promoted. */
static apr_status_t try_all(attempt_t *at, cp_clock_t deadline)
{
    const cp_pg_config_t *config = &at->db->config;
    int *plast = &at->db->last_good[at->is_writer];
    int first = __atomic_load_n(plast, __ATOMIC_RELAXED);
    apr_status_t rv = APR_EGENERAL;

    for (int i = 0; i < config->host_count; i++) {
        int which = (first + i) % config->host_count;

        at->deadline = share_of(deadline, config->host_count - i);
        rv = try_host(at, &config->hosts[which]);
        if (rv == APR_SUCCESS) {
            __atomic_store_n(plast, which, __ATOMIC_RELAXED);
            return rv;
        }
        if (at->err->cls == CP_ERR_CANCELLED) {
            return rv;
        }
    }
    return rv;
}

static cp_pg_role_t role_of(const cp_database_t *db, int is_writer)
{
    const cp_pg_config_t *config = &db->config;

    if (config->role != CP_UNSET) {
        return (cp_pg_role_t)config->role;
    }
    if (config->read == CP_PG_READ_STANDBY && !is_writer) {
        return CP_PG_PREFER_STANDBY;
    }
    return config->is_readonly ? CP_PG_ANY : CP_PG_PRIMARY;
}

static apr_status_t try_roles(attempt_t *at, cp_clock_t deadline)
{
    apr_status_t rv;

    at->role = role_of(at->db, at->is_writer);
    if (at->role != CP_PG_PREFER_STANDBY) {
        return try_all(at, deadline);
    }
    /* A standby, or else any: of a single server libpq would take a primary at
     * once. */
    at->role = CP_PG_STANDBY;
    rv = try_all(at, share_of(deadline, 2));
    if (rv != APR_SUCCESS && at->err->cls != CP_ERR_CANCELLED) {
        at->role = CP_PG_ANY;
        rv = try_all(at, deadline);
    }
    return rv;
}

/* --- pauses between failures --- */

static apr_status_t is_paused(cp_database_t *db, int is_writer, cp_error_t *err)
{
    apr_status_t rv = APR_SUCCESS;

    pthread_mutex_lock(&db->lock);
    if (cp_clock_left(db->retry_at[is_writer]) > 0) {
        *err = db->failure[is_writer];
        rv = err->rv;
    }
    pthread_mutex_unlock(&db->lock);
    return rv;
}

/* Longer from time to time, and long at once when it is about what somebody
 * must repair. A deadline that was too short for the server says nothing. */
static void note(const attempt_t *at, apr_status_t rv)
{
    cp_database_t *db = at->db;
    apr_interval_time_t *pause = &db->pause[at->is_writer];
    apr_interval_time_t last = PAUSE_LAST;

    pthread_mutex_lock(&db->lock);
    if (rv == APR_SUCCESS) {
        *pause = 0;
        db->retry_at[at->is_writer] = 0;
    }
    else if (*at->state || at->is_refused) {
        if (*at->state && cp_pg_outcome(at->state)->flags & CP_PG_PAUSE) {
            last = PAUSE_LONG;
        }
        *pause = *pause ? *pause * 2 : PAUSE_FIRST;
        *pause = *pause < last ? *pause : last;
        db->retry_at[at->is_writer] = cp_clock_after(*pause);
        db->failure[at->is_writer] = *at->err;
        db->failure[at->is_writer].rv = rv;
    }
    pthread_mutex_unlock(&db->lock);
}

apr_status_t cp_pg_connect(cp_database_t *db, int is_writer,
                           cp_clock_t deadline, PGconn **ppg, cp_error_t *err)
{
    attempt_t at = {.db = db, .is_writer = is_writer != 0, .err = err};
    cp_clock_t patience = cp_clock_after(db->config.connect);
    apr_status_t rv = is_paused(db, at.is_writer, err);

    *ppg = NULL;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = try_roles(&at, deadline < patience ? deadline : patience);
    if (rv == APR_SUCCESS || err->cls != CP_ERR_CANCELLED) {
        note(&at, rv);
    }
    *ppg = at.pg;
    return rv;
}
