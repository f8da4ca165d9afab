/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <apr_pools.h>
#include <apr_strings.h>

#include "answers/web/coding.h"
#include "answers/web/condition.h"
#include "answers/web/disposition.h"
#include "answers/web/location.h"
#include "answers/web/media.h"
#include "answers/web/range.h"
#include "suites.h"

#define COUNT(array) (sizeof(array) / sizeof(array[0]))

static apr_pool_t *pool;

static void set_up(void)
{
    apr_pool_create(&pool, NULL);
}

static void tear_down(void)
{
    apr_pool_destroy(pool);
}

/* --- media types --- */

START_TEST(media_type_is_told_from_nonsense)
{
    static const char *const valid[] = {
        "image/png",
        "application/vnd.mapbox-vector-tile",
        "image/svg+xml",
        "text/html; charset=utf-8",
        "text/html ;\tcharset=\"utf-8\" ; x=\"a\\\"b\"",
        "A/B;c=d",
    };
    static const char *const invalid[] = {
        "",
        "png",
        "/png",
        "image/",
        "image/*",
        "*/*",
        "image/png;",
        "image/png x",
        "image/png;x",
        "image/png;=x",
        "image/png;x=",
        "image/png;x=\"",
        "image/png;x=\"a\\",
        "image /png",
        "a/b\r\nX: y",
        "a/b;x=\"\n\"",
        "a/b, c/d",
        "text/html;charset=utf 8",
        "\xc3\xa9/x",
        "a/b\x7f",
    };

    for (size_t i = 0; i < COUNT(valid); i++) {
        ck_assert_msg(cp_media_is_valid(valid[i]), "%s", valid[i]);
    }
    for (size_t i = 0; i < COUNT(invalid); i++) {
        ck_assert_msg(!cp_media_is_valid(invalid[i]), "%s", invalid[i]);
    }
    ck_assert(!cp_media_is_valid(
        apr_pstrcat(pool, "a/", apr_psprintf(pool, "%0300d", 1), NULL)));
}
END_TEST

