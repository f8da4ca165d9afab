/* SPDX-License-Identifier: Apache-2.0
 * Answers that are collected before they are sent: over HTTP/2 a write may
 * block for as long as mod_http2 likes, so none may happen while a connection
 * is held. */
#include "glue.h"
#include "base/bytes/buffer.h"
#include "base/error.h"
#include "child/child.h"
#include "request/output.h"
#include "stats/cell.h"

#include <apr_strings.h>

/* A file that has no name any more: it ends with the request, or the child. */
static apr_status_t open_file(apr_file_t **pfile, apr_pool_t *p)
{
    const char *dir;
    char *path;
    apr_status_t rv = apr_temp_dir_get(&dir, p);

    if (rv == APR_SUCCESS) {
        path = apr_pstrcat(p, dir, "/connpool-XXXXXX", NULL);
        rv = apr_file_mktemp(pfile, path,
                             APR_FOPEN_CREATE | APR_FOPEN_READ | APR_FOPEN_WRITE
                                 | APR_FOPEN_EXCL | APR_FOPEN_BINARY,
                             p);
    }
    if (rv == APR_SUCCESS) {
        apr_file_remove(path, p);
    }
    return rv;
}

apr_status_t connpool_spill(request_rec *r, apr_file_t **pfile,
                            cp_buffer_t *buf, cp_error_t *err)
{
    apr_status_t rv = *pfile ? APR_SUCCESS : open_file(pfile, r->pool);

    if (rv == APR_SUCCESS) {
        rv = apr_file_write_full(*pfile, buf->data, buf->size, NULL);
    }
    if (rv != APR_SUCCESS) {
        return cp_error_set(err, CP_ERR_STORAGE, rv,
                            "there is no room for the answer",
                            "a temporary file could not be written");
    }
    buf->size = 0;
    return APR_SUCCESS;
}

void connpool_count_buffer(const cp_buffer_t *buf, apr_size_t *pcounted)
{
    if (buf->capacity != *pcounted) {
        cp_stats_add(&connpool_child.buffer_bytes,
                     (int64_t)buf->capacity - (int64_t)*pcounted);
        *pcounted = buf->capacity;
    }
}
