/* SPDX-License-Identifier: Apache-2.0
 * The origins that are this very server's. */
#ifndef CONNPOOL_REQUEST_OWN_H
#define CONNPOOL_REQUEST_OWN_H

#include "glue.h"

struct cp_origin_t;

/** Is this what browsers call the server that they ask? By its name and that of
 * the request; behind a proxy of ConnPoolTrustedProxies by what that was
 * called, too. */
int connpool_origin_is_own(request_rec *r, const struct cp_origin_t *origin);

#endif
