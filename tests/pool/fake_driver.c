/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/fake_driver.h"

#include <stdlib.h>
#include <string.h>

struct fake_conn_t {
    fake_driver_t *fake;
    fake_conn_t *next; /* fake->lock */
    int serial;        /* constant */
    int is_closed;     /* fake->lock */
    int users;         /* atomic: threads in the connection */
};

void fake_init(fake_driver_t *fake)
{
    memset(fake, 0, sizeof(*fake));
    pthread_mutex_init(&fake->lock, NULL);
    pthread_cond_init(&fake->changed, NULL);
}

void fake_free(fake_driver_t *fake)
{
    while (fake->conns) {
        fake_conn_t *conn = fake->conns;

        fake->conns = conn->next;
        free(conn);
    }
    pthread_cond_destroy(&fake->changed);
    pthread_mutex_destroy(&fake->lock);
}

void fake_script(fake_driver_t *fake, fake_call_t call, const char *script)
{
    pthread_mutex_lock(&fake->lock);
    fake->script[call] = script;
    fake->resumed[call] = 0;
    pthread_mutex_unlock(&fake->lock);
}

int fake_await_held(fake_driver_t *fake, fake_call_t call, int count)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&fake->lock);
    while (rc == 0 && fake->held[call] != count) {
        rc = pthread_cond_timedwait(&fake->changed, &fake->lock, &until);
    }
    pthread_mutex_unlock(&fake->lock);
    return rc == 0;
}

void fake_resume(fake_driver_t *fake, fake_call_t call)
{
    pthread_mutex_lock(&fake->lock);
    fake->resumed[call]++;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
}

int fake_get(fake_driver_t *fake, const int *counter)
{
    int value;

    pthread_mutex_lock(&fake->lock);
    value = *counter;
    pthread_mutex_unlock(&fake->lock);
    return value;
}

int fake_serial(const void *conn)
{
    return conn ? ((const fake_conn_t *)conn)->serial : 0;
}

/* Do what the script says; true when the call fails. Locked. */
static int play(fake_driver_t *fake, fake_call_t call)
{
    const char *script = fake->script[call];
    char act = script && *script ? *script : '.';

    fake->calls[call]++;
    if (act != '*' && script && *script) {
        fake->script[call]++;
    }
    if (act == 'h' || act == 'H') {
        fake->held[call]++;
        pthread_cond_broadcast(&fake->changed);
        while (fake->resumed[call] == 0) {
            pthread_cond_wait(&fake->changed, &fake->lock);
        }
        fake->resumed[call]--;
        fake->held[call]--;
        pthread_cond_broadcast(&fake->changed);
    }
    return act == 'x' || act == 'H' || act == '*'
           || (fake->fail_every[call]
               && fake->calls[call] % fake->fail_every[call] == 0);
}

static int enter(fake_driver_t *fake, fake_call_t call)
{
    if (fake->delay[call]) {
        apr_sleep(fake->delay[call]);
    }
    pthread_mutex_lock(&fake->lock);
    return play(fake, call);
}

static void count_violation(fake_driver_t *fake)
{
    pthread_mutex_lock(&fake->lock);
    fake->violations++;
    pthread_mutex_unlock(&fake->lock);
}

static void begin_use(fake_conn_t *conn)
{
    if (__atomic_fetch_add(&conn->users, 1, __ATOMIC_ACQ_REL) != 0) {
        count_violation(conn->fake);
    }
}

static void end_use(fake_conn_t *conn)
{
    __atomic_fetch_sub(&conn->users, 1, __ATOMIC_ACQ_REL);
}

static apr_status_t fake_open(void *ctx, cp_clock_t deadline, void **pconn,
                              cp_error_t *err)
{
    fake_driver_t *fake = ctx;
    fake_conn_t *conn = calloc(1, sizeof(*conn));
    int fails = enter(fake, FAKE_OPEN);

    fake->left[FAKE_OPEN] = cp_clock_left(deadline);
    if (!conn || fails) {
        pthread_mutex_unlock(&fake->lock);
        free(conn);
        return cp_error_set(err, CP_ERR_STORAGE, APR_ECONNREFUSED,
                            "connection refused", "the fake says no");
    }
    conn->fake = fake;
    conn->next = fake->conns;
    conn->serial = ++fake->opened;
    fake->conns = conn;
    if (++fake->open > fake->max_open) {
        fake->max_open = fake->open;
    }
    pthread_mutex_unlock(&fake->lock);
    *pconn = conn;
    return APR_SUCCESS;
}

/* A call on a connection that must be open and nobody else's. */
static apr_status_t call_open(fake_conn_t *conn, fake_call_t call)
{
    fake_driver_t *fake = conn->fake;
    int fails;

    begin_use(conn);
    fails = enter(fake, call);
    fake->violations += conn->is_closed;
    pthread_mutex_unlock(&fake->lock);
    end_use(conn);
    return fails ? APR_ECONNRESET : APR_SUCCESS;
}

static apr_status_t fake_check(void *ctx, void *conn, cp_clock_t deadline)
{
    fake_driver_t *fake = ctx;

    pthread_mutex_lock(&fake->lock);
    fake->left[FAKE_CHECK] = cp_clock_left(deadline);
    pthread_mutex_unlock(&fake->lock);
    return call_open(conn, FAKE_CHECK);
}

static apr_status_t fake_reset(void *ctx, void *conn)
{
    return call_open(conn, FAKE_RESET);
}

static void fake_close(void *ctx, void *data)
{
    fake_driver_t *fake = ctx;
    fake_conn_t *conn = data;

    begin_use(conn);
    enter(fake, FAKE_CLOSE);
    fake->violations += conn->is_closed;
    conn->is_closed = 1;
    fake->closed++;
    fake->open--;
    pthread_mutex_unlock(&fake->lock);
    end_use(conn);
}

void fake_use(void *data)
{
    fake_conn_t *conn = data;

    begin_use(conn);
    pthread_mutex_lock(&conn->fake->lock);
    conn->fake->violations += conn->is_closed;
    pthread_mutex_unlock(&conn->fake->lock);
    end_use(conn);
}

const cp_driver_t fake_driver = {
    .kind = "fake",
    .open = fake_open,
    .check = fake_check,
    .reset = fake_reset,
    .close = fake_close,
};
