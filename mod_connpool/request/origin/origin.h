/* SPDX-License-Identifier: Apache-2.0
 * Whose pages may ask, and write: ConnPoolOrigins at work. */
#ifndef CONNPOOL_REQUEST_ORIGIN_H
#define CONNPOOL_REQUEST_ORIGIN_H

#include "glue.h"

/** Does ConnPoolOrigins say anything here? */
int connpool_origin_is_ruled(request_rec *r);

/** Put what tells browsers who may read the answer on any answer that the
 * request will get, errors included. More than once is harmless. */
void connpool_origin_announce(request_rec *r);

/** A browser asks whether a page may make a request, where ConnPoolOrigins
 * says who may: OPTIONS with the method that is meant. */
int connpool_origin_is_preflight(request_rec *r);

/** May pages of the origin that this request names ask here? */
int connpool_origin_is_welcome(request_rec *r);

/** 204, with the methods that are allowed ("GET, HEAD"), and the headers that
 * the browser asked for: who does not want one does not look at it. */
void connpool_origin_allow(request_rec *r, const char *methods);

/** Is it a header that ConnPoolOrigins sets here, so that nobody else may? */
int connpool_origin_owns(request_rec *r, const char *header);

/** A page that may not write here makes its reader's browser ask. */
int connpool_is_cross_site(request_rec *r);

/** What others say in Vary, and this, is one header: caches look at the first.
 * Call where an answer begins. */
void connpool_origin_watch(request_rec *r);
void connpool_origin_register(void);

#endif