START_TEST(text_has_a_charset)
{
    static const char *const cases[][2] = {
        {"text/css", "text/css; charset=utf-8"},
        {"Text/HTML", "Text/HTML; charset=utf-8"},
        {"text/html; charset=latin1", "text/html; charset=latin1"},
        {"text/html;x=y; Charset=latin1", "text/html;x=y; Charset=latin1"},
        {"text/html;xcharset=1", "text/html;xcharset=1; charset=utf-8"},
        {"application/json", "application/json"},
        {"image/svg+xml", "image/svg+xml"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        ck_assert_str_eq(cp_media_complete(pool, cases[i][0]), cases[i][1]);
    }
}
END_TEST

/* --- file names --- */

static const char *named(const char *name, size_t size)
{
    return cp_disposition(pool, name, size);
}

START_TEST(file_name_cannot_leave_its_header)
{
    static const char *const cases[][2] = {
        {"a.txt", "attachment; filename=\"a.txt\""},
        {"a b.txt", "attachment; filename=\"a b.txt\""},
        {"a\r\nX: y", "attachment; filename=\"aX: y\""},
        {"a\"b", "attachment; filename=\"a_b\"; filename*=UTF-8''a%22b"},
        {"a\\b/c", "attachment; filename=\"a_b_c\""},
        {"100%.txt",
         "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"},
        {"\xc3\xa9'()*.txt", "attachment; filename=\"_'()*.txt\"; "
                             "filename*=UTF-8''%C3%A9%27%28%29%2A.txt"},
        {"\xe2\x80\xaetxt.exe", "attachment; filename=\"txt.exe\""},
        {"\xe2\x81\xa6x\xe2\x80\x8f\xc2\x85", "attachment; filename=\"x\""},
        {"\xff", "attachment; filename=\"_\"; filename*=UTF-8''%EF%BF%BD"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        ck_assert_str_eq(named(cases[i][0], strlen(cases[i][0])), cases[i][1]);
    }
    ck_assert_str_eq(named("a\0b", 3), "attachment; filename=\"ab\"");
    ck_assert_ptr_null(named("", 0));
    ck_assert_ptr_null(named("\0\n", 2));
}
END_TEST

START_TEST(long_file_name_is_cut_between_characters)
{
    char name[400];

    memset(name, 'a', 254);
    memcpy(name + 254, "\xc3\xa9", 2);
    ck_assert_str_eq(
        named(name, 256),
        apr_psprintf(pool, "attachment; filename=\"%.254s\"", name));
}
END_TEST

/* --- codings --- */

START_TEST(gzip_is_accepted_where_it_is_named)
{
    static const char *const yes[] = {
        "gzip", "br, GZIP",        "x-gzip;q=0.1",
        "*",    "deflate,*;q=0.5", " gzip ; q=1.000 ,br",
    };
    static const char *const no[] = {
        "",      "br",       "gzip;q=0", "gzip;q=0.0", "gzip ; Q=0.000 , *",
        "*;q=0", "identity", "gzipped",  "agzip",      ",,,",
    };

    for (size_t i = 0; i < COUNT(yes); i++) {
        ck_assert_msg(cp_coding_accepts_gzip(yes[i]), "%s", yes[i]);
    }
    for (size_t i = 0; i < COUNT(no); i++) {
        ck_assert_msg(!cp_coding_accepts_gzip(no[i]), "%s", no[i]);
    }
    ck_assert(!cp_coding_accepts_gzip(NULL));
    ck_assert(!cp_coding_is_gzip("\x1f\x8b\x08", 3));
    ck_assert(cp_coding_is_gzip("\x1f\x8b\x08...............", 18));
    ck_assert(!cp_coding_is_gzip("\x1f\x8b\x07...............", 18));
}
END_TEST

/* --- ranges --- */

START_TEST(ranges_beyond_the_end_are_known)
{
    static const char *const beyond[] = {
        "bytes=10-",
        "bytes=10-20",
        "Bytes= 10-11 , 99999999999999999999999-",
        "bytes=-0",
    };
    static const char *const others[] = {
        "bytes=9-",       "bytes=0-0",  "bytes=-1",  "bytes=10-,0-",
        "bytes=20-10",    "bytes=x-",   "bytes=-",   "bytes=",
        "bytes=10",       "bytes=10-;", "lines=10-", "bytes=10-,",
        "bytes=10-20-30",
    };

    for (size_t i = 0; i < COUNT(beyond); i++) {
        ck_assert_msg(cp_range_is_beyond(beyond[i], 10), "%s", beyond[i]);
    }
    for (size_t i = 0; i < COUNT(others); i++) {
        ck_assert_msg(!cp_range_is_beyond(others[i], 10), "%s", others[i]);
    }
    ck_assert(!cp_range_is_beyond(NULL, 10));
    ck_assert(cp_range_is_beyond("bytes=0-", 0));
    ck_assert(cp_range_is_beyond("bytes=-5", 0));
}
END_TEST

/* --- preconditions --- */

START_TEST(expression_says_which_precondition_it_reads)
{
    static const struct {
        const char *expression;
        unsigned bits;
    } cases[] = {
        {"%{HTTP:If-Match}", CP_IF_MATCH},
        {"%{http:if-match}", CP_IF_MATCH},
        {"x%{req:If-Match}y", CP_IF_MATCH},
        {"%{req_novary:If-Match}", CP_IF_MATCH},
        {"%{unescape:%{HTTP:If-Match}}", CP_IF_MATCH},
        {"req('If-Match')", CP_IF_MATCH},
        {"! http( \"If-None-Match\" )", CP_IF_NONE_MATCH},
        {"%{HTTP:If-Unmodified-Since}", CP_IF_UNMODIFIED_SINCE},
        {"%{HTTP:If-Match}%{HTTP:If-None-Match}",
         CP_IF_MATCH | CP_IF_NONE_MATCH},
        {"%{HTTP:X-If-Match}", 0},
        {"%{HTTP:If-Match-Me}", 0},
        {"%{HTTP:If_Match}", 0},
        {"%{resp:If-Match}", 0},
        {"%{env:If-Match}", 0},
        {"%{myHTTP:If-Match}", 0},
        {"If-Match", 0},
        {"'If-Match'", 0},
        {"", 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        ck_assert_msg(cp_preconditions_read(cases[i].expression)
                          == cases[i].bits,
                      "%s", cases[i].expression);
    }
}
END_TEST

/* --- places --- */

static const cp_value_t *value_of(void *baton, const cp_location_part_t *part)
{
    return baton;
}

static const char *filled(const char *text, const cp_value_t *value)
{
    apr_array_header_t *parts;

    ck_assert_ptr_null(cp_location_parse(pool, text, &parts));
    return cp_location_fill(pool, parts, value_of, (void *)value);
}

static const char *with_text(const char *data, size_t size)
{
    cp_value_t value = {.storage = CP_TEXT, .as.bytes = {data, size}};

    return filled("/a/{:x}", &value);
}

START_TEST(template_is_a_path_with_names)
{
    static const char *const wrong[] = {
        "",     "a",    "//a",    "http://a/", "/a b",  "/\xc3\xa9",
        "/%",   "/%g0", "/a\n",   "/{",        "/{a",   "/{}",
        "/{:}", "/}",   "/{{a}}", "/a\"",      "/a<b>", "/a\\b",
    };
    apr_array_header_t *parts;
    const cp_location_part_t *part;

    for (size_t i = 0; i < COUNT(wrong); i++) {
        ck_assert_msg(cp_location_parse(pool, wrong[i], &parts) != NULL, "%s",
                      wrong[i]);
    }
    ck_assert_ptr_null(cp_location_parse(
        pool, "/a/{last_insert_rowid}{changes}?b={:c}&d={e}#%41", &parts));
    ck_assert_int_eq(parts->nelts, 9);
    part = (const cp_location_part_t *)parts->elts;
    ck_assert_str_eq(part[0].text, "/a/");
    ck_assert_int_eq(part[1].kind, CP_LOCATION_ROWID);
    ck_assert_str_eq(part[2].text, "");
    ck_assert_int_eq(part[3].kind, CP_LOCATION_CHANGES);
    ck_assert_int_eq(part[5].kind, CP_LOCATION_PARAM);
    ck_assert_str_eq(part[5].text, "c");
    ck_assert_int_eq(part[7].kind, CP_LOCATION_COLUMN);
    ck_assert_str_eq(part[7].text, "e");
    ck_assert_str_eq(part[8].text, "#%41");
}
END_TEST

START_TEST(values_are_encoded_into_the_path)
{
    cp_value_t number = {.storage = CP_INTEGER, .as.integer = -42};
    cp_value_t real = {.storage = CP_REAL, .as.real = 1.5};
    cp_value_t null = {.storage = CP_NULL};

    ck_assert_str_eq(with_text("a-._~Z9", 7), "/a/a-._~Z9");
    ck_assert_str_eq(with_text("/?#%\r\n\0\xff", 8),
                     "/a/%2F%3F%23%25%0D%0A%00%FF");
    ck_assert_str_eq(with_text("...", 3), "/a/...");
    ck_assert_str_eq(filled("/a/{b}", &number), "/a/-42");
    ck_assert_str_eq(filled("/a/{b}", &real), "/a/1.5");
    ck_assert_ptr_null(filled("/a/{b}", &null));
    ck_assert_ptr_null(filled("/a/{b}", NULL));
    ck_assert_ptr_null(with_text("", 0));
    ck_assert_ptr_null(with_text(".", 1));
    ck_assert_ptr_null(with_text("..", 2));
    ck_assert_ptr_null(with_text(apr_psprintf(pool, "%05000d", 0), 5000));
    ck_assert_ptr_null(with_text(apr_psprintf(pool, "%2000s", " "), 2000));
    ck_assert_str_eq(filled("/a", NULL), "/a");
}
END_TEST

Suite *web_suite(void)
{
    Suite *s = suite_create("web");
    TCase *tc = tcase_create("web");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, media_type_is_told_from_nonsense);
    tcase_add_test(tc, text_has_a_charset);
    tcase_add_test(tc, file_name_cannot_leave_its_header);
    tcase_add_test(tc, long_file_name_is_cut_between_characters);
    tcase_add_test(tc, gzip_is_accepted_where_it_is_named);
    tcase_add_test(tc, ranges_beyond_the_end_are_known);
    tcase_add_test(tc, expression_says_which_precondition_it_reads);
    tcase_add_test(tc, template_is_a_path_with_names);
    tcase_add_test(tc, values_are_encoded_into_the_path);
    suite_add_tcase(s, tc);
    return s;
}
