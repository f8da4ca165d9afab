/* SPDX-License-Identifier: Apache-2.0
 * What other modules are told of failures, in a word and two numbers. */
#include "glue.h"
#include "api/api.h"
#include "base/error.h"
#include "request/output.h"

int connpool_retry_after(int status, int known)
{
    return known == 0 && status == HTTP_SERVICE_UNAVAILABLE ? 1 : known;
}

const char *connpool_tell_failure(const cp_error_t *err, int *pstatus,
                                  int *pretry_after)
{
    int has_failed = err->cls != CP_ERR_NONE;
    int status = has_failed ? connpool_status_of(err->cls) : 0;

    if (pstatus) {
        *pstatus = status;
    }
    if (pretry_after) {
        *pretry_after = has_failed
                            ? connpool_retry_after(status, err->retry_after)
                            : 0;
    }
    return has_failed ? cp_error_class_name(err->cls) : NULL;
}
