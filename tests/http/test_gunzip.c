/* SPDX-License-Identifier: Apache-2.0
 * Decoding gzip with as much room as there is, however the data come. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "http/job/gunzip.h"
#include "suites.h"

#define PLAIN ((size_t)200000)

static char plain[PLAIN];
static char packed[2 * PLAIN];
static size_t packed_size;
static char out[2 * PLAIN];

/* One more member behind what is packed. */
static void pack(size_t size)
{
    z_stream z;

    memset(&z, 0, sizeof(z));
    ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, 0), Z_OK);
    z.next_in = (Bytef *)plain;
    z.avail_in = (uInt)size;
    z.next_out = (Bytef *)packed + packed_size;
    z.avail_out = (uInt)(sizeof(packed) - packed_size);
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    packed_size += z.total_out;
    deflateEnd(&z);
}

static void setup(void)
{
    for (size_t i = 0; i < PLAIN; i++) {
        plain[i] = (char)((i * i) >> 7);
    }
    packed_size = 0;
    pack(PLAIN);
}

/* Decode so many bytes, in portions of data and of room; -1: damaged. */
static long decode(size_t size, size_t portion, size_t room, int *pcomplete)
{
    cp_gunzip_t *gunzip = cp_gunzip_create();
    size_t given = 0, total = 0, got = room;
    cp_gunzip_state_t state = CP_GUNZIP_GOING;

    while (state == CP_GUNZIP_GOING && (given < size || got == room)) {
        const char *at = packed + given;
        size_t left = size - given < portion ? size - given : portion;

        got = room;
        ck_assert_uint_le(total + got, sizeof(out));
        state = cp_gunzip_run(gunzip, &at, &left, out + total, &got);
        ck_assert_uint_le(got, room);
        given = (size_t)(at - packed);
        total += got;
    }
    *pcomplete = cp_gunzip_is_complete(gunzip);
    cp_gunzip_free(gunzip);
    return state == CP_GUNZIP_GOING ? (long)total : -1;
}

START_TEST(portions_do_not_matter)
{
    static const size_t sizes[] = {1, 7, 4096, 100000, PLAIN};
    int is_complete;

    for (int i = 0; i < 25; i++) {
        memset(out, 0, sizeof(out));
        ck_assert_int_eq(
            decode(packed_size, sizes[i / 5], sizes[i % 5], &is_complete),
            PLAIN);
        ck_assert_int_eq(is_complete, 1);
        ck_assert_int_eq(memcmp(out, plain, PLAIN), 0);
    }
}
END_TEST

START_TEST(members_follow_each_other)
{
    size_t first = packed_size;
    int is_complete;

    pack(1000);
    ck_assert_int_eq(decode(packed_size, 100, 100, &is_complete), PLAIN + 1000);
    ck_assert_int_eq(is_complete, 1);
    for (size_t size = first + 1; size < packed_size; size++) {
        ck_assert_int_ge(decode(size, 100000, 100000, &is_complete), PLAIN);
        ck_assert_int_eq(is_complete, 0);
    }
}
END_TEST

START_TEST(a_cut_is_never_complete)
{
    int is_complete;

    packed_size = 0;
    pack(500);
    for (size_t size = 0; size < packed_size; size++) {
        ck_assert_int_ge(decode(size, 1 + size % 7, 64, &is_complete), 0);
        ck_assert_int_eq(is_complete, 0);
    }
}
END_TEST

START_TEST(damage_is_told_or_changes_nothing)
{
    int is_complete, told = 0;

    packed_size = 0;
    pack(300);
    for (size_t i = 0; i < packed_size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            packed[i] ^= (char)(1 << bit);
            memset(out, 0, sizeof(out));
            if (decode(packed_size, 50, 50, &is_complete) < 0 || !is_complete) {
                told++;
            }
            else { /* nothing that the data depend on */
                ck_assert_int_eq(memcmp(out, plain, 300), 0);
            }
            packed[i] ^= (char)(1 << bit);
        }
    }
    ck_assert_int_gt(told, (int)(packed_size - 10) * 7);
}
END_TEST

START_TEST(nothing_else_may_follow)
{
    int is_complete;

    packed[packed_size++] = _i == 0 ? '\0' : 'x';
    packed[packed_size++] = _i == 0 ? '\0' : 'y';
    ck_assert_int_eq(decode(packed_size, 1000, 1000, &is_complete), -1);
}
END_TEST

Suite *gunzip_suite(void)
{
    Suite *suite = suite_create("gunzip");
    TCase *tcase = tcase_create("gunzip");

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, portions_do_not_matter);
    tcase_add_test(tcase, members_follow_each_other);
    tcase_add_test(tcase, a_cut_is_never_complete);
    tcase_add_test(tcase, damage_is_told_or_changes_nothing);
    tcase_add_loop_test(tcase, nothing_else_may_follow, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}
