/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "pool/wait/permits.h"
#include "suites.h"

enum {
    CELLS = 8,
    PROCESSES = 6,
    PERMITS = 3,
    KILLS = 400,
    TURNS = 20000
};

/* Shared by the test's processes. */
typedef struct board_t {
    int inside[CELLS];     /* atomic: permits that a cell makes use of */
    uint64_t turns[CELLS]; /* atomic: how often it had one */
    int over;              /* atomic: more were inside than may be */
    int is_over;           /* atomic: the storm is */
    char permits[];
} board_t;

static board_t *board;
static cp_permits_t *permits;
static size_t size;

static void setup(void)
{
    size = sizeof(*board) + 64 + cp_permits_size(CELLS);
    board = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                 -1, 0);
    ck_assert_ptr_ne(board, MAP_FAILED);
    permits = cp_permits_init(
        (void *)(((uintptr_t)board->permits + 63) & ~(uintptr_t)63), CELLS);
    ck_assert_ptr_nonnull(permits);
    cp_permits_limit(permits, PERMITS);
}

static void teardown(void)
{
    munmap(board, size);
}

static int join(void)
{
    int cell = cp_permits_join(permits, getpid());

    ck_assert_int_ge(cell, 0);
    return cell;
}

START_TEST(there_are_so_many_and_no_more)
{
    int cell = join();

    for (int i = 0; i < PERMITS; i++) {
        ck_assert(cp_permits_take(permits, cell, 0));
    }
    ck_assert(!cp_permits_take(permits, cell, 0));
    cp_permits_give(permits, cell);
    ck_assert(cp_permits_take(permits, cell, 0));
    ck_assert_int_eq(cp_permits_state(permits).held, PERMITS);
}
END_TEST

START_TEST(who_waits_longest_is_next)
{
    int a = cp_permits_join(permits, getpid());
    int b = cp_permits_join(permits, getppid());
    int c = cp_permits_join(permits, 1);
    uint32_t bell;

    cp_permits_limit(permits, 1);
    ck_assert(cp_permits_take(permits, a, 1));
    ck_assert(!cp_permits_take(permits, b, 1));
    ck_assert(!cp_permits_take(permits, c, 1));
    ck_assert_int_eq(cp_permits_state(permits).waiting, 2);
    ck_assert_int_gt(cp_permits_wanted_since(permits, a), 0);
    ck_assert_int_eq(cp_permits_wanted_since(permits, b), 0);
    bell = cp_permits_read(permits, b, CP_PERMITS_BELL);
    cp_permits_give(permits, a);
    ck_assert_uint_ne(cp_permits_read(permits, b, CP_PERMITS_BELL), bell);
    ck_assert(!cp_permits_take(permits, c, 1));
    ck_assert(!cp_permits_take(permits, a, 0));
    ck_assert(cp_permits_take(permits, b, 1));
    cp_permits_give(permits, b);
    ck_assert(cp_permits_take(permits, c, 1));
}
END_TEST

START_TEST(who_gives_up_passes_his_turn_on)
{
    int a = cp_permits_join(permits, getpid());
    int b = cp_permits_join(permits, getppid());
    int c = cp_permits_join(permits, 1);
    uint32_t bell;

    cp_permits_limit(permits, 1);
    ck_assert(cp_permits_take(permits, a, 1));
    ck_assert(!cp_permits_take(permits, b, 1));
    ck_assert(!cp_permits_take(permits, c, 1));
    cp_permits_give(permits, a);
    bell = cp_permits_read(permits, c, CP_PERMITS_BELL);
    cp_permits_leave(permits, b);
    ck_assert_uint_ne(cp_permits_read(permits, c, CP_PERMITS_BELL), bell);
    ck_assert(cp_permits_take(permits, c, 1));
}
END_TEST

