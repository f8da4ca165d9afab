/* SPDX-License-Identifier: Apache-2.0
 * Every suite of the `unit` binary. Weak, so that a binary linked with only
 * some of the test files still links: main.c skips what is not there. */
#ifndef SUITES_H
#define SUITES_H

#include <check.h>

#define SUITE(name) Suite *name##_suite(void) __attribute__((weak))

SUITE(number);
SUITE(utf8);
SUITE(option);
SUITE(origin);
SUITE(scan);
SUITE(check);
SUITE(page);
SUITE(fork);
SUITE(value);
SUITE(encode);
SUITE(json);
SUITE(column);
SUITE(web);
SUITE(address);
SUITE(clock);
SUITE(gate);
SUITE(group);
SUITE(pool);
SUITE(rate);
SUITE(permits);
SUITE(stats);
SUITE(segment);
SUITE(succession);
SUITE(error);
SUITE(condition);
SUITE(recent);
SUITE(state);
SUITE(standing);
SUITE(breaker);
SUITE(sqlite);
SUITE(sqlite_time);
SUITE(log);
SUITE(http);
SUITE(loop);
SUITE(transfer);
SUITE(kept);
SUITE(gunzip);
SUITE(upload);
SUITE(inherit);
SUITE(hash);
SUITE(flight);
SUITE(key);
SUITE(entry);
SUITE(store);
SUITE(sentinel);
SUITE(schema);
SUITE(seam);
SUITE(pg_sql);
SUITE(pg_json);
SUITE(pg_state);
SUITE(pg_address);

#undef SUITE

#endif
