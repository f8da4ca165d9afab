/* SPDX-License-Identifier: Apache-2.0
 * The handler connpool-openapi, and the document that it answers. */
#ifndef CONNPOOL_OPENAPI_H
#define CONNPOOL_OPENAPI_H

#include "glue.h"

#include <apr_file_io.h>

int connpool_openapi_handler(request_rec *r);

/** What this server serves, as an OpenAPI 3.1 document: nothing but the
 * configuration is looked at. Servings whose URL nobody can know (patterns,
 * files, directories outside the DocumentRoot) are left out.
 * @return JSON text in p; NULL: no memory */
const char *connpool_openapi_document(apr_pool_t *p, server_rec *s);

/** DUMP_CONNPOOL_OPENAPI: the document of the main server, and one behind it
 * for each virtual host that serves something of its own.
 * @return 0, or else there was no memory */
int connpool_openapi_dump(apr_pool_t *p, server_rec *main_server,
                          apr_file_t *out);

#endif
