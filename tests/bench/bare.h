/* SPDX-License-Identifier: Apache-2.0
 * The bare way to a database: what a module of one's own would do at least. */
#ifndef BENCH_BARE_H
#define BENCH_BARE_H

#include <apr_pools.h>
#include <httpd.h>

typedef struct bench_bare_t bench_bare_t;

/* Before a configuration is read. */
void bench_bare_forget(void);

/* A pool of at most max connections to the file, each with its statement. To be
 * called while the configuration is read. */
bench_bare_t *bench_bare_define(apr_pool_t *p, const char *path,
                                const char *sql, int max);

/* The pools of all that was defined. */
void bench_bare_child_init(apr_pool_t *p);

/* ?first=1, or ?first=1&last=50: they are bound in this order. */
int bench_bare_answer(request_rec *r, bench_bare_t *bare);
#endif
