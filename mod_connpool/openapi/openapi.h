/* SPDX-License-Identifier: Apache-2.0
 * The handler connpool-openapi, and the document that it answers. */
#ifndef CONNPOOL_OPENAPI_H
#define CONNPOOL_OPENAPI_H

#include "glue.h"

int connpool_openapi_handler(request_rec *r);

/** What this server serves, as an OpenAPI 3.1 document: nothing but the
 * configuration is looked at. Servings whose URL nobody can know (patterns,
 * files, directories outside the DocumentRoot) are left out.
 * @return JSON text in p; NULL: no memory */
const char *connpool_openapi_document(apr_pool_t *p, server_rec *s);

/** Does this virtual host serve something that the main server does not? */
int connpool_openapi_is_own(server_rec *s);

#endif
