/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include <apr_pools.h>

#include "http/upstream/address.h"
#include "http/upstream/upstream.h"
#include "suites.h"

static cp_address_scope_t scope_of(const char *text)
{
    struct sockaddr_storage storage;
    memset(&storage, 0, sizeof(storage));
    struct sockaddr_in *in = (struct sockaddr_in *)&storage;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&storage;
    if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
    }
    else {
        ck_assert_msg(inet_pton(AF_INET6, text, &in6->sin6_addr) == 1, "%s",
                      text);
        in6->sin6_family = AF_INET6;
    }
    return cp_address_scope((struct sockaddr *)&storage);
}

typedef struct scope_case_t {
    const char *address;
    cp_address_scope_t scope;
} scope_case_t;

static void check_scopes(const scope_case_t *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cp_address_scope_t scope = scope_of(cases[i].address);
        ck_assert_msg(scope == cases[i].scope, "%s is %s, expected %s",
                      cases[i].address, cp_address_scope_name(scope),
                      cp_address_scope_name(cases[i].scope));
    }
}

START_TEST(v4_scope_is_right_on_both_sides_of_every_border)
{
    static const scope_case_t cases[] = {
        {"0.0.0.0", CP_ADDRESS_RESERVED},
        {"0.255.255.255", CP_ADDRESS_RESERVED},
        {"1.0.0.0", CP_ADDRESS_PUBLIC},
        {"9.255.255.255", CP_ADDRESS_PUBLIC},
        {"10.0.0.0", CP_ADDRESS_PRIVATE},
        {"10.255.255.255", CP_ADDRESS_PRIVATE},
        {"11.0.0.0", CP_ADDRESS_PUBLIC},
        {"100.63.255.255", CP_ADDRESS_PUBLIC},
        {"100.64.0.0", CP_ADDRESS_PRIVATE},
        {"100.127.255.255", CP_ADDRESS_PRIVATE},
        {"100.128.0.0", CP_ADDRESS_PUBLIC},
        {"126.255.255.255", CP_ADDRESS_PUBLIC},
        {"127.0.0.1", CP_ADDRESS_LOOPBACK},
        {"127.255.255.255", CP_ADDRESS_LOOPBACK},
        {"128.0.0.0", CP_ADDRESS_PUBLIC},
        {"169.253.255.255", CP_ADDRESS_PUBLIC},
        {"169.254.169.254", CP_ADDRESS_LINK_LOCAL},
        {"169.255.0.0", CP_ADDRESS_PUBLIC},
        {"172.15.255.255", CP_ADDRESS_PUBLIC},
        {"172.16.0.0", CP_ADDRESS_PRIVATE},
        {"172.31.255.255", CP_ADDRESS_PRIVATE},
        {"172.32.0.0", CP_ADDRESS_PUBLIC},
        {"192.0.0.192", CP_ADDRESS_RESERVED},
        {"192.0.1.0", CP_ADDRESS_PUBLIC},
        {"192.0.2.1", CP_ADDRESS_RESERVED},
        {"192.88.99.1", CP_ADDRESS_RESERVED},
        {"192.167.255.255", CP_ADDRESS_PUBLIC},
        {"192.168.0.0", CP_ADDRESS_PRIVATE},
        {"192.168.255.255", CP_ADDRESS_PRIVATE},
        {"192.169.0.0", CP_ADDRESS_PUBLIC},
        {"198.17.255.255", CP_ADDRESS_PUBLIC},
        {"198.18.0.0", CP_ADDRESS_RESERVED},
        {"198.19.255.255", CP_ADDRESS_RESERVED},
        {"198.20.0.0", CP_ADDRESS_PUBLIC},
        {"198.51.100.7", CP_ADDRESS_RESERVED},
        {"203.0.113.7", CP_ADDRESS_RESERVED},
        {"223.255.255.255", CP_ADDRESS_PUBLIC},
        {"224.0.0.0", CP_ADDRESS_MULTICAST},
        {"239.255.255.255", CP_ADDRESS_MULTICAST},
        {"240.0.0.0", CP_ADDRESS_RESERVED},
        {"255.255.255.255", CP_ADDRESS_RESERVED},
        {"8.8.8.8", CP_ADDRESS_PUBLIC},
    };
    check_scopes(cases, sizeof(cases) / sizeof(cases[0]));
}
END_TEST

