/* SPDX-License-Identifier: Apache-2.0
 * A pool that lends nothing says why: once, with everything that the next
 * question would ask for. */
#ifndef CP_REFUSE_H
#define CP_REFUSE_H

#include <apr_errno.h>

struct cp_error_t;
struct cp_pool_t;

/* Which limit it was, beside the indices of the shared gates. */
#define CP_OWN_LIMIT    (-1)
#define CP_SERVER_LIMIT (-2)

/** Count the refusal, and say in err and, rate-limited, in the log how long
 * somebody waited and how full it is.
 * @param rv APR_TIMEUP, APR_ENOSPC, APR_EOF
 * @return rv */
apr_status_t cp_pool_refuse(struct cp_pool_t *pool, int limit, apr_status_t rv,
                            struct cp_error_t *err);

#endif
