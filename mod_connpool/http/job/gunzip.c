/* SPDX-License-Identifier: Apache-2.0
 * Decoding gzip with zlib, piece by piece. */
#include "http/job/gunzip.h"

#include <stdlib.h>

#include <zlib.h>

/* The largest window, and a gzip header instead of zlib's. */
#define WINDOW_BITS (15 + 16)

struct cp_gunzip_t {
    z_stream stream;
    int is_complete;
};

cp_gunzip_t *cp_gunzip_create(void)
{
    cp_gunzip_t *gunzip = calloc(1, sizeof(*gunzip));

    if (gunzip && inflateInit2(&gunzip->stream, WINDOW_BITS) != Z_OK) {
        free(gunzip);
        return NULL;
    }
    return gunzip;
}

void cp_gunzip_free(cp_gunzip_t *gunzip)
{
    if (gunzip) {
        inflateEnd(&gunzip->stream);
        free(gunzip);
    }
}

cp_gunzip_state_t cp_gunzip_run(cp_gunzip_t *gunzip, const char **pdata,
                                size_t *psize, char *room, size_t *proom)
{
    z_stream *stream = &gunzip->stream;
    size_t size = *proom;
    int rc = Z_OK;

    stream->next_in = (z_const Bytef *)(z_const void *)*pdata;
    stream->avail_in = (uInt)*psize;
    stream->next_out = (Bytef *)room;
    stream->avail_out = (uInt)size;
    while (rc == Z_OK && stream->avail_out > 0
           && (stream->avail_in > 0 || !gunzip->is_complete)) {
        if (gunzip->is_complete) {
            gunzip->is_complete = 0;
            inflateReset(stream); /* another member */
        }
        rc = inflate(stream, Z_NO_FLUSH);
        if (rc == Z_STREAM_END) {
            gunzip->is_complete = 1;
            rc = Z_OK;
        }
    }
    *pdata = (const char *)stream->next_in;
    *psize = stream->avail_in;
    *proom = size - stream->avail_out;
    /* Z_BUF_ERROR: there was nothing to do, for want of data. */
    return rc == Z_OK || rc == Z_BUF_ERROR ? CP_GUNZIP_GOING
           : rc == Z_MEM_ERROR             ? CP_GUNZIP_NO_MEMORY
                                           : CP_GUNZIP_DAMAGED;
}

int cp_gunzip_is_complete(const cp_gunzip_t *gunzip)
{
    return gunzip->is_complete;
}
