/* SPDX-License-Identifier: Apache-2.0
 * A part of a request's path in the encoding that it came in. */
#ifndef CONNPOOL_PATH_H
#define CONNPOOL_PATH_H

#include "glue.h"

/** The end of r->uri (or r->path_info) as the client has encoded it. */
const char *connpool_encoded_tail(request_rec *r, const char *tail);

/** The same, to be cut at its slashes: what the client has encoded stays so,
 * slashes too. NULL: somebody has rewritten the path, and nobody can tell any
 * more which of its slashes were the client's. */
const char *connpool_raw_tail(request_rec *r, const char *tail);

#endif
