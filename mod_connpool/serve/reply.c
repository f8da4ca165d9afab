/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/reply.h"

#include "glue.h"
#include "answers/web/condition.h"
#include "config/query.h"

#include <apr_strings.h>

/* RFC 9110, 13.1: a method must not be performed when its condition is false.
 * Here nobody can tell, so for all that is known it is. */
const char *connpool_unread_condition(request_rec *r,
                                      const connpool_query_t *query)
{
    if (!query->is_write) {
        return NULL;
    }
    for (const cp_precondition_name_t *name = cp_precondition_names;
         name->header; name++) {
        if (!(query->reply.conditions & name->bit)
            && apr_table_get(r->headers_in, name->header)) {
            return apr_psprintf(r->pool,
                                "Nothing was written: the query does not look "
                                "at %s.",
                                name->header);
        }
    }
    return NULL;
}

/* As an ErrorDocument the answer has the error's status. */
void connpool_set_status(request_rec *r, int status)
{
    if (status != HTTP_OK) {
        r->status = status;
        r->status_line = NULL;
    }
}

void connpool_set_reply_header(request_rec *r, const char *name,
                               const char *value)
{
    static const char *const names[] = {"Content-Disposition",
                                        "Content-Encoding", "Location"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcasecmp(name, names[i]) == 0) {
            apr_table_set(r->headers_out, name, value);
        }
    }
}
