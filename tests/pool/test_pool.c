/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_pools.h>

#include "stats/cell.h"
#include "pool/wait/gate.h"
#include "base/log.h"
#include "pool/pool.h"
#include "pool/fake_driver.h"
#include "suites.h"

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

#define MS  APR_TIME_C(1000)
#define SEC APR_USEC_PER_SEC

/* What an acquire may overrun its deadline; valgrind runs one thread at a time,
 * many times slower. */
enum {
    SLACK = 50 * 1000,
    SLACK_IN_VALGRIND = 20 * SLACK
};

/* A machine under load may stop any thread for longer than SLACK, but not each
 * time: a bound on the wait holds when it held in one of so many rounds. */
#define ROUNDS 5

#define POOLS       2
#define LOG_LINES   256
#define MANY        64
#define COUNT_OF(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* --- fixture -------------------------------------------------------------- */

static apr_pool_t *p;
static fake_driver_t fake;
static cp_pool_stats_t stats; /* of all the test's pools together */
static cp_pool_config_t config;
static cp_pool_t *pools[POOLS];
static int pool_count;

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_text[LOG_LINES][512]; /* log_lock */
static int log_count;                 /* log_lock */

static cp_clock_t frozen_now; /* atomic */

static cp_clock_t frozen_clock(void)
{
    return __atomic_load_n(&frozen_now, __ATOMIC_RELAXED);
}

static void freeze_clock(void)
{
    frozen_now = cp_clock_now();
    cp_clock_replace(frozen_clock);
}

static void advance(apr_interval_time_t by)
{
    __atomic_add_fetch(&frozen_now, by, __ATOMIC_RELAXED);
}

static void capture_log(void *baton, const char *file, int line,
                        cp_log_level_t level, apr_status_t rv, const char *text)
{
    pthread_mutex_lock(&log_lock);
    if (log_count < LOG_LINES) {
        snprintf(log_text[log_count++], sizeof(log_text[0]), "%s", text);
    }
    pthread_mutex_unlock(&log_lock);
}

/* How many lines contain the text. */
static int logged(const char *part)
{
    int n = 0;

    pthread_mutex_lock(&log_lock);
    for (int i = 0; i < log_count; i++) {
        n += strstr(log_text[i], part) != NULL;
    }
    pthread_mutex_unlock(&log_lock);
    return n;
}

static cp_pool_t *start_pool(void)
{
    cp_pool_t **pool = &pools[pool_count++];

    ck_assert_int_le(pool_count, POOLS);
    ck_assert_int_eq(cp_pool_create(pool, &config, &fake_driver, &fake, &stats),
                     APR_SUCCESS);
    return *pool;
}

static void setup(void)
{
    apr_pool_create(&p, NULL);
    fake_init(&fake);
    memset(&stats, 0, sizeof(stats));
    memset(pools, 0, sizeof(pools));
    pool_count = 0;
    log_count = 0;
    config = (cp_pool_config_t){
        .name = "events",
        .max = 1,
        .queue = MANY,
        .is_pooled = 1,
        .acquire = 200 * MS,
        .check = 30 * SEC,
    };
    cp_log_install(capture_log, NULL, CP_LOG_INFO);
}

static uint64_t closed_in_all(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < CP_CLOSE_REASONS; i++) {
        sum += stats.closed[i];
    }
    return sum;
}

static void teardown(void)
{
    for (int i = 0; i < pool_count; i++) {
        cp_pool_stop(pools[i]);
    }
    for (int i = 0; i < pool_count; i++) {
        ck_assert_int_eq(cp_pool_destroy(pools[i]), APR_SUCCESS);
    }
    cp_clock_replace(NULL);
    cp_log_install(NULL, NULL, CP_LOG_NOTICE);
    ck_assert_int_eq(fake.opened, fake.closed);
    ck_assert_int_eq(fake.open, 0);
    ck_assert_int_eq(fake.violations, 0);
    ck_assert_uint_eq(stats.open, 0);
    ck_assert_uint_eq(stats.busy, 0);
    ck_assert_uint_eq(stats.idle, 0);
    ck_assert_uint_eq(stats.waiting, 0);
    ck_assert_uint_eq(stats.acquired,
                      stats.released + stats.busy + stats.abandoned);
    ck_assert_uint_eq(stats.created, closed_in_all() + stats.open);
    ck_assert_uint_eq(stats.created, (uint64_t)fake.opened);
    fake_free(&fake);
    apr_pool_destroy(p);
}

static apr_interval_time_t slack(void)
{
    return RUNNING_ON_VALGRIND ? SLACK_IN_VALGRIND : SLACK;
}

/* --- helpers -------------------------------------------------------------- */

