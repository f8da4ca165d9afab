/* SPDX-License-Identifier: Apache-2.0
 * Which descriptors programs inherit from a process that fetches. */
#include <check.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/inherit.h"
#include "suites.h"

static int is_inherited(int fd)
{
    return !(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static int count_inherited(void)
{
    int count = 0;

    for (int fd = 3; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) >= 0 && is_inherited(fd);
    }
    return count;
}

START_TEST(a_pair_becomes_private_by_one_of_it)
{
    int mine[2], others[2], byte = 0;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, mine), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, others), 0);
    ck_assert_int_eq(write(others[0], "x", 1), 1);
    cp_http_keep_private(mine[_i]);
    ck_assert_int_eq(is_inherited(mine[0]), 0);
    ck_assert_int_eq(is_inherited(mine[1]), 0);
    ck_assert_int_eq(is_inherited(others[0]), 1);
    ck_assert_int_eq(is_inherited(others[1]), 1);
    /* What others say to each other is left alone, and nothing said. */
    ck_assert_int_eq(read(others[1], &byte, sizeof(byte)), 1);
    ck_assert_int_eq(recv(mine[0], &byte, 1, MSG_DONTWAIT), -1);
    ck_assert_int_eq(recv(mine[1], &byte, 1, MSG_DONTWAIT), -1);
    for (int i = 0; i < 2; i++) {
        close(mine[i]);
        close(others[i]);
    }
}
END_TEST

START_TEST(what_is_no_pair_becomes_private)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    cp_http_keep_private(fd);
    ck_assert_int_eq(is_inherited(fd), 0);
    close(fd);
    cp_http_keep_private(fd); /* closed: nothing happens */
}
END_TEST

START_TEST(a_multi_handle_has_nothing_to_inherit)
{
    int others[2], before;
    CURLM *multi;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, others), 0);
    before = count_inherited();
    multi = cp_http_multi_create();
    ck_assert_ptr_nonnull(multi);
    ck_assert_int_eq(count_inherited(), before);
    ck_assert_int_eq(is_inherited(others[0]) + is_inherited(others[1]), 2);
    curl_multi_cleanup(multi);
    close(others[0]);
    close(others[1]);
}
END_TEST

Suite *inherit_suite(void)
{
    Suite *suite = suite_create("inherit");
    TCase *tcase = tcase_create("inherit");

    tcase_add_loop_test(tcase, a_pair_becomes_private_by_one_of_it, 0, 2);
    tcase_add_test(tcase, what_is_no_pair_becomes_private);
    tcase_add_test(tcase, a_multi_handle_has_nothing_to_inherit);
    suite_add_tcase(suite, tcase);
    return suite;
}
