/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include <apr_pools.h>

#include "http/upstream/upstream.h"
#include "suites.h"

static apr_pool_t *pool;

static void setup(void)
{
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

/* "127.0.0.1", or "8.8.8.8 (plaintext)" where it is refused; the last one. */
static void note(void *baton, const char *address, const char *refusal)
{
    snprintf(baton, 128, "%s", refusal ? refusal : address);
}

static const char *resolve(const char *url, int allow_private,
                           int allow_plaintext)
{
    static char found[128];
    cp_upstream_config_t config = {.name = "up",
                                   .url = url,
                                   .allow_private = allow_private,
                                   .allow_plaintext = allow_plaintext};
    const char *origin = NULL;
    const char *problem;

    *found = '\0';
    ck_assert_ptr_null(cp_upstream_check_url(pool, url, &origin));
    problem = cp_upstream_resolve(pool, &config, origin, note, found);
    return problem ? problem : found;
}

START_TEST(literal_addresses_are_their_own)
{
    ck_assert_str_eq(resolve("http://127.0.0.1:9/", 0, 0), "127.0.0.1");
    ck_assert_str_eq(resolve("https://10.1.2.3/x", 0, 0), "10.1.2.3");
    ck_assert_str_eq(resolve("http://[::1]:8080/", 0, 0), "::1");
    ck_assert_str_eq(resolve("https://8.8.8.8/", 0, 0), "8.8.8.8");
}
END_TEST

START_TEST(addresses_are_judged_as_by_a_fetch)
{
    ck_assert_str_eq(resolve("http://8.8.8.8/", 0, 0), "8.8.8.8 (plaintext)");
    ck_assert_str_eq(resolve("http://8.8.8.8/", 0, 1), "8.8.8.8");
    ck_assert_str_eq(resolve("https://127.1/", 0, 0), "127.0.0.1 (loopback)");
    ck_assert_str_eq(resolve("https://127.1/", 1, 0), "127.0.0.1");
}
END_TEST

START_TEST(a_name_that_is_none_is_told)
{
    const char *problem = resolve("https://no-such-host.invalid/", 0, 0);

    ck_assert_ptr_nonnull(strstr(problem, "no-such-host.invalid"));
}
END_TEST

Suite *resolve_suite(void)
{
    Suite *suite = suite_create("resolve");
    TCase *tc = tcase_create("resolve");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, literal_addresses_are_their_own);
    tcase_add_test(tc, addresses_are_judged_as_by_a_fetch);
    tcase_add_test(tc, a_name_that_is_none_is_told);
    suite_add_tcase(suite, tc);
    return suite;
}
