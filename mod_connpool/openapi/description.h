/* SPDX-License-Identifier: Apache-2.0
 * What the administrator says of a server's endpoints, for those who use them.
 */
#ifndef CONNPOOL_DESCRIPTION_H
#define CONNPOOL_DESCRIPTION_H

#include "glue.h"

typedef struct connpool_description_t {
    const char *name;  /* of a query or an upstream; "*": the server itself */
    const char *param; /* of the query; NULL: the whole of it */
    const char *text;
    const char *title;   /* NULL: none */
    const char *version; /* of what the server offers; NULL: none */
} connpool_description_t;

/** What is said in this server, or else in the main one; NULL: nothing.
 * @param param may be NULL */
const connpool_description_t *connpool_find_description(server_rec *s,
                                                        const char *name,
                                                        const char *param);

/** "ConnPoolDescription" (RAW_ARGS). */
const char *connpool_cmd_description(cmd_parms *cmd, void *dummy,
                                     const char *line);

#endif