START_TEST(v6_scope_is_right_on_both_sides_of_every_border)
{
    static const scope_case_t cases[] = {
        {"::", CP_ADDRESS_RESERVED},
        {"::1", CP_ADDRESS_LOOPBACK},
        {"100::1", CP_ADDRESS_RESERVED},
        {"2000::", CP_ADDRESS_PUBLIC},
        {"2001::1", CP_ADDRESS_RESERVED},
        {"2001:1ff:ffff::", CP_ADDRESS_RESERVED},
        {"2001:200::", CP_ADDRESS_PUBLIC},
        {"2001:db7:ffff::", CP_ADDRESS_PUBLIC},
        {"2001:db8::1", CP_ADDRESS_RESERVED},
        {"2001:db9::", CP_ADDRESS_PUBLIC},
        {"2606:4700:4700::1111", CP_ADDRESS_PUBLIC},
        {"3fff:fff:ffff::", CP_ADDRESS_RESERVED},
        {"3fff:1000::", CP_ADDRESS_PUBLIC},
        {"5f00::1", CP_ADDRESS_RESERVED},
        {"fbff:ffff::", CP_ADDRESS_PUBLIC},
        {"fc00::", CP_ADDRESS_PRIVATE},
        {"fd00:ec2::254", CP_ADDRESS_PRIVATE},
        {"fdff:ffff::", CP_ADDRESS_PRIVATE},
        {"fe00::", CP_ADDRESS_PUBLIC},
        {"fe7f:ffff::", CP_ADDRESS_PUBLIC},
        {"fe80::1", CP_ADDRESS_LINK_LOCAL},
        {"febf:ffff::", CP_ADDRESS_LINK_LOCAL},
        {"fec0::1", CP_ADDRESS_PRIVATE},
        {"ff00::", CP_ADDRESS_MULTICAST},
        {"ff02::1", CP_ADDRESS_MULTICAST},
        {"64:ff9b:1::1", CP_ADDRESS_PRIVATE},
    };
    check_scopes(cases, sizeof(cases) / sizeof(cases[0]));
}
END_TEST

START_TEST(v4_address_inside_a_v6_address_decides)
{
    static const scope_case_t cases[] = {
        {"::ffff:127.0.0.1", CP_ADDRESS_LOOPBACK},
        {"::ffff:7f00:1", CP_ADDRESS_LOOPBACK},
        {"::ffff:10.1.2.3", CP_ADDRESS_PRIVATE},
        {"::ffff:169.254.169.254", CP_ADDRESS_LINK_LOCAL},
        {"::ffff:0.0.0.0", CP_ADDRESS_RESERVED},
        {"::ffff:8.8.8.8", CP_ADDRESS_PUBLIC},
        {"::127.0.0.1", CP_ADDRESS_LOOPBACK},
        {"::7f00:1", CP_ADDRESS_LOOPBACK},
        {"::192.168.1.1", CP_ADDRESS_PRIVATE},
        {"::ffff:0:127.0.0.1", CP_ADDRESS_LOOPBACK},
        {"64:ff9b::127.0.0.1", CP_ADDRESS_LOOPBACK},
        {"64:ff9b::a9fe:a9fe", CP_ADDRESS_LINK_LOCAL},
        {"64:ff9b::8.8.8.8", CP_ADDRESS_PUBLIC},
        {"2002:7f00:1::", CP_ADDRESS_LOOPBACK},
        {"2002:a00:1::1", CP_ADDRESS_PRIVATE},
        {"2002:a9fe:a9fe::", CP_ADDRESS_LINK_LOCAL},
        {"2002:808:808::", CP_ADDRESS_PUBLIC},
    };
    check_scopes(cases, sizeof(cases) / sizeof(cases[0]));
}
END_TEST