/* Wait for what another thread brings about. */
#define AWAIT(condition)                                                       \
    do {                                                                       \
        apr_time_t give_up_ = apr_time_now() + 10 * SEC;                       \
        while (!(condition)) {                                                 \
            ck_assert_msg(apr_time_now() < give_up_, "never: %s", #condition); \
            apr_sleep(200);                                                    \
        }                                                                      \
    } while (0)

#define AWAIT_WAITING(n) AWAIT(cp_stats_get(&stats.waiting) == (uint64_t)(n))

static void borrow(cp_pool_t *pool, cp_lease_t *lease)
{
    cp_error_t err;

    memset(lease, 0, sizeof(*lease));
    ck_assert_int_eq(cp_pool_acquire(pool, lease, "test", &err), APR_SUCCESS);
    ck_assert_ptr_nonnull(cp_lease_connection(lease));
    fake_use(cp_lease_connection(lease));
}

/* Acquire must fail; the reason is left in err. */
static apr_status_t borrow_in_vain(cp_pool_t *pool, cp_error_t *err)
{
    cp_lease_t lease = {0};
    apr_status_t rv = cp_pool_acquire(pool, &lease, "test", err);

    ck_assert_int_ne(rv, APR_SUCCESS);
    ck_assert_int_eq(rv, err->rv);
    ck_assert_ptr_null(lease.slot);
    return rv;
}

/* Open n connections and leave them idle. */
static void fill(cp_pool_t *pool, int n)
{
    cp_lease_t leases[MANY];

    ck_assert_int_le(n, MANY);
    for (int i = 0; i < n; i++) {
        borrow(pool, &leases[i]);
    }
    for (int i = 0; i < n; i++) {
        cp_pool_release(&leases[i]);
    }
    ck_assert_uint_eq(stats.idle, (uint64_t)n);
}

static int serial_of_next(cp_pool_t *pool)
{
    cp_lease_t lease;
    int serial;

    borrow(pool, &lease);
    serial = fake_serial(cp_lease_connection(&lease));
    cp_pool_release(&lease);
    return serial;
}

/* A thread that acquires once, holds, and releases. */
typedef struct borrower_t {
    cp_pool_t *pool;
    apr_interval_time_t hold;
    pthread_t thread;
    cp_error_t err;
    apr_status_t rv;
    apr_interval_time_t waited;
    int turn; /* in which order acquires succeeded, from 0 */
    int done; /* atomic */
} borrower_t;

static int turns; /* atomic */

static void *borrower_main(void *data)
{
    borrower_t *self = data;
    cp_lease_t lease = {0};
    cp_clock_t start = cp_clock_now();

    self->rv = cp_pool_acquire(self->pool, &lease, "borrower", &self->err);
    self->waited = cp_clock_now() - start;
    if (self->rv == APR_SUCCESS) {
        self->turn = __atomic_fetch_add(&turns, 1, __ATOMIC_RELAXED);
        fake_use(cp_lease_connection(&lease));
        if (self->hold) {
            apr_sleep(self->hold);
        }
        cp_pool_release(&lease);
    }
    __atomic_store_n(&self->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void borrower_start(borrower_t *self, cp_pool_t *pool)
{
    apr_interval_time_t hold = self->hold;

    memset(self, 0, sizeof(*self));
    self->pool = pool;
    self->hold = hold;
    ck_assert_int_eq(pthread_create(&self->thread, NULL, borrower_main, self),
                     0);
}

static void borrower_join(borrower_t *self)
{
    AWAIT(__atomic_load_n(&self->done, __ATOMIC_ACQUIRE));
    pthread_join(self->thread, NULL);
}

/* Runs one call of the pool in a thread of its own. */
typedef struct task_t {
    void (*fn)(cp_pool_t *pool);
    cp_pool_t *pool;
    cp_lease_t *lease; /* discarded when fn is NULL */
    pthread_t thread;
    int done; /* atomic */
} task_t;

static void *task_main(void *data)
{
    task_t *task = data;

    if (task->fn) {
        task->fn(task->pool);
    }
    else {
        cp_pool_discard(task->lease, "broken");
    }
    __atomic_store_n(&task->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void task_start(task_t *task)
{
    task->done = 0;
    ck_assert_int_eq(pthread_create(&task->thread, NULL, task_main, task), 0);
}

static void task_join(task_t *task)
{
    AWAIT(__atomic_load_n(&task->done, __ATOMIC_ACQUIRE));
    pthread_join(task->thread, NULL);
}

/* --- order and deadlines -------------------------------------------------- */

START_TEST(waiters_are_served_in_the_order_they_came)
{
    borrower_t waiters[8] = {0};
    cp_lease_t lease;

    config.acquire = 10 * SEC;
    start_pool();
    borrow(pools[0], &lease);
    turns = 0;
    for (int i = 0; i < COUNT_OF(waiters); i++) {
        borrower_start(&waiters[i], pools[0]);
        AWAIT_WAITING(i + 1);
    }
    cp_pool_release(&lease);
    for (int i = 0; i < COUNT_OF(waiters); i++) {
        borrower_join(&waiters[i]);
        ck_assert_int_eq(waiters[i].rv, APR_SUCCESS);
        ck_assert_int_eq(waiters[i].turn, i);
    }
    ck_assert_int_eq(fake.opened, 1);
}
END_TEST

START_TEST(acquire_gives_up_at_its_deadline_and_not_before)
{
    static const apr_interval_time_t limits[] = {0, 20 * MS, 200 * MS};

    config.acquire = limits[_i];
    start_pool();
    cp_lease_t lease;
    cp_error_t err;
    apr_interval_time_t waited;
    int rounds = 0;
    borrow(pools[0], &lease);
    do {
        cp_clock_t start = cp_clock_now();
        ck_assert_int_eq(borrow_in_vain(pools[0], &err), APR_TIMEUP);
        waited = cp_clock_now() - start;
        ck_assert_int_ge(waited, limits[_i]);
        ck_assert_int_eq(err.cls, CP_ERR_CAPACITY);
    } while (++rounds < ROUNDS && waited > limits[_i] + slack());
    ck_assert_int_le(waited, limits[_i] + slack());
    ck_assert_uint_eq(stats.timeouts, (uint64_t)rounds);
    cp_pool_release(&lease);
}
END_TEST

/* The longest wait of twelve that want the one connection for 60 ms each. */
static apr_interval_time_t longest_wait_behind_slow_holders(void)
{
    borrower_t borrowers[12] = {0};
    uint64_t timeouts = stats.timeouts;
    apr_interval_time_t longest = 0;
    int served = 0;

    for (int i = 0; i < COUNT_OF(borrowers); i++) {
        borrowers[i].hold = 60 * MS;
        borrower_start(&borrowers[i], pools[0]);
    }
    for (int i = 0; i < COUNT_OF(borrowers); i++) {
        borrower_join(&borrowers[i]);
        if (borrowers[i].waited > longest) {
            longest = borrowers[i].waited;
        }
        if (borrowers[i].rv == APR_SUCCESS) {
            served++;
        }
        else {
            ck_assert_int_eq(borrowers[i].rv, APR_TIMEUP);
            ck_assert_int_ge(borrowers[i].waited, config.acquire);
        }
    }
    ck_assert_int_ge(served, 1);
    ck_assert_int_lt(served, COUNT_OF(borrowers));
    ck_assert_uint_eq(stats.timeouts - timeouts,
                      (uint64_t)(COUNT_OF(borrowers) - served));
    return longest;
}

START_TEST(acquire_keeps_its_deadline_while_slow_holders_come_and_go)
{
    apr_interval_time_t longest;
    int rounds = 0;

    start_pool();
    do {
        longest = longest_wait_behind_slow_holders();
    } while (++rounds < ROUNDS && longest > config.acquire + slack());
    ck_assert_int_le(longest, config.acquire + slack());
}
END_TEST

START_TEST(full_queue_refuses_at_once)
{
    borrower_t waiters[2] = {0};
    cp_lease_t lease;
    cp_error_t err;

    config.queue = 2;
    config.acquire = 10 * SEC;
    start_pool();
    borrow(pools[0], &lease);
    for (int i = 0; i < 2; i++) {
        borrower_start(&waiters[i], pools[0]);
        AWAIT_WAITING(i + 1);
    }
    cp_clock_t start = cp_clock_now();
    ck_assert_int_eq(borrow_in_vain(pools[0], &err), APR_ENOSPC);
    ck_assert_int_lt(cp_clock_now() - start, 5 * SEC);
    ck_assert_str_eq(err.detail, "pool 'events': queue is full (open 1/1, "
                                 "busy 1, waiting 2)");
    ck_assert_uint_eq(stats.rejected, 1);
    ck_assert_uint_eq(stats.timeouts, 0);
    cp_pool_release(&lease);
    borrower_join(&waiters[0]);
    borrower_join(&waiters[1]);
}
END_TEST

START_TEST(trying_takes_what_is_free_and_fails_without_a_trace)
{
    cp_lease_t lease = {0}, other = {0};
    cp_error_t err;

    config.acquire = 10 * SEC;
    config.overflow_max = 1;
    start_pool();
    ck_assert_int_eq(cp_pool_try_acquire(pools[0], &lease, "t", &err),
                     APR_SUCCESS);
    ck_assert_uint_eq(stats.acquired, 1);
    ck_assert_int_eq(cp_pool_try_acquire(pools[0], &other, "t", &err),
                     APR_EAGAIN);
    ck_assert_int_eq(err.cls, CP_ERR_NONE);
    ck_assert_uint_eq(stats.fallbacks + stats.timeouts + stats.rejected, 0);
    ck_assert_int_eq(log_count, 0);
    cp_pool_release(&lease);
    ck_assert_int_eq(cp_pool_try_acquire(pools[0], &lease, "t", &err),
                     APR_SUCCESS);
    cp_pool_release(&lease);
    cp_pool_stop(pools[0]);
    ck_assert_int_eq(cp_pool_try_acquire(pools[0], &lease, "t", &err), APR_EOF);
    ck_assert_int_eq(err.cls, CP_ERR_CAPACITY);
}
END_TEST

START_TEST(trying_at_a_full_shared_limit_takes_nothing)
{
    cp_gate_t *gates[2];
    cp_lease_t lease = {0};
    cp_error_t err;

    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(cp_gate_create(&gates[i], 1, MANY, NULL, p),
                         APR_SUCCESS);
        config.shared_gates[i] = gates[i];
    }
    start_pool();
    ck_assert(cp_gate_try_enter(gates[1]));
    ck_assert_int_eq(cp_pool_try_acquire(pools[0], &lease, "t", &err),
                     APR_EAGAIN);
    ck_assert_int_eq(cp_gate_state(gates[0]).inside, 0);
    cp_gate_leave(gates[1]);
    ck_assert_int_eq(cp_pool_try_acquire(pools[0], &lease, "t", &err),
                     APR_SUCCESS);
    cp_pool_release(&lease);
    ck_assert_int_eq(cp_gate_state(gates[0]).inside, 0);
    ck_assert_int_eq(cp_gate_state(gates[1]).inside, 0);
}
END_TEST

/* Release just when the first waiter gives up: whether it takes the permit or
 * not, the one behind it must go on. */
START_TEST(waiter_that_gives_up_passes_its_wake_up_on)
{
    cp_gate_t *shared;

    ck_assert_int_eq(cp_gate_create(&shared, 1, MANY, NULL, p), APR_SUCCESS);
    config.shared_gates[0] = shared;
    config.acquire = 4 * MS;
    cp_pool_t *hasty = start_pool();
    config.acquire = 10 * SEC;
    cp_pool_t *patient = start_pool();
    for (int round = 0; round < 100; round++) {
        borrower_t waiters[2] = {0};
        cp_lease_t lease;

        ck_assert_int_eq(cp_gate_enter(shared, CP_CLOCK_NEVER), APR_SUCCESS);
        cp_clock_t start = cp_clock_now();
        borrower_start(&waiters[0], hasty);
        AWAIT(cp_stats_get(&stats.waiting) == 1
              || __atomic_load_n(&waiters[0].done, __ATOMIC_ACQUIRE));
        borrower_start(&waiters[1], patient);
        AWAIT(cp_gate_state(shared).waiting >= 1);
        while (cp_clock_now() < start + 3500 + 20 * round) {
        }
        cp_gate_leave(shared);
        borrower_join(&waiters[0]);
        borrower_join(&waiters[1]);
        ck_assert(waiters[0].rv == APR_SUCCESS || waiters[0].rv == APR_TIMEUP);
        ck_assert_int_eq(waiters[1].rv, APR_SUCCESS);
        ck_assert_int_lt(waiters[1].waited, 5 * SEC);
        borrow(patient, &lease);
        cp_pool_release(&lease);
        ck_assert_int_eq(cp_gate_state(shared).inside, 0);
    }
}
END_TEST

/* --- what the driver does ------------------------------------------------- */

START_TEST(idle_connection_is_checked_only_when_idle_for_longer_than_check)
{
    static const struct {
        apr_interval_time_t check, pause;
        int checks;
    } cases[] = {
        {30 * SEC, 0, 0},
        {30 * SEC, 30 * SEC - 1, 0},
        {30 * SEC, 30 * SEC, 1},
        {30 * SEC, 3600 * SEC, 1},
        {0, 0, 1},
    };

    config.check = cases[_i].check;
    freeze_clock();
    start_pool();
    fill(pools[0], 1);
    advance(cases[_i].pause);
    ck_assert_int_eq(serial_of_next(pools[0]), 1);
    ck_assert_int_eq(fake.calls[FAKE_CHECK], cases[_i].checks);
}
END_TEST

START_TEST(dead_connection_is_replaced_in_the_same_acquire_and_flushes_others)
{
    config.max = 5;
    freeze_clock();
    start_pool();
    fill(pools[0], 5);
    advance(31 * SEC);
    fake_script(&fake, FAKE_CHECK, "x");
    ck_assert_int_eq(serial_of_next(pools[0]), 6);
    ck_assert_uint_eq(stats.closed[CP_CLOSE_DEAD], 1);
    cp_pool_maintain(pools[0]);
    ck_assert_uint_eq(stats.closed[CP_CLOSE_FLUSHED], 4);
    ck_assert_int_eq(fake.calls[FAKE_CHECK], 1);
    ck_assert_int_eq(serial_of_next(pools[0]), 6);
    ck_assert_int_le(fake.max_open, 5);
}
END_TEST

START_TEST(acquire_0_still_gives_the_driver_time_to_work)
{
    config.acquire = 0;
    freeze_clock();
    start_pool();
    fill(pools[0], 1);
    advance(31 * SEC);
    ck_assert_int_eq(serial_of_next(pools[0]), 1);
    ck_assert_int_eq(fake.calls[FAKE_CHECK], 1);
    for (int call = FAKE_OPEN; call <= FAKE_CHECK; call++) {
        ck_assert_int_ge(fake.left[call], 10 * MS);
        ck_assert_int_le(fake.left[call], SLACK);
    }
}
END_TEST

START_TEST(failure_to_open_is_reported_with_its_cause_and_leaks_no_permit)
{
    char last_error[64];
    cp_error_t err;

    start_pool();
    cp_pool_last_error(pools[0], last_error, sizeof(last_error));
    ck_assert_str_eq(last_error, "");
    fake_script(&fake, FAKE_OPEN, "xxx");
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(borrow_in_vain(pools[0], &err), APR_ECONNREFUSED);
        ck_assert_str_eq(err.cause, "connection refused");
        ck_assert_int_eq(err.cls, CP_ERR_STORAGE);
    }
    ck_assert_uint_eq(stats.create_failures, 3);
    ck_assert_uint_eq(stats.acquired, 0);
    ck_assert_uint_eq(stats.timeouts, 0);
    cp_pool_last_error(pools[0], last_error, sizeof(last_error));
    ck_assert_str_eq(last_error, "connection refused: the fake says no");
    ck_assert_int_eq(serial_of_next(pools[0]), 1);
    ck_assert_int_eq(logged("cannot open a connection: connection refused"), 1);
    ck_assert_int_eq(logged("usable again"), 1);
}
END_TEST

START_TEST(after_a_failure_to_open_the_next_waiter_goes_on)
{
    borrower_t waiters[10] = {0};
    cp_lease_t lease;

    config.acquire = 5 * SEC;
    start_pool();
    borrow(pools[0], &lease);
    fake_script(&fake, FAKE_OPEN, "*");
    for (int i = 0; i < COUNT_OF(waiters); i++) {
        borrower_start(&waiters[i], pools[0]);
    }
    AWAIT_WAITING(COUNT_OF(waiters));
    cp_clock_t start = cp_clock_now();
    cp_pool_discard(&lease, "killed");
    for (int i = 0; i < COUNT_OF(waiters); i++) {
        borrower_join(&waiters[i]);
        ck_assert_int_eq(waiters[i].rv, APR_ECONNREFUSED);
    }
    ck_assert_int_lt(cp_clock_now() - start, 2 * SEC);
    ck_assert_uint_eq(stats.create_failures, COUNT_OF(waiters));
}
END_TEST

START_TEST(slow_open_holds_up_nobody_else)
{
    borrower_t slow = {0};
    cp_lease_t leases[2];

    config.max = 3;
    start_pool();
    borrow(pools[0], &leases[0]);
    borrow(pools[0], &leases[1]);
    fake_script(&fake, FAKE_OPEN, "h");
    borrower_start(&slow, pools[0]);
    ck_assert(fake_await_held(&fake, FAKE_OPEN, 1));
    cp_clock_t start = cp_clock_now();
    for (int i = 0; i < 100; i++) {
        cp_pool_release(&leases[i % 2]);
        borrow(pools[0], &leases[i % 2]);
    }
    cp_pool_maintain(pools[0]);
    ck_assert_int_lt(cp_clock_now() - start, 2 * SEC);
    ck_assert(!__atomic_load_n(&slow.done, __ATOMIC_ACQUIRE));
    cp_pool_release(&leases[0]);
    cp_pool_release(&leases[1]);
    fake_resume(&fake, FAKE_OPEN);
    borrower_join(&slow);
    ck_assert_int_eq(slow.rv, APR_SUCCESS);
    ck_assert_int_eq(fake.opened, 3);
}
END_TEST

START_TEST(slow_close_by_maintenance_holds_up_nobody_else)
{
    task_t maintenance = {.fn = cp_pool_maintain};
    cp_lease_t lease;

    config.max = 3;
    config.idle = 60 * SEC;
    freeze_clock();
    maintenance.pool = start_pool();
    fill(pools[0], 2);
    borrow(pools[0], &lease);
    advance(61 * SEC);
    fake_script(&fake, FAKE_CLOSE, "h");
    task_start(&maintenance);
    ck_assert(fake_await_held(&fake, FAKE_CLOSE, 1));
    for (int i = 0; i < 100; i++) {
        cp_pool_release(&lease);
        borrow(pools[0], &lease);
    }
    ck_assert(!__atomic_load_n(&maintenance.done, __ATOMIC_ACQUIRE));
    cp_pool_release(&lease);
    fake_resume(&fake, FAKE_CLOSE);
    task_join(&maintenance);
}
END_TEST

START_TEST(slow_close_of_a_broken_connection_holds_up_nobody_else)
{
    cp_lease_t broken;
    cp_lease_t lease;
    task_t discard = {.lease = &broken};

    config.max = 2;
    start_pool();
    borrow(pools[0], &broken);
    borrow(pools[0], &lease);
    fake_script(&fake, FAKE_CLOSE, "h");
    task_start(&discard);
    ck_assert(fake_await_held(&fake, FAKE_CLOSE, 1));
    for (int i = 0; i < 100; i++) {
        cp_pool_release(&lease);
        borrow(pools[0], &lease);
    }
    ck_assert(!__atomic_load_n(&discard.done, __ATOMIC_ACQUIRE));
    cp_pool_release(&lease);
    fake_resume(&fake, FAKE_CLOSE);
    task_join(&discard);
}
END_TEST

/* A connection that is being closed still counts: the other side may allow no
 * more than max. */
START_TEST(connection_being_closed_takes_up_its_place)
{
    task_t maintenance = {.fn = cp_pool_maintain};
    borrower_t waiter = {0};

    config.idle = 60 * SEC;
    config.acquire = 10 * SEC;
    freeze_clock();
    maintenance.pool = start_pool();
    fill(pools[0], 1);
    advance(61 * SEC);
    fake_script(&fake, FAKE_CLOSE, "h");
    task_start(&maintenance);
    ck_assert(fake_await_held(&fake, FAKE_CLOSE, 1));
    borrower_start(&waiter, pools[0]);
    AWAIT_WAITING(1);
    fake_resume(&fake, FAKE_CLOSE);
    borrower_join(&waiter);
    task_join(&maintenance);
    ck_assert_int_eq(waiter.rv, APR_SUCCESS);
    ck_assert_int_eq(fake.max_open, 1);
    ck_assert_int_eq(fake.opened, 2);
}
END_TEST

START_TEST(connection_that_cannot_be_reset_is_closed)
{
    start_pool();
    fake_script(&fake, FAKE_RESET, "x");
    ck_assert_int_eq(serial_of_next(pools[0]), 1);
    ck_assert_uint_eq(stats.closed[CP_CLOSE_DISCARDED], 1);
    ck_assert_int_eq(logged("discarded: it could not be reset"), 1);
    ck_assert_int_eq(serial_of_next(pools[0]), 2);
}
END_TEST

/* --- which connection ----------------------------------------------------- */

START_TEST(connection_used_last_is_used_next)
{
    cp_lease_t leases[3];

    config.max = 3;
    start_pool();
    for (int i = 0; i < 3; i++) {
        borrow(pools[0], &leases[i]);
    }
    cp_pool_release(&leases[0]);
    cp_pool_release(&leases[2]);
    cp_pool_release(&leases[1]);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(serial_of_next(pools[0]), 2);
    }
}
END_TEST

START_TEST(warm_connection_is_used_before_a_new_one_is_opened)
{
    cp_lease_t warm;
    cp_lease_t broken;

    config.max = 2;
    start_pool();
    borrow(pools[0], &warm);
    borrow(pools[0], &broken);
    cp_pool_release(&warm);
    cp_pool_discard(&broken, "test");
    ck_assert_int_eq(serial_of_next(pools[0]), 1);
    ck_assert_int_eq(fake.opened, 2);
}
END_TEST

/* An empty slot comes up while maintenance opens the last connection that is
 * allowed and the only idle one is too old: it makes room. */
START_TEST(expired_idle_connection_makes_room_for_a_new_one)
{
    task_t maintenance = {.fn = cp_pool_maintain};
    cp_lease_t old;
    cp_lease_t broken;

    config.max = 2;
    config.min = 2;
    config.lifetime = 3600 * SEC;
    freeze_clock();
    maintenance.pool = start_pool();
    borrow(pools[0], &old);
    borrow(pools[0], &broken);
    cp_pool_release(&old);
    cp_pool_discard(&broken, "test");
    fake_script(&fake, FAKE_OPEN, "h");
    task_start(&maintenance);
    ck_assert(fake_await_held(&fake, FAKE_OPEN, 1));
    advance(3601 * SEC);
    ck_assert_int_eq(serial_of_next(pools[0]), 3);
    ck_assert_uint_eq(stats.closed[CP_CLOSE_LIFETIME], 1);
    fake_resume(&fake, FAKE_OPEN);
    task_join(&maintenance);
    ck_assert_int_eq(fake.max_open, 2);
}
END_TEST

/* --- maintenance ---------------------------------------------------------- */

START_TEST(idle_connections_expire_without_traffic_down_to_min)
{
    config.max = 6;
    config.min = 2;
    config.idle = 60 * SEC;
    freeze_clock();
    start_pool();
    fill(pools[0], 6);
    advance(59 * SEC);
    cp_pool_maintain(pools[0]);
    ck_assert_int_eq(fake.open, 6);
    advance(1 * SEC);
    cp_pool_maintain(pools[0]);
    ck_assert_int_eq(fake.open, 2);
    ck_assert_uint_eq(stats.closed[CP_CLOSE_IDLE], 4);
    advance(3600 * SEC);
    cp_pool_maintain(pools[0]);
    ck_assert_int_eq(fake.open, 2);
    ck_assert_int_eq(fake.opened, 6);
}
END_TEST

START_TEST(maintenance_opens_up_to_min)
{
    static const int mins[] = {1, 7, 50};

    config.max = 50;
    config.min = mins[_i];
    start_pool();
    ck_assert_int_eq(fake.opened, 0);
    for (int i = 0; i < 3; i++) {
        cp_pool_maintain(pools[0]);
        ck_assert_int_eq(fake.opened, mins[_i]);
        ck_assert_uint_eq(stats.idle, (uint64_t)mins[_i]);
    }
    serial_of_next(pools[0]);
    ck_assert_int_eq(fake.opened, mins[_i]);
}
END_TEST

START_TEST(warm_up_gives_up_at_the_first_failure_until_the_next_round)
{
    config.max = 4;
    config.min = 3;
    start_pool();
    fake_script(&fake, FAKE_OPEN, ".x");
    cp_pool_maintain(pools[0]);
    ck_assert_int_eq(fake.open, 1);
    ck_assert_uint_eq(stats.create_failures, 1);
    cp_pool_maintain(pools[0]);
    ck_assert_int_eq(fake.open, 3);
}
END_TEST

START_TEST(lifetime_is_spread_and_drawn_once)
{
    int open_before;

    config.max = MANY;
    config.lifetime = 1000 * SEC;
    freeze_clock();
    start_pool();
    fill(pools[0], MANY);
    advance(900 * SEC - 1);
    cp_pool_maintain(pools[0]);
    ck_assert_int_eq(fake.open, MANY);
    advance(50 * SEC);
    cp_pool_maintain(pools[0]);
    open_before = fake.open;
    ck_assert_int_gt(open_before, MANY / 8);
    ck_assert_int_lt(open_before, MANY - MANY / 8);
    for (int i = 0; i < 200; i++) {
        cp_pool_maintain(pools[0]);
    }
    ck_assert_int_eq(fake.open, open_before);
    advance(50 * SEC + 1);
    cp_pool_maintain(pools[0]);
    ck_assert_int_eq(fake.open, 0);
    ck_assert_uint_eq(stats.closed[CP_CLOSE_LIFETIME], MANY);
}
END_TEST

START_TEST(old_connection_is_not_handed_out)
{
    config.lifetime = 1000 * SEC;
    freeze_clock();
    start_pool();
    fill(pools[0], 1);
    advance(1000 * SEC);
    ck_assert_int_eq(serial_of_next(pools[0]), 2);
    ck_assert_uint_eq(stats.closed[CP_CLOSE_LIFETIME], 1);
}
END_TEST

START_TEST(borrowed_connection_is_never_closed_by_maintenance)
{
    cp_lease_t lease;

    config.idle = 60 * SEC;
    config.lifetime = 60 * SEC;
    freeze_clock();
    start_pool();
    borrow(pools[0], &lease);
    advance(24 * 3600 * SEC);
    cp_pool_maintain(pools[0]);
    cp_pool_flush(pools[0], "test");
    cp_pool_maintain(pools[0]);
    ck_assert_int_eq(fake.closed, 0);
    fake_use(cp_lease_connection(&lease));
    cp_pool_release(&lease);
    ck_assert_int_eq(fake.closed, 1);
}
END_TEST

START_TEST(flush_closes_the_idle_now_and_the_busy_on_their_return)
{
    cp_lease_t lease;

    config.max = 3;
    start_pool();
    fill(pools[0], 3);
    borrow(pools[0], &lease);
    cp_pool_flush(pools[0], "the file was replaced");
    ck_assert_uint_eq(stats.closed[CP_CLOSE_FLUSHED], 2);
    ck_assert_int_eq(logged("flushed: the file was replaced"), 1);
    cp_pool_release(&lease);
    ck_assert_uint_eq(stats.closed[CP_CLOSE_FLUSHED], 3);
    ck_assert_int_eq(serial_of_next(pools[0]), 4);
    ck_assert_int_eq(serial_of_next(pools[0]), 4);
}
END_TEST

/* Opened before the flush, though it came back after: not to be trusted. */
START_TEST(connection_opened_during_a_flush_is_not_kept)
{
    borrower_t slow = {0};

    start_pool();
    fake_script(&fake, FAKE_OPEN, "h");
    borrower_start(&slow, pools[0]);
    ck_assert(fake_await_held(&fake, FAKE_OPEN, 1));
    cp_pool_flush(pools[0], "test");
    fake_resume(&fake, FAKE_OPEN);
    borrower_join(&slow);
    ck_assert_uint_eq(stats.closed[CP_CLOSE_FLUSHED], 1);
}
END_TEST

/* The holders that the status shows, as "/a /b". */
static const char *listed_leaks(int part)
{
    static char text[CP_HOLDERS_LISTED * CP_HOLDER_SIZE];
    cp_holder_t leak;

    text[0] = '\0';
    for (int i = 0; i < CP_HOLDERS_LISTED; i++) {
        if (cp_holder_read(&stats.holders[part][i], &leak) && leak.is_leak) {
            strcat(text, text[0] ? " " : "");
            strcat(text, leak.holder);
        }
    }
    return text;
}

START_TEST(leak_is_reported_once_with_its_holder)
{
    cp_lease_t lease = {0};
    cp_lease_t beside = {0};
    cp_error_t err;

    config.acquire = 0;
    config.overflow_max = 1;
    config.leak = 60 * SEC;
    freeze_clock();
    start_pool();
    cp_pool_acquire(pools[0], &lease, "GET /slow", &err);
    advance(30 * SEC);
    cp_pool_acquire(pools[0], &beside, "GET /beside", &err);
    cp_pool_maintain(pools[0]);
    ck_assert_uint_eq(stats.leaks_suspected, 0);
    advance(30 * SEC);
    cp_pool_maintain(pools[0]);
    cp_pool_maintain(pools[0]);
    ck_assert_uint_eq(stats.leaks_suspected, 1);
    ck_assert_int_eq(
        logged("has been held for 60000 ms by GET /slow; is it leaked?"), 1);
    advance(30 * SEC);
    cp_pool_maintain(pools[0]);
    ck_assert_uint_eq(stats.leaks_suspected, 2);
    ck_assert_int_eq(logged("by GET /beside; is it leaked?"), 1);
    cp_pool_maintain(pools[0]);
    ck_assert_str_eq(listed_leaks(0), "GET /slow GET /beside");
    cp_pool_release(&beside);
    ck_assert_str_eq(listed_leaks(0), "GET /slow");
    cp_pool_release(&lease);
    ck_assert_str_eq(listed_leaks(0), "");
    /* The next one that holds the same slot is another leak. */
    cp_pool_acquire(pools[0], &lease, "GET /again", &err);
    advance(61 * SEC);
    cp_pool_maintain(pools[0]);
    ck_assert_int_eq(logged("by GET /again; is it leaked?"), 1);
    cp_pool_release(&lease);
}
END_TEST

START_TEST(leaks_are_listed_until_they_come_back)
{
    static const char *const holders[] = {"/a", "/b", "/c", "/d", "/e",
                                          "/f", "/g", "/h", "/i"};
    cp_lease_t leases[9] = {{0}};
    cp_error_t err;
    cp_holder_t leak;
    cp_clock_t began;

    config.max = 9;
    config.leak = 60 * SEC;
    config.is_writer = 1;
    freeze_clock();
    start_pool();
    began = cp_clock_now();
    for (int i = 0; i < 9; i++) {
        cp_pool_acquire(pools[0], &leases[i], holders[i], &err);
        advance(1 * SEC);
    }
    advance(53 * SEC);
    cp_pool_maintain(pools[0]);
    ck_assert_str_eq(listed_leaks(1), "/a /b /c");
    ck_assert_str_eq(listed_leaks(0), "");
    ck_assert(cp_holder_read(&stats.holders[1][0], &leak));
    ck_assert_int_eq((cp_clock_t)leak.since, began);
    advance(60 * SEC);
    cp_pool_maintain(pools[0]);
    ck_assert_uint_eq(stats.leaks_suspected, 9);
    ck_assert_str_eq(listed_leaks(1), "/a /b /c /d /e /f /g /h");
    /* At once, not when maintenance looks again. */
    cp_pool_release(&leases[1]);
    ck_assert_str_eq(listed_leaks(1), "/a /c /d /e /f /g /h /i");
    /* Its next holder has only begun. */
    cp_pool_acquire(pools[0], &leases[1], "/j", &err);
    cp_pool_maintain(pools[0]);
    ck_assert_str_eq(listed_leaks(1), "/a /c /d /e /f /g /h /i");
    for (int i = 0; i < 9; i++) {
        cp_pool_release(&leases[i]);
    }
    ck_assert_str_eq(listed_leaks(1), "");
    ck_assert_uint_eq(stats.leaks_suspected, 9);
}
END_TEST

static const char *shown_holder(int i)
{
    static char text[3 * CP_HOLDER_SIZE];
    cp_holder_t holder;

    if (!cp_holder_read(&stats.holders[0][i], &holder)) {
        return "nobody";
    }
    snprintf(text, sizeof(text), "%s by %s%s", holder.request, holder.holder,
             holder.is_leak ? ", a leak" : "");
    return text;
}

START_TEST(who_holds_is_shown_with_the_request)
{
    cp_lease_t first = {0}, second = {0};
    cp_error_t err;

    config.max = 2;
    config.leak = 60 * SEC;
    freeze_clock();
    start_pool();
    cp_pool_acquire(pools[0], &first, "query 'a'", &err);
    cp_lease_tell(&first, "GET", "/a");
    ck_assert_str_eq(shown_holder(0), "nobody");
    cp_pool_maintain(pools[0]);
    ck_assert_str_eq(shown_holder(0), "GET /a by query 'a'");
    advance(1 * SEC);
    cp_pool_acquire(pools[0], &second, "query 'b'", &err);
    cp_lease_tell(&second, "POST", "/b");
    cp_pool_maintain(pools[0]);
    ck_assert_str_eq(shown_holder(0), "GET /a by query 'a'");
    ck_assert_str_eq(shown_holder(1), "POST /b by query 'b'");
    /* Who comes back goes at once; whoever is next comes with maintenance. */
    cp_pool_release(&first);
    ck_assert_str_eq(shown_holder(0), "POST /b by query 'b'");
    ck_assert_str_eq(shown_holder(1), "nobody");
    cp_pool_acquire(pools[0], &first, "/c", &err);
    ck_assert_str_eq(shown_holder(1), "nobody");
    advance(60 * SEC);
    cp_pool_maintain(pools[0]);
    ck_assert_str_eq(shown_holder(0), "POST /b by query 'b', a leak");
    /* Of the one before nothing is left. */
    ck_assert_str_eq(shown_holder(1), " by /c, a leak");
    cp_pool_release(&first);
    cp_pool_release(&second);
    ck_assert_str_eq(shown_holder(0), "nobody");
}
END_TEST

START_TEST(a_request_of_any_length_is_shown)
{
    cp_lease_t lease = {0};
    cp_error_t err;
    cp_holder_t holder;
    char text[4 * CP_HOLDER_SIZE];

    config.max = 1;
    start_pool();
    for (size_t length = 0; length < sizeof(text); length++) {
        memset(text, 'x', length);
        text[length] = '\0';
        cp_pool_acquire(pools[0], &lease, "", &err);
        cp_lease_tell(&lease, length % 2 ? text : "GET", text);
        cp_pool_maintain(pools[0]);
        ck_assert(cp_holder_read(&stats.holders[0][0], &holder));
        ck_assert_uint_lt(strlen(holder.request), CP_HOLDER_SIZE);
        ck_assert_uint_ge(strlen(holder.request), length < CP_HOLDER_SIZE - 4
                                                      ? length
                                                      : CP_HOLDER_SIZE - 4);
        cp_pool_release(&lease);
    }
}
END_TEST

START_TEST(holder_of_any_length_is_listed)
{
    char holder[300];
    cp_lease_t lease = {0};
    cp_error_t err;

    memset(holder, 'x', sizeof(holder));
    holder[sizeof(holder) - 1] = '\0';
    config.leak = 1 * SEC;
    freeze_clock();
    start_pool();
    cp_pool_acquire(pools[0], &lease, holder, &err);
    advance(1 * SEC);
    cp_pool_maintain(pools[0]);
    ck_assert_uint_eq(strlen(listed_leaks(0)), CP_HOLDER_SIZE - 1);
    cp_pool_release(&lease);
}
END_TEST

static void count_conn(void *conn, void *baton)
{
    ck_assert_int_gt(fake_serial(conn), 0);
    ++*(int *)baton;
}

START_TEST(each_idle_shows_idle_connections_only)
{
    cp_lease_t lease;
    int seen = 0;

    config.max = 4;
    start_pool();
    fill(pools[0], 3);
    borrow(pools[0], &lease);
    cp_pool_each_idle(pools[0], count_conn, &seen);
    ck_assert_int_eq(seen, 2);
    cp_pool_release(&lease);
}
END_TEST

/* --- giving back ---------------------------------------------------------- */

START_TEST(discarded_connection_is_closed_counted_and_logged_with_a_reason)
{
    cp_lease_t lease;

    start_pool();
    borrow(pools[0], &lease);
    cp_pool_discard(&lease, "the peer hung up");
    ck_assert_ptr_null(cp_lease_connection(&lease));
    ck_assert_int_eq(fake.closed, 1);
    ck_assert_int_eq(fake.calls[FAKE_RESET], 0);
    ck_assert_uint_eq(stats.closed[CP_CLOSE_DISCARDED], 1);
    ck_assert_uint_eq(stats.released, 1);
    ck_assert_int_eq(
        logged("pool 'events': a connection is discarded: the peer hung up"),
        1);
}
END_TEST

START_TEST(releasing_twice_is_harmless_and_logged)
{
    cp_lease_t lease;

    start_pool();
    borrow(pools[0], &lease);
    cp_pool_release(&lease);
    ck_assert_int_eq(logged("released twice"), 0);
    cp_pool_release(&lease);
    cp_pool_discard(&lease, "test");
    ck_assert_int_eq(logged("pool 'events': a connection was released twice"),
                     1);
    ck_assert_uint_eq(stats.released, 1);
    ck_assert_uint_eq(stats.idle, 1);
    ck_assert_int_eq(serial_of_next(pools[0]), 1);
}
END_TEST

START_TEST(unpooled_connections_are_opened_and_closed_within_the_limits)
{
    cp_lease_t lease;
    cp_error_t err;

    config.is_pooled = 0;
    config.min = 1;
    config.acquire = 20 * MS;
    start_pool();
    cp_pool_maintain(pools[0]);
    ck_assert_int_eq(fake.opened, 0);
    for (int i = 1; i <= 3; i++) {
        ck_assert_int_eq(serial_of_next(pools[0]), i);
        ck_assert_int_eq(fake.closed, i);
    }
    ck_assert_uint_eq(stats.closed[CP_CLOSE_UNPOOLED], 3);
    borrow(pools[0], &lease);
    ck_assert_int_eq(borrow_in_vain(pools[0], &err), APR_TIMEUP);
    cp_pool_release(&lease);
    ck_assert_int_eq(fake.max_open, 1);
}
END_TEST

/* --- one-shot connections ------------------------------------------------- */

START_TEST(overflow_is_capped_counted_and_logged_once_a_minute)
{
    cp_lease_t leases[3];
    cp_error_t err;

    config.acquire = 0;
    config.overflow_max = 2;
    freeze_clock();
    start_pool();
    for (int i = 0; i < 3; i++) {
        borrow(pools[0], &leases[i]);
        ck_assert_int_eq(cp_lease_is_overflow(&leases[i]), i > 0);
    }
    ck_assert_int_eq(borrow_in_vain(pools[0], &err), APR_TIMEUP);
    ck_assert_str_eq(err.detail, "pool 'events': no connection within 0 ms "
                                 "(open 1/1, busy 1, waiting 0)");
    ck_assert_uint_eq(stats.acquired, 1);
    ck_assert_uint_eq(stats.fallbacks, 2);
    ck_assert_uint_eq(stats.busy, 1);
    ck_assert_uint_eq(stats.open, 3);
    ck_assert_int_eq(logged("falling back to one-shot connections"), 1);
    cp_pool_release(&leases[2]);
    cp_pool_discard(&leases[1], "test");
    ck_assert_uint_eq(stats.closed[CP_CLOSE_OVERFLOW], 1);
    ck_assert_uint_eq(stats.closed[CP_CLOSE_DISCARDED], 1);
    ck_assert_uint_eq(stats.idle, 0);
    advance(60 * SEC);
    borrow(pools[0], &leases[1]);
    ck_assert_int_eq(logged("falling back to one-shot connections"), 2);
    ck_assert_int_eq(logged("at most 2 at once (1 more like this"), 1);
    cp_pool_release(&leases[1]);
    cp_pool_release(&leases[0]);
    ck_assert_uint_eq(stats.released, 1);
}
END_TEST

START_TEST(overflow_serves_at_once_when_the_queue_is_full)
{
    cp_lease_t lease;
    cp_lease_t beside;

    config.queue = 0;
    config.acquire = 10 * SEC;
    config.overflow_max = 1;
    start_pool();
    borrow(pools[0], &lease);
    cp_clock_t start = cp_clock_now();
    borrow(pools[0], &beside);
    ck_assert_int_lt(cp_clock_now() - start, 5 * SEC);
    ck_assert(cp_lease_is_overflow(&beside));
    ck_assert_uint_eq(stats.rejected, 0);
    cp_pool_release(&beside);
    cp_pool_release(&lease);
}
END_TEST

START_TEST(overflow_that_cannot_open_is_reported_and_frees_its_place)
{
    cp_lease_t lease;
    cp_lease_t beside;
    cp_error_t err;

    config.acquire = 0;
    config.overflow_max = 1;
    start_pool();
    borrow(pools[0], &lease);
    fake_script(&fake, FAKE_OPEN, "xx");
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(borrow_in_vain(pools[0], &err), APR_ECONNREFUSED);
    }
    borrow(pools[0], &beside);
    ck_assert(cp_lease_is_overflow(&beside));
    ck_assert_uint_eq(stats.fallbacks, 1);
    cp_pool_release(&beside);
    cp_pool_release(&lease);
}
END_TEST

/* A one-shot connection must not count as one of min. */
START_TEST(overflow_does_not_push_the_pool_below_min)
{
    cp_lease_t lease;
    cp_lease_t beside;

    config.min = 1;
    config.acquire = 0;
    config.idle = 60 * SEC;
    config.overflow_max = 1;
    freeze_clock();
    start_pool();
    borrow(pools[0], &lease);
    borrow(pools[0], &beside);
    cp_pool_release(&lease);
    advance(61 * SEC);
    cp_pool_maintain(pools[0]);
    ck_assert_int_eq(fake.closed, 0);
    cp_pool_release(&beside);
}
END_TEST

/* --- shared limits -------------------------------------------------------- */

START_TEST(shared_gate_limits_two_pools_together_in_order)
{
    cp_gate_t *shared;
    borrower_t waiters[6] = {0};
    cp_lease_t lease;

    ck_assert_int_eq(cp_gate_create(&shared, 1, MANY, NULL, p), APR_SUCCESS);
    config.shared_gates[1] = shared;
    config.max = 10;
    config.acquire = 10 * SEC;
    start_pool();
    start_pool();
    borrow(pools[0], &lease);
    turns = 0;
    for (int i = 0; i < COUNT_OF(waiters); i++) {
        borrower_start(&waiters[i], pools[i % 2]);
        AWAIT_WAITING(i + 1);
    }
    cp_pool_release(&lease);
    for (int i = 0; i < COUNT_OF(waiters); i++) {
        borrower_join(&waiters[i]);
        ck_assert_int_eq(waiters[i].rv, APR_SUCCESS);
        ck_assert_int_eq(waiters[i].turn, i);
    }
    ck_assert_int_eq(cp_gate_state(shared).inside, 0);
    ck_assert_int_eq(fake.opened, 2);
    ck_assert_uint_eq(stats.waiting_max, COUNT_OF(waiters));
}
END_TEST

START_TEST(who_does_not_wait_at_a_shared_limit_is_no_waiter)
{
    cp_gate_t *shared;
    cp_error_t err;

    ck_assert_int_eq(cp_gate_create(&shared, 1, MANY, NULL, p), APR_SUCCESS);
    config.shared_gates[0] = shared;
    config.acquire = 0;
    start_pool();
    ck_assert(cp_gate_try_enter(shared));
    ck_assert_int_eq(borrow_in_vain(pools[0], &err), APR_TIMEUP);
    ck_assert_uint_eq(stats.waiting_max, 0);
    cp_gate_leave(shared);
}
END_TEST

START_TEST(refusal_names_the_shared_limit)
{
    static const struct {
        int place;
        const char *name;
        int max_waiting;
        const char *detail;
    } cases[] = {
        {0, "the limit per host", MANY,
         "pool 'events': no connection within 10 ms at the limit per host "
         "(inside 1/1, waiting 0; open 0/3, busy 0)"},
        {1, "the limit of all upstreams", 0,
         "pool 'events': queue is full at the limit of all upstreams "
         "(inside 1/1, waiting 0; open 0/3, busy 0)"},
        {1, NULL, MANY,
         "pool 'events': no connection within 10 ms at a shared limit "
         "(inside 1/1, waiting 0; open 0/3, busy 0)"},
    };
    int place = cases[_i].place;
    cp_gate_t *shared;
    cp_error_t err;

    ck_assert_int_eq(cp_gate_create(&shared, 1, cases[_i].max_waiting, NULL, p),
                     APR_SUCCESS);
    config.shared_gates[place] = shared;
    config.shared_names[place] = cases[_i].name;
    config.max = 3;
    config.acquire = 10 * MS;
    start_pool();
    ck_assert(cp_gate_try_enter(shared));
    borrow_in_vain(pools[0], &err);
    ck_assert_str_eq(err.detail, cases[_i].detail);
    ck_assert_int_eq(logged(cases[_i].detail), 1);
    /* At the end it is nobody's limit. */
    cp_gate_close(shared);
    ck_assert_int_eq(borrow_in_vain(pools[0], &err), APR_EOF);
    ck_assert_str_eq(err.detail, "pool 'events': shutting down (open 0/3, "
                                 "busy 0, waiting 0)");
    cp_gate_leave(shared);
}
END_TEST

START_TEST(shared_gates_get_their_permits_back_when_acquire_fails)
{
    static const struct {
        int first, second; /* how many others are in the two gates of 1 */
        const char *opens;
        apr_status_t rv;
    } cases[] = {
        {0, 0, "x", APR_ECONNREFUSED},
        {1, 0, "", APR_TIMEUP},
        {0, 1, "", APR_TIMEUP},
    };
    cp_gate_t *shared[2];
    cp_error_t err;

    for (int i = 0; i < 2; i++) {
        cp_gate_create(&shared[i], 1, MANY, NULL, p);
        config.shared_gates[i] = shared[i];
    }
    config.acquire = 20 * MS;
    start_pool();
    if (cases[_i].first) {
        cp_gate_enter(shared[0], CP_CLOCK_NEVER);
    }
    if (cases[_i].second) {
        cp_gate_enter(shared[1], CP_CLOCK_NEVER);
    }
    fake_script(&fake, FAKE_OPEN, cases[_i].opens);
    ck_assert_int_eq(borrow_in_vain(pools[0], &err), cases[_i].rv);
    ck_assert_int_eq(cp_gate_state(shared[0]).inside, cases[_i].first);
    ck_assert_int_eq(cp_gate_state(shared[1]).inside, cases[_i].second);
    for (int i = 0; i < 2; i++) {
        if (cp_gate_state(shared[i]).inside) {
            cp_gate_leave(shared[i]);
        }
    }
    ck_assert_int_eq(serial_of_next(pools[0]), 1);
}
END_TEST

static void *acquire_often(void *data)
{
    cp_error_t err;

    for (int i = 0; i < 500; i++) {
        cp_lease_t lease = {0};

        if (cp_pool_acquire(data, &lease, "often", &err) == APR_SUCCESS) {
            fake_use(cp_lease_connection(&lease));
            cp_pool_release(&lease);
        }
    }
    return NULL;
}

START_TEST(pools_with_two_shared_gates_do_not_deadlock)
{
    pthread_t threads[8];

    for (int i = 0; i < 2; i++) {
        cp_gate_create(&config.shared_gates[i], 2 - i, MANY, NULL, p);
    }
    config.max = 2;
    config.acquire = 10 * SEC;
    start_pool();
    start_pool();
    for (int i = 0; i < COUNT_OF(threads); i++) {
        pthread_create(&threads[i], NULL, acquire_often, pools[i % 2]);
    }
    for (int i = 0; i < COUNT_OF(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_uint_eq(stats.acquired, 8 * 500);
    ck_assert_uint_eq(stats.timeouts, 0);
}
END_TEST

/* --- words ---------------------------------------------------------------- */

START_TEST(refusal_says_everything_once)
{
    cp_lease_t lease;
    cp_error_t err;

    start_pool();
    borrow(pools[0], &lease);
    borrow_in_vain(pools[0], &err);
    ck_assert_str_eq(err.detail, "pool 'events': no connection within 200 ms "
                                 "(open 1/1, busy 1, waiting 0)");
    ck_assert_str_eq(err.cause, "no connection is free");
    ck_assert_int_eq(logged(err.detail), 1);
    cp_pool_release(&lease);
}
END_TEST

START_TEST(lines_about_limits_say_whose_they_are)
{
    cp_lease_t leases[2];
    cp_error_t err;

    config.members = "readers";
    config.acquire = 10 * MS;
    config.overflow_max = 1;
    start_pool();
    borrow(pools[0], &leases[0]);
    borrow(pools[0], &leases[1]);
    ck_assert_int_eq(logged("pool 'events' (readers) is exhausted (max 1): "
                            "falling back"),
                     1);
    borrow_in_vain(pools[0], &err);
    ck_assert_str_eq(err.detail,
                     "pool 'events' (readers): no connection within 10 ms "
                     "(open 1/1, busy 1, waiting 0)");
    cp_pool_release(&leases[0]);
    cp_pool_release(&leases[1]);
}
END_TEST

START_TEST(refusal_names_the_last_error_while_it_lasts)
{
    cp_lease_t leases[2];
    cp_error_t err;

    config.max = 2;
    config.acquire = 10 * MS;
    start_pool();
    borrow(pools[0], &leases[0]);
    fake_script(&fake, FAKE_OPEN, "xH");
    borrow_in_vain(pools[0], &err);
    borrower_t slow = {0};
    borrower_start(&slow, pools[0]);
    ck_assert(fake_await_held(&fake, FAKE_OPEN, 1));
    borrow_in_vain(pools[0], &err);
    ck_assert_str_eq(err.detail,
                     "pool 'events': no connection within 10 ms (open 2/2, "
                     "busy 2, waiting 0); last error: connection refused: the "
                     "fake says no");
    fake_resume(&fake, FAKE_OPEN);
    borrower_join(&slow);
    borrow(pools[0], &leases[1]);
    borrow_in_vain(pools[0], &err);
    ck_assert_str_eq(err.detail, "pool 'events': no connection within 10 ms "
                                 "(open 2/2, busy 2, waiting 0)");
    cp_pool_release(&leases[0]);
    cp_pool_release(&leases[1]);
}
END_TEST

START_TEST(repeated_refusals_are_counted_instead_of_logged)
{
    cp_lease_t lease;
    cp_error_t err;

    config.acquire = 0;
    freeze_clock();
    start_pool();
    borrow(pools[0], &lease);
    for (int i = 0; i < 100; i++) {
        borrow_in_vain(pools[0], &err);
    }
    ck_assert_int_eq(logged("no connection within"), 1);
    advance(10 * SEC);
    borrow_in_vain(pools[0], &err);
    ck_assert_int_eq(logged("no connection within"), 2);
    ck_assert_int_eq(logged("(99 more like this since the last line)"), 1);
    ck_assert_uint_eq(stats.timeouts, 101);
    cp_pool_release(&lease);
    cp_pool_stop(pools[0]);
    borrow_in_vain(pools[0], &err);
    ck_assert_int_eq(logged("shutting down"), 1);
}
END_TEST

START_TEST(fault_that_comes_and_goes_does_not_flood_the_log)
{
    cp_lease_t lease;
    cp_error_t err;

    config.is_pooled = 0;
    freeze_clock();
    start_pool();
    for (int i = 0; i < 100; i++) {
        fake_script(&fake, FAKE_OPEN, "x");
        borrow_in_vain(pools[0], &err);
        borrow(pools[0], &lease);
        cp_pool_release(&lease);
    }
    ck_assert_int_eq(logged("cannot open a connection"), 1);
    ck_assert_int_eq(logged("usable again"), 1);
    ck_assert_uint_eq(stats.create_failures, 100);
}
END_TEST

/* --- the end -------------------------------------------------------------- */

START_TEST(stop_wakes_all_waiters_and_refuses_new_work)
{
    borrower_t waiters[5] = {0};
    cp_lease_t lease;
    cp_error_t err;

    config.acquire = 60 * SEC;
    config.overflow_max = 10;
    start_pool();
    borrow(pools[0], &lease);
    for (int i = 0; i < COUNT_OF(waiters); i++) {
        borrower_start(&waiters[i], pools[0]);
    }
    AWAIT_WAITING(COUNT_OF(waiters));
    cp_clock_t start = cp_clock_now();
    cp_pool_stop(pools[0]);
    cp_pool_stop(pools[0]);
    for (int i = 0; i < COUNT_OF(waiters); i++) {
        borrower_join(&waiters[i]);
        ck_assert_int_eq(waiters[i].rv, APR_EOF);
    }
    ck_assert_int_lt(cp_clock_now() - start, 1 * SEC);
    ck_assert_int_eq(borrow_in_vain(pools[0], &err), APR_EOF);
    ck_assert_ptr_nonnull(strstr(err.detail, "shutting down"));
    ck_assert_uint_eq(stats.rejected, COUNT_OF(waiters) + 1);
    cp_pool_release(&lease);
    ck_assert_uint_eq(stats.closed[CP_CLOSE_SHUTDOWN], 1);
}
END_TEST

START_TEST(stop_refuses_who_waits_at_a_shared_gate)
{
    borrower_t waiter = {0};
    cp_gate_t *shared;

    ck_assert_int_eq(cp_gate_create(&shared, 1, MANY, NULL, p), APR_SUCCESS);
    cp_gate_enter(shared, CP_CLOCK_NEVER);
    config.shared_gates[0] = shared;
    config.acquire = 60 * SEC;
    start_pool();
    borrower_start(&waiter, pools[0]);
    AWAIT(cp_gate_state(shared).waiting == 1);
    cp_pool_stop(pools[0]);
    if (_i == 0) {
        cp_gate_close(shared);
    }
    else {
        cp_gate_leave(shared);
    }
    borrower_join(&waiter);
    ck_assert_int_eq(waiter.rv, APR_EOF);
    ck_assert_int_eq(fake.opened, 0);
}
END_TEST

START_TEST(stop_closes_what_is_idle_and_nothing_is_opened_any_more)
{
    borrower_t late = {0};

    config.max = 3;
    config.min = 3;
    config.check = 0;
    config.acquire = 10 * SEC;
    start_pool();
    fill(pools[0], 3);
    fake_script(&fake, FAKE_CHECK, "H");
    borrower_start(&late, pools[0]);
    ck_assert(fake_await_held(&fake, FAKE_CHECK, 1));
    cp_pool_stop(pools[0]);
    ck_assert_int_eq(fake_get(&fake, &fake.open), 1);
    fake_resume(&fake, FAKE_CHECK);
    borrower_join(&late);
    ck_assert_int_eq(late.rv, APR_EOF);
    cp_pool_maintain(pools[0]);
    ck_assert_int_eq(fake.opened, 3);
    ck_assert_int_eq(fake.open, 0);
}
END_TEST

START_TEST(destroy_with_a_connection_out_does_nothing_until_it_is_back)
{
    cp_lease_t leases[2]; /* a pooled one, and one beside the pool */
    int last = _i;

    config.acquire = 0;
    config.overflow_max = 1;
    start_pool();
    borrow(pools[0], &leases[0]);
    borrow(pools[0], &leases[1]);
    cp_pool_stop(pools[0]);
    ck_assert_int_eq(cp_pool_destroy(pools[0]), APR_EBUSY);
    cp_pool_release(&leases[!last]);
    ck_assert_int_eq(cp_pool_destroy(pools[0]), APR_EBUSY);
    fake_use(cp_lease_connection(&leases[last]));
    cp_pool_release(&leases[last]);
    /* The fixture destroys it, and wants success. */
}
END_TEST

START_TEST(pool_without_room_is_refused)
{
    cp_pool_t *pool = NULL;

    config.max = 0;
    ck_assert_int_ne(
        cp_pool_create(&pool, &config, &fake_driver, &fake, &stats),
        APR_SUCCESS);
}
END_TEST

/* --- stress --------------------------------------------------------------- */

#define STRESS_THREADS 50
#define STRESS_MAX     20

typedef struct stress_t {
    pthread_t thread;
    unsigned seed;
    int rounds;
    apr_interval_time_t longest;
    int served, discarded, failed, other;
} stress_t;

static int stress_is_over; /* atomic */

static void *stress_main(void *data)
{
    stress_t *self = data;

    for (int i = 0; i < self->rounds; i++) {
        cp_lease_t lease = {0};
        cp_error_t err;
        cp_clock_t start = cp_clock_now();
        apr_status_t rv = cp_pool_acquire(pools[0], &lease, "stress", &err);
        apr_interval_time_t waited = cp_clock_now() - start;

        self->longest = waited > self->longest ? waited : self->longest;
        if (rv == APR_ECONNREFUSED) {
            self->failed++;
        }
        else if (rv != APR_SUCCESS) {
            self->other++;
        }
        else {
            fake_use(cp_lease_connection(&lease));
            self->served++;
            if (rand_r(&self->seed) % 100 < 5) {
                self->discarded++;
                cp_pool_discard(&lease, "stress");
            }
            else {
                cp_pool_release(&lease);
            }
        }
    }
    return NULL;
}

static void *stress_maintenance(void *data)
{
    for (int i = 0; !__atomic_load_n(&stress_is_over, __ATOMIC_ACQUIRE); i++) {
        cp_pool_maintain(pools[0]);
        if (i % 64 == 0) {
            cp_pool_flush(pools[0], "stress");
        }
        apr_sleep(100);
    }
    return NULL;
}

START_TEST(books_balance_after_millions_of_acquires)
{
    static stress_t threads[STRESS_THREADS];
    const char *rounds = getenv("CONNPOOL_STRESS");
    stress_t sum = {.rounds = rounds ? atoi(rounds) : 50000};
    pthread_t maintenance;

    config.max = STRESS_MAX;
    config.min = 3;
    config.acquire = 5 * SEC;
    config.idle = 2 * MS;
    config.lifetime = 20 * MS;
    config.check = 1 * MS;
    config.leak = 1 * SEC;
    cp_log_install(capture_log, NULL, CP_LOG_WARNING);
    fake.fail_every[FAKE_OPEN] = 100;
    fake.fail_every[FAKE_CHECK] = 50;
    start_pool();
    stress_is_over = 0;
    pthread_create(&maintenance, NULL, stress_maintenance, NULL);
    for (int i = 0; i < STRESS_THREADS; i++) {
        threads[i] = (stress_t){.seed = (unsigned)i + 1, .rounds = sum.rounds};
        pthread_create(&threads[i].thread, NULL, stress_main, &threads[i]);
    }
    for (int i = 0; i < STRESS_THREADS; i++) {
        pthread_join(threads[i].thread, NULL);
        sum.served += threads[i].served;
        sum.discarded += threads[i].discarded;
        sum.failed += threads[i].failed;
        sum.other += threads[i].other;
        if (threads[i].longest > sum.longest) {
            sum.longest = threads[i].longest;
        }
    }
    __atomic_store_n(&stress_is_over, 1, __ATOMIC_RELEASE);
    pthread_join(maintenance, NULL);
    ck_assert_int_eq(sum.other, 0);
    ck_assert_int_eq(sum.served + sum.failed, STRESS_THREADS * sum.rounds);
    ck_assert_uint_eq(stats.acquired, (uint64_t)sum.served);
    ck_assert_uint_eq(stats.released, (uint64_t)sum.served);
    ck_assert_uint_eq(stats.closed[CP_CLOSE_DISCARDED],
                      (uint64_t)sum.discarded);
    ck_assert_uint_ge(stats.create_failures, (uint64_t)sum.failed);
    ck_assert_int_le(fake.max_open, STRESS_MAX);
    ck_assert_int_le(sum.longest, config.acquire + slack());
    ck_assert_uint_eq(cp_histogram_count(&stats.acquire_us),
                      (uint64_t)sum.served);
    ck_assert_uint_eq(cp_histogram_count(&stats.refused_us),
                      (uint64_t)sum.failed);
}
END_TEST

static TCase *add_case(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    return tcase;
}

Suite *pool_suite(void)
{
    Suite *suite = suite_create("pool");
    TCase *tcase = add_case(suite, "order and deadlines");

    tcase_add_test(tcase, waiters_are_served_in_the_order_they_came);
    tcase_add_loop_test(tcase, acquire_gives_up_at_its_deadline_and_not_before,
                        0, 3);
    tcase_add_test(tcase,
                   acquire_keeps_its_deadline_while_slow_holders_come_and_go);
    tcase_add_test(tcase, full_queue_refuses_at_once);
    tcase_add_test(tcase, trying_takes_what_is_free_and_fails_without_a_trace);
    tcase_add_test(tcase, trying_at_a_full_shared_limit_takes_nothing);
    tcase_add_test(tcase, waiter_that_gives_up_passes_its_wake_up_on);

    tcase = add_case(suite, "driver");
    tcase_add_loop_test(
        tcase, idle_connection_is_checked_only_when_idle_for_longer_than_check,
        0, 5);
    tcase_add_test(
        tcase,
        dead_connection_is_replaced_in_the_same_acquire_and_flushes_others);
    tcase_add_test(tcase, acquire_0_still_gives_the_driver_time_to_work);
    tcase_add_test(
        tcase, failure_to_open_is_reported_with_its_cause_and_leaks_no_permit);
    tcase_add_test(tcase, after_a_failure_to_open_the_next_waiter_goes_on);
    tcase_add_test(tcase, slow_open_holds_up_nobody_else);
    tcase_add_test(tcase, slow_close_by_maintenance_holds_up_nobody_else);
    tcase_add_test(tcase,
                   slow_close_of_a_broken_connection_holds_up_nobody_else);
    tcase_add_test(tcase, connection_being_closed_takes_up_its_place);
    tcase_add_test(tcase, connection_that_cannot_be_reset_is_closed);

    tcase = add_case(suite, "choice");
    tcase_add_test(tcase, connection_used_last_is_used_next);
    tcase_add_test(tcase, warm_connection_is_used_before_a_new_one_is_opened);
    tcase_add_test(tcase, expired_idle_connection_makes_room_for_a_new_one);

    tcase = add_case(suite, "maintenance");
    tcase_add_test(tcase, idle_connections_expire_without_traffic_down_to_min);
    tcase_add_loop_test(tcase, maintenance_opens_up_to_min, 0, 3);
    tcase_add_test(tcase,
                   warm_up_gives_up_at_the_first_failure_until_the_next_round);
    tcase_add_test(tcase, lifetime_is_spread_and_drawn_once);
    tcase_add_test(tcase, old_connection_is_not_handed_out);
    tcase_add_test(tcase, borrowed_connection_is_never_closed_by_maintenance);
    tcase_add_test(tcase,
                   flush_closes_the_idle_now_and_the_busy_on_their_return);
    tcase_add_test(tcase, connection_opened_during_a_flush_is_not_kept);
    tcase_add_test(tcase, leak_is_reported_once_with_its_holder);
    tcase_add_test(tcase, leaks_are_listed_until_they_come_back);
    tcase_add_test(tcase, who_holds_is_shown_with_the_request);
    tcase_add_test(tcase, a_request_of_any_length_is_shown);
    tcase_add_test(tcase, holder_of_any_length_is_listed);
    tcase_add_test(tcase, each_idle_shows_idle_connections_only);

    tcase = add_case(suite, "giving back");
    tcase_add_test(
        tcase, discarded_connection_is_closed_counted_and_logged_with_a_reason);
    tcase_add_test(tcase, releasing_twice_is_harmless_and_logged);
    tcase_add_test(
        tcase, unpooled_connections_are_opened_and_closed_within_the_limits);

    tcase = add_case(suite, "overflow");
    tcase_add_test(tcase, overflow_is_capped_counted_and_logged_once_a_minute);
    tcase_add_test(tcase, overflow_serves_at_once_when_the_queue_is_full);
    tcase_add_test(tcase,
                   overflow_that_cannot_open_is_reported_and_frees_its_place);
    tcase_add_test(tcase, overflow_does_not_push_the_pool_below_min);

    tcase = add_case(suite, "shared limits");
    tcase_add_test(tcase, shared_gate_limits_two_pools_together_in_order);
    tcase_add_test(tcase, who_does_not_wait_at_a_shared_limit_is_no_waiter);
    tcase_add_loop_test(tcase, refusal_names_the_shared_limit, 0, 3);
    tcase_add_loop_test(
        tcase, shared_gates_get_their_permits_back_when_acquire_fails, 0, 3);
    tcase_add_test(tcase, pools_with_two_shared_gates_do_not_deadlock);

    tcase = add_case(suite, "words");
    tcase_add_test(tcase, refusal_says_everything_once);
    tcase_add_test(tcase, lines_about_limits_say_whose_they_are);
    tcase_add_test(tcase, refusal_names_the_last_error_while_it_lasts);
    tcase_add_test(tcase, repeated_refusals_are_counted_instead_of_logged);
    tcase_add_test(tcase, fault_that_comes_and_goes_does_not_flood_the_log);

    tcase = add_case(suite, "end");
    tcase_add_test(tcase, stop_wakes_all_waiters_and_refuses_new_work);
    tcase_add_loop_test(tcase, stop_refuses_who_waits_at_a_shared_gate, 0, 2);
    tcase_add_test(tcase,
                   stop_closes_what_is_idle_and_nothing_is_opened_any_more);
    tcase_add_loop_test(
        tcase, destroy_with_a_connection_out_does_nothing_until_it_is_back, 0,
        2);
    tcase_add_test(tcase, pool_without_room_is_refused);

    tcase = add_case(suite, "stress");
    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, books_balance_after_millions_of_acquires);
    return suite;
}