START_TEST(the_limit_can_fall_and_rise)
{
    int cell = join();

    for (int i = 0; i < PERMITS; i++) {
        ck_assert(cp_permits_take(permits, cell, 0));
    }
    cp_permits_limit(permits, 1);
    cp_permits_give(permits, cell);
    ck_assert(!cp_permits_take(permits, cell, 0));
    cp_permits_give(permits, cell);
    cp_permits_give(permits, cell);
    ck_assert(cp_permits_take(permits, cell, 0));
    ck_assert(!cp_permits_take(permits, cell, 0));
    cp_permits_limit(permits, 2);
    ck_assert(cp_permits_take(permits, cell, 0));
}
END_TEST

START_TEST(the_dead_hold_nothing)
{
    int own = join();
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        int cell = cp_permits_join(permits, getpid());

        _exit(cell >= 0 && cp_permits_take(permits, cell, 0)
                      && cp_permits_take(permits, cell, 0)
                  ? 0
                  : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert(cp_permits_take(permits, own, 0));
    ck_assert(!cp_permits_take(permits, own, 0));
    /* Nobody told: who has to wait finds out. */
    ck_assert(cp_permits_take(permits, own, 1));
    cp_permits_fold(permits, pid);
    ck_assert_int_eq(cp_permits_state(permits).held, 2);
}
END_TEST

START_TEST(the_dead_hold_no_lock)
{
    int own = join();
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        int cell = cp_permits_join(permits, getpid());

        /* The lock comes first. */
        _exit(cp_permits_take(permits, cell, 0)
                      && pthread_mutex_lock((pthread_mutex_t *)permits) == 0
                  ? 0
                  : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert(cp_permits_take(permits, own, 0));
    cp_permits_fold(permits, pid);
    ck_assert_int_eq(cp_permits_state(permits).held, 1);
    cp_permits_give(permits, own);
    ck_assert_int_eq(cp_permits_state(permits).held, 0);
}
END_TEST

START_TEST(who_holds_and_who_waits_is_told)
{
    cp_permits_holder_t list[CELLS];
    int own = join(), other;

    cp_permits_limit(permits, 1);
    ck_assert_int_eq(cp_permits_list(permits, list, CELLS), 0);
    ck_assert(cp_permits_take(permits, own, 0));
    other = cp_permits_join(permits, getppid());
    ck_assert(!cp_permits_take(permits, other, 1));
    ck_assert_int_eq(cp_permits_list(permits, list, CELLS), 2);
    ck_assert_int_eq(list[0].pid, getpid());
    ck_assert_int_eq(list[0].held, 1);
    ck_assert_int_eq(list[0].since, 0);
    ck_assert_int_eq(list[1].pid, getppid());
    ck_assert_int_eq(list[1].held, 0);
    ck_assert_int_gt(list[1].since, 0);
    ck_assert_int_eq(cp_permits_list(permits, list, 1), 1);
}
END_TEST

/* --- beside each other --- */

static void *take_and_give(void *data)
{
    int cell = *(int *)data;

    for (int i = 0; i < TURNS; i++) {
        if (cp_permits_take(permits, cell, 0)) {
            cp_permits_give(permits, cell);
        }
        cp_permits_wanted_since(permits, cell);
    }
    return NULL;
}

START_TEST(the_dead_are_folded_beside_those_who_go_on)
{
    int cells[2] = {cp_permits_join(permits, getpid()),
                    cp_permits_join(permits, getppid())};
    pthread_t threads[2];

    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(
            pthread_create(&threads[i], NULL, take_and_give, &cells[i]), 0);
    }
    for (int i = 0; i < TURNS / 100; i++) {
        pid_t dead = (pid_t)(0x3fffffff - i); /* there is none */
        int cell = cp_permits_join(permits, dead);

        ck_assert_int_ge(cell, 0);
        cp_permits_take(permits, cell, 0);
        cp_permits_fold(permits, dead);
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    ck_assert_int_eq(cp_permits_state(permits).held, 0);
}
END_TEST

/* --- the storm --- */

static void note_inside(int cell)
{
    int inside = 0;

    __atomic_store_n(&board->inside[cell], 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < CELLS; i++) {
        inside += __atomic_load_n(&board->inside[i], __ATOMIC_SEQ_CST);
    }
    if (inside > PERMITS) {
        __atomic_store_n(&board->over, 1, __ATOMIC_SEQ_CST);
    }
    __atomic_add_fetch(&board->turns[cell], 1, __ATOMIC_SEQ_CST);
}

static void take_turns(int cell)
{
    while (!__atomic_load_n(&board->is_over, __ATOMIC_SEQ_CST)) {
        uint32_t seen = cp_permits_read(permits, cell, CP_PERMITS_BELL);

        if (!cp_permits_take(permits, cell, 1)) {
            cp_permits_sleep(permits, cell, CP_PERMITS_BELL, seen,
                             cp_clock_after(APR_USEC_PER_SEC));
            continue;
        }
        note_inside(cell);
        __atomic_store_n(&board->inside[cell], 0, __ATOMIC_SEQ_CST);
        cp_permits_give(permits, cell);
    }
}

static pid_t start_one(int *pcell)
{
    int pipes[2];
    pid_t pid;

    ck_assert_int_eq(pipe(pipes), 0);
    pid = fork();
    if (pid == 0) {
        int cell = cp_permits_join(permits, getpid());

        if (write(pipes[1], &cell, sizeof(cell)) != sizeof(cell) || cell < 0) {
            _exit(1);
        }
        take_turns(cell);
        _exit(0);
    }
    ck_assert_int_eq(read(pipes[0], pcell, sizeof(*pcell)), sizeof(*pcell));
    close(pipes[0]);
    close(pipes[1]);
    ck_assert_int_ge(*pcell, 0);
    return pid;
}

/* What it was inside with ends with the process, before its permit is free. */
static void bury(pid_t pid, int cell)
{
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    __atomic_store_n(&board->inside[cell], 0, __ATOMIC_SEQ_CST);
    cp_permits_fold(permits, pid);
}

START_TEST(no_kill_loses_or_adds_a_permit)
{
    pid_t pids[PROCESSES];
    int cells[PROCESSES];
    uint64_t turns = 0;

    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = start_one(&cells[i]);
    }
    srand(1);
    for (int i = 0; i < KILLS; i++) {
        int which = rand() % PROCESSES;

        usleep((useconds_t)(rand() % 2000));
        kill(pids[which], SIGKILL);
        bury(pids[which], cells[which]);
        pids[which] = start_one(&cells[which]);
    }
    __atomic_store_n(&board->is_over, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < PROCESSES; i++) {
        bury(pids[i], cells[i]);
    }
    for (int i = 0; i < CELLS; i++) {
        turns += board->turns[i];
    }
    ck_assert_int_eq(board->over, 0);
    ck_assert_uint_gt(turns, KILLS);
    ck_assert_int_eq(cp_permits_state(permits).held, 0);
    ck_assert_int_eq(cp_permits_state(permits).waiting, 0);
}
END_TEST

Suite *permits_suite(void)
{
    Suite *suite = suite_create("permits");
    TCase *tcase = tcase_create("permits");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, there_are_so_many_and_no_more);
    tcase_add_test(tcase, who_waits_longest_is_next);
    tcase_add_test(tcase, who_gives_up_passes_his_turn_on);
    tcase_add_test(tcase, the_limit_can_fall_and_rise);
    tcase_add_test(tcase, the_dead_hold_nothing);
    tcase_add_test(tcase, the_dead_hold_no_lock);
    tcase_add_test(tcase, who_holds_and_who_waits_is_told);
    tcase_add_test(tcase, the_dead_are_folded_beside_those_who_go_on);
    tcase_add_test(tcase, no_kill_loses_or_adds_a_permit);
    suite_add_tcase(suite, tcase);
    return suite;
}