/* What a resolver makes of the forms that look like no loopback address. */
START_TEST(disguised_loopback_is_never_public_nor_literal)
{
    static const char *const hosts[] = {
        "2130706433",   "0x7f.1",  "0177.0.0.1", "127.1", "0x7f000001",
        "017700000001", "127.0.1", "0",          "0x0",
    };
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        ck_assert_msg(!cp_address_is_literal(hosts[i]), "%s", hosts[i]);
        struct addrinfo *found = NULL;
        struct addrinfo hints = {.ai_flags = AI_NUMERICHOST};
        ck_assert_msg(getaddrinfo(hosts[i], NULL, &hints, &found) == 0, "%s",
                      hosts[i]);
        cp_address_scope_t scope = cp_address_scope(found->ai_addr);
        ck_assert_msg(scope == CP_ADDRESS_LOOPBACK
                          || scope == CP_ADDRESS_RESERVED,
                      "%s is %s", hosts[i], cp_address_scope_name(scope));
        freeaddrinfo(found);
    }
}
END_TEST

START_TEST(other_families_are_reserved)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/x"};
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    ck_assert_int_eq(cp_address_scope((struct sockaddr *)&local),
                     CP_ADDRESS_RESERVED);
    ck_assert_int_eq(cp_address_scope(&none), CP_ADDRESS_RESERVED);
}
END_TEST

START_TEST(literal_is_what_needs_no_resolver)
{
    static const char *const literal[] = {
        "127.0.0.1",
        "8.8.8.8",
        "::1",
        "[::1]",
        "[::ffff:7f00:1]",
        "::ffff:127.0.0.1",
        "[2001:db8:1111:2222:3333:4444:255.255.255.255]",
    };
    static const char *const not_literal[] = {
        "",
        "localhost",
        "127.0.0.1.",
        "127.0.0.01",
        "127.0.0.256",
        " 127.0.0.1",
        "127.0.0.1 ",
        "1.2.3",
        "1.2.3.4.5",
        "[127.0.0.1]",
        "[::1",
        "::1]",
        "[]",
        "[[::1]]",
        "fe80::1%lo",
        "[fe80::1%25lo]",
        "[::1]x",
        "::1::",
        "%31.2.3.4",
        "[",
        "\xe2\x91\xa0\xe2\x91\xa1\xe2\x91\xa6.\xe2\x93\xaa.\xe2\x93\xaa.1",
        "[2001:db8:1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa]",
    };
    for (size_t i = 0; i < sizeof(literal) / sizeof(literal[0]); i++) {
        ck_assert_msg(cp_address_is_literal(literal[i]), "%s", literal[i]);
    }
    for (size_t i = 0; i < sizeof(not_literal) / sizeof(not_literal[0]); i++) {
        ck_assert_msg(!cp_address_is_literal(not_literal[i]), "%s",
                      not_literal[i]);
    }
}
END_TEST

/* --- names --- */

static apr_pool_t *resolving;

static void begin_resolving(void)
{
    apr_pool_create(&resolving, NULL);
}

static void end_resolving(void)
{
    apr_pool_destroy(resolving);
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
    ck_assert_ptr_null(cp_upstream_check_url(resolving, url, &origin));
    problem = cp_upstream_resolve(resolving, &config, origin, note, found);
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

Suite *address_suite(void)
{
    Suite *suite = suite_create("address");
    TCase *tc = tcase_create("address");
    tcase_add_test(tc, v4_scope_is_right_on_both_sides_of_every_border);
    tcase_add_test(tc, v6_scope_is_right_on_both_sides_of_every_border);
    tcase_add_test(tc, v4_address_inside_a_v6_address_decides);
    tcase_add_test(tc, disguised_loopback_is_never_public_nor_literal);
    tcase_add_test(tc, other_families_are_reserved);
    tcase_add_test(tc, literal_is_what_needs_no_resolver);
    suite_add_tcase(suite, tc);
    tc = tcase_create("resolve");
    tcase_add_checked_fixture(tc, begin_resolving, end_resolving);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, literal_addresses_are_their_own);
    tcase_add_test(tc, addresses_are_judged_as_by_a_fetch);
    tcase_add_test(tc, a_name_that_is_none_is_told);
    suite_add_tcase(suite, tc);
    return suite;
}
