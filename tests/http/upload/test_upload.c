/* SPDX-License-Identifier: Apache-2.0
 * The ring between who has a body and who sends it. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "http/upload/upload.h"
#include "suites.h"

#define WINDOW CP_UPLOAD_WINDOW

static cp_upload_t *upload;
static char room[WINDOW];

/* A source of `left` bytes, each the low byte of its place, in pieces. */
typedef struct body_t {
    size_t at;
    size_t left;
    size_t piece; /* at the most at once; 0: nothing is there just now */
    apr_status_t end;
    int has_ended;
} body_t;

static apr_status_t read_body(void *baton, char *to, apr_size_t size,
                              apr_size_t *pgot)
{
    body_t *body = baton;

    if (body->left == 0) {
        body->has_ended = 1;
        return body->end;
    }
    if (body->piece == 0) {
        return APR_EAGAIN;
    }
    size = size < body->piece ? size : body->piece;
    size = size < body->left ? size : body->left;
    for (size_t i = 0; i < size; i++) {
        to[i] = (char)(body->at + i);
    }
    body->at += size;
    body->left -= size;
    *pgot = size;
    return APR_SUCCESS;
}

static apr_status_t fill(body_t *body)
{
    cp_source_t source = {read_body, body, -1, -1};

    return cp_upload_fill(upload, &source);
}

static cp_take_t take(size_t size, size_t *pgot, int *ptold)
{
    return cp_upload_take(upload, room, size, pgot, ptold);
}

static void setup(void)
{
    upload = cp_upload_create();
}

static void teardown(void)
{
    cp_upload_free(upload);
}

START_TEST(nothing_is_read_before_it_is_wanted)
{
    body_t body = {.left = 10, .piece = 10, .end = APR_EOF};
    size_t got;
    int told;

    ck_assert_int_eq(fill(&body), APR_SUCCESS);
    ck_assert_int_eq(body.at, 0);
    ck_assert(cp_upload_is_untouched(upload));
    ck_assert(!cp_upload_has_room(upload));
    ck_assert_int_eq(take(100, &got, &told), CP_TAKE_WAIT);
    ck_assert(told);
    ck_assert(cp_upload_has_room(upload));
    ck_assert_int_eq(fill(&body), APR_SUCCESS);
    ck_assert(!cp_upload_is_untouched(upload));
    ck_assert(cp_upload_must_wake(upload));
    ck_assert_msg(!cp_upload_must_wake(upload), "only once");
    ck_assert_int_eq(take(100, &got, &told), CP_TAKE_SOME);
    ck_assert_int_eq(got, 10);
    ck_assert_int_eq(take(100, &got, &told), CP_TAKE_END);
    ck_assert_int_eq(cp_upload_taken(upload), 10);
}
END_TEST

START_TEST(who_has_nothing_starves_the_other)
{
    body_t body = {.left = 10, .end = APR_EOF};
    size_t got;
    int told;

    take(100, &got, &told);
    ck_assert(cp_upload_is_starved(upload));
    ck_assert_int_eq(fill(&body), APR_EAGAIN);
    ck_assert(!cp_upload_must_wake(upload));
    ck_assert_int_eq(take(100, &got, &told), CP_TAKE_WAIT);
    ck_assert_msg(!told, "the waiter knows");
    body.piece = 3;
    ck_assert_int_eq(fill(&body), APR_SUCCESS);
    ck_assert(cp_upload_must_wake(upload));
    ck_assert(!cp_upload_is_starved(upload));
}
END_TEST

START_TEST(a_full_ring_waits_for_room)
{
    body_t body = {.left = 4 * WINDOW, .piece = WINDOW, .end = APR_EOF};
    size_t got;
    int told;

    take(1, &got, &told);
    ck_assert_int_eq(fill(&body), APR_SUCCESS);
    ck_assert_int_eq(body.at, WINDOW);
    ck_assert(!cp_upload_has_room(upload));
    take(WINDOW / 4, &got, &told);
    ck_assert_msg(!told, "not for a little");
    take(WINDOW / 4, &got, &told);
    ck_assert_msg(told, "for half of it");
    take(WINDOW / 4, &got, &told);
    ck_assert_msg(!told, "once");
    ck_assert_int_eq(fill(&body), APR_SUCCESS);
    ck_assert_int_eq(body.at, WINDOW + 3 * (WINDOW / 4));
}
END_TEST

START_TEST(a_source_that_fails_is_no_end)
{
    body_t body = {.left = 5, .piece = 5, .end = APR_ECONNRESET};
    size_t got;
    int told;

    take(1, &got, &told);
    ck_assert_int_eq(fill(&body), APR_ECONNRESET);
    ck_assert_int_eq(take(100, &got, &told), CP_TAKE_SOME);
    ck_assert_int_eq(take(100, &got, &told), CP_TAKE_WAIT);
    cp_upload_abort(upload);
    ck_assert_int_eq(take(100, &got, &told), CP_TAKE_ABORT);
}
END_TEST

/* Takes all, and notes whether the bytes are those. */
static void *run_taker(void *data)
{
    size_t *pwrong = data;
    size_t at = 0, got;
    int told;
    cp_take_t found;

    while ((found = take(1 + at * 7 % 5000, &got, &told)) != CP_TAKE_END) {
        for (size_t i = 0; i < got; i++) {
            *pwrong += room[i] != (char)(at + i);
        }
        at += got;
        if (found == CP_TAKE_WAIT) {
            sched_yield();
        }
    }
    return (void *)at;
}

START_TEST(all_bytes_arrive_in_order)
{
    body_t body = {.left = 3000000, .piece = 1777, .end = APR_EOF};
    size_t wrong = 0;
    pthread_t thread;
    void *taken;

    ck_assert_int_eq(pthread_create(&thread, NULL, run_taker, &wrong), 0);
    while (!body.has_ended) {
        ck_assert_int_eq(fill(&body), APR_SUCCESS);
        cp_upload_must_wake(upload);
    }
    pthread_join(thread, &taken);
    ck_assert_int_eq((size_t)taken, 3000000);
    ck_assert_int_eq(wrong, 0);
}
END_TEST

Suite *upload_suite(void)
{
    Suite *suite = suite_create("upload");
    TCase *tcase = tcase_create("upload");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, nothing_is_read_before_it_is_wanted);
    tcase_add_test(tcase, who_has_nothing_starves_the_other);
    tcase_add_test(tcase, a_full_ring_waits_for_room);
    tcase_add_test(tcase, a_source_that_fails_is_no_end);
    tcase_add_test(tcase, all_bytes_arrive_in_order);
    suite_add_tcase(suite, tcase);
    return suite;
}
