/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_pools.h>
#include <apr_strings.h>

#include "database/pgsql/session/address.h"
#include "database/pgsql/session/keys.h"
#include "suites.h"

static apr_pool_t *pool;
static cp_pg_config_t config;

static void setup(void)
{
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

static char *resolve(apr_pool_t *p, const char *path)
{
    return apr_pstrdup(p, path);
}

static const char *take(const char *text)
{
    memset(&config, 0, sizeof(config));
    cp_options_clear(cp_pg_keys, &config);
    cp_options_complete(cp_pg_keys, &config);
    return cp_pg_take_address(pool, &config, "app", text, resolve);
}

static const char *passed(const char *keyword)
{
    for (int i = 0; i < config.keyword_count; i++) {
        if (strcmp(config.keywords[i], keyword) == 0) {
            return config.values[i];
        }
    }
    return NULL;
}

START_TEST(pg_address_reads_words_and_uris)
{
    ck_assert_ptr_null(take("host=/run/postgresql dbname=app user=web"));
    ck_assert_int_eq(config.host_count, 1);
    ck_assert_str_eq(config.hosts[0].host, "/run/postgresql");
    ck_assert_str_eq(config.hosts[0].port, "5432");
    ck_assert_str_eq(config.shown, "/run/postgresql:5432/app as web");

    ck_assert_ptr_null(
        take("//web:s%40cret@a.example:6000,b.example/app?sslmode=require"));
    ck_assert_int_eq(config.host_count, 2);
    ck_assert_str_eq(config.hosts[0].host, "a.example");
    ck_assert_str_eq(config.hosts[0].port, "6000");
    ck_assert_str_eq(config.hosts[1].port, "5432");
    ck_assert_str_eq(passed("password"), "s@cret");
    ck_assert_str_eq(config.sslmode, "require");
    ck_assert_ptr_null(strstr(config.shown, "s@cret"));

    ck_assert_ptr_null(take("host=a,b hostaddr=10.0.0.1,10.0.0.2 port=1"));
    ck_assert_str_eq(config.hosts[1].hostaddr, "10.0.0.2");
    ck_assert_str_eq(config.hosts[1].port, "1");

    ck_assert_ptr_null(take("host=a target_session_attrs=read-only"));
    ck_assert_int_eq(config.role, CP_PG_STANDBY);
}
END_TEST

START_TEST(pg_address_never_shows_a_password)
{
    static const char *const texts[] = {
        "host=a password=my secret",
        "host=a password='my secret",
        "//u:my%2secret@h/d",
        "host=a passwort=secret",
        "host=a password=secret port=1,2",
        "password=secret",
        "//u:secret@h:port/d?x=secret",
        "secret",
        "host=a,,b password=secret",
        "host=a password=secret service=x",
        "host=a hostaddr=1,2 password=secret",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *error = take(texts[i]);

        ck_assert_msg(error, "%s was taken", texts[i]);
        ck_assert_msg(!strstr(error, "secret"), "%s", error);
    }
}
END_TEST

START_TEST(pg_address_reads_a_password_from_its_file)
{
    char path[] = "/tmp/cp-password-XXXXXX";
    int fd = mkstemp(path);

    ck_assert(write(fd, "pa ss\nrest\n", 11) == 11);
    close(fd);
    ck_assert_ptr_null(take(apr_psprintf(pool, "host=a password=@%s", path)));
    ck_assert_str_eq(passed("password"), "pa ss");
    unlink(path);
    ck_assert_ptr_nonnull(
        strstr(take(apr_psprintf(pool, "host=a password=@%s", path)),
               "cannot be read"));
}
END_TEST

START_TEST(pg_address_verifies_servers_beyond_the_machine)
{
    ck_assert_ptr_null(take("host=db.example dbname=app"));
    cp_pg_complete_address(pool, &config);
    ck_assert_str_eq(passed("sslmode"), "verify-full");
    ck_assert_ptr_nonnull(passed("sslrootcert"));
    ck_assert_str_eq(passed("dbname"), "app");

    ck_assert_ptr_null(take("host=db.example sslmode=disable"));
    cp_pg_complete_address(pool, &config);
    ck_assert_str_eq(passed("sslmode"), "disable");
    ck_assert_ptr_null(passed("sslrootcert"));

    ck_assert_ptr_null(take("host=/run/postgresql"));
    cp_pg_complete_address(pool, &config);
    ck_assert_str_ne(passed("sslmode"), "verify-full");
}
END_TEST

START_TEST(pg_address_refuses_keys_that_do_not_fit)
{
    ck_assert_ptr_null(take("host=a"));
    config.writers = 2;
    ck_assert_ptr_nonnull(
        strstr(cp_pg_check_address(pool, &config), "writers="));
    ck_assert_ptr_null(take("host=a target_session_attrs=any"));
    config.read = CP_PG_READ_STANDBY;
    ck_assert_ptr_nonnull(
        strstr(cp_pg_check_address(pool, &config), "read=standby"));
    ck_assert_ptr_null(take("host=a options='-c work_mem=1MB'"));
    config.pooler = CP_PG_POOLER_TRANSACTION;
    ck_assert_ptr_nonnull(
        strstr(cp_pg_check_address(pool, &config), "options="));
    ck_assert_ptr_nonnull(strstr(take("host=a target_session_attrs=best"),
                                 "target_session_attrs="));
    ck_assert_ptr_nonnull(strstr(take("host=a connect_timeout=3"), "connect="));
}
END_TEST

Suite *pg_address_suite(void)
{
    Suite *suite = suite_create("pg_address");
    TCase *tcase = tcase_create("address");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, pg_address_reads_words_and_uris);
    tcase_add_test(tcase, pg_address_never_shows_a_password);
    tcase_add_test(tcase, pg_address_reads_a_password_from_its_file);
    tcase_add_test(tcase, pg_address_verifies_servers_beyond_the_machine);
    tcase_add_test(tcase, pg_address_refuses_keys_that_do_not_fit);
    suite_add_tcase(suite, tcase);
    return suite;
}
