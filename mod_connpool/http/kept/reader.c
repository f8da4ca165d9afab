/* SPDX-License-Identifier: Apache-2.0
 * As strict as curl, or stricter: what is not understood ends the connection.
 */
#include "http/kept/reader.h"

#include "http/job/job.h"

#include <stdio.h>
#include <string.h>

/* Digits of a chunk's size that a 64-bit number takes for sure. */
#define HEX_DIGITS_MAX 15

void cp_reader_begin(cp_reader_t *reader, cp_job_t *job)
{
    *reader = (cp_reader_t){.job = job, .frame = CP_FRAME_HEAD};
}

static cp_read_t fail(cp_reader_t *reader, CURLcode code)
{
    reader->code = code;
    return CP_READ_FAILED;
}

static cp_read_t fail_chunk(cp_reader_t *reader)
{
    snprintf(reader->job->curl_error, sizeof(reader->job->curl_error),
             "malformed chunk in the upstream's answer");
    return fail(reader, CURLE_RECV_ERROR);
}

/* --- the head --- */

/* "HTTP/2" is none that could have been agreed upon, but curl takes it. */
static int note_version(cp_reader_t *reader, const char *line, size_t size)
{
    static const char *const versions[] = {[CP_HTTP_1_1] = "HTTP/1.1 ",
                                           [CP_HTTP_1_0] = "HTTP/1.0 ",
                                           [CP_HTTP_2] = "HTTP/2 "};

    for (int i = 0; i <= CP_HTTP_2; i++) {
        if (size > strlen(versions[i])
            && memcmp(line, versions[i], strlen(versions[i])) == 0) {
            reader->version = i;
            return 1;
        }
    }
    /* What is no HTTP at all the job says. */
    return size < 5 || memcmp(line, "HTTP/", 5) != 0;
}

/* What frames the body, and is not told by the job. */
static int note_line(cp_reader_t *reader, const char *line, size_t size)
{
    static const char coding[] = "Transfer-Encoding:";

    if (!reader->job->is_in_head) {
        reader->is_chunked = 0;
        return note_version(reader, line, size);
    }
    if (size >= sizeof(coding)
        && strncasecmp(line, coding, sizeof(coding) - 1) == 0) {
        reader->is_chunked++;
    }
    return reader->is_chunked <= 1;
}

static void begin_body(cp_reader_t *reader)
{
    const cp_job_t *job = reader->job;

    if (job->is_head || job->status == 204 || job->status == 304) {
        reader->frame = CP_FRAME_NONE;
    }
    else if (reader->is_chunked) {
        reader->frame = CP_FRAME_CHUNK;
    }
    else if (job->content_length >= 0) {
        reader->left = job->content_length;
        reader->frame = reader->left > 0 ? CP_FRAME_LENGTH : CP_FRAME_NONE;
    }
    else {
        reader->frame = CP_FRAME_CLOSE;
    }
}

static cp_read_t read_head(cp_reader_t *reader, char *line, size_t size)
{
    cp_job_t *job = reader->job;

    if (!note_line(reader, line, size)) {
        return fail(reader, CURLE_UNSUPPORTED_PROTOCOL);
    }
    if (cp_job_on_header(line, 1, size, job) != size) {
        return fail(reader, CURLE_WRITE_ERROR);
    }
    if (job->is_final) {
        begin_body(reader);
    }
    return CP_READ_MORE;
}

static cp_read_t read_trailer(cp_reader_t *reader, char *line, size_t size)
{
    if (*line == '\n' || (*line == '\r' && size == 2)) {
        reader->frame = CP_FRAME_NONE;
        return CP_READ_MORE;
    }
    return cp_job_on_header(line, 1, size, reader->job) == size
               ? CP_READ_MORE
               : fail(reader, CURLE_WRITE_ERROR);
}

/* --- chunks --- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static cp_read_t read_chunk_size(cp_reader_t *reader, const char *line)
{
    int digits = 0;

    reader->left = 0;
    for (; hex_digit(line[digits]) >= 0; digits++) {
        if (digits == HEX_DIGITS_MAX) {
            return fail_chunk(reader);
        }
        reader->left = reader->left * 16 + hex_digit(line[digits]);
    }
    if (digits == 0 || !strchr("\r\n; \t", line[digits]) || !line[digits]) {
        return fail_chunk(reader);
    }
    reader->frame = reader->left > 0 ? CP_FRAME_CHUNK_DATA : CP_FRAME_TRAILER;
    return CP_READ_MORE;
}

static cp_read_t read_chunk_end(cp_reader_t *reader, const char *line,
                                size_t size)
{
    if (size > 2 || (size == 2 && *line != '\r')) {
        return fail_chunk(reader);
    }
    reader->frame = CP_FRAME_CHUNK;
    return CP_READ_MORE;
}

/* --- pieces --- */

/* One line, with its end. */
static cp_read_t read_line(cp_reader_t *reader, char *data, size_t size,
                           size_t *pused)
{
    const char *end = memchr(data, '\n', size);

    if (!end) {
        return CP_READ_MORE;
    }
    *pused = (size_t)(end - data) + 1;
    switch (reader->frame) {
    case CP_FRAME_CHUNK:
        return read_chunk_size(reader, data);
    case CP_FRAME_CHUNK_END:
        return read_chunk_end(reader, data, *pused);
    case CP_FRAME_TRAILER:
        return read_trailer(reader, data, *pused);
    default:
        return read_head(reader, data, *pused);
    }
}

static cp_read_t read_body(cp_reader_t *reader, char *data, size_t size,
                           size_t *pused)
{
    int is_bounded = reader->frame != CP_FRAME_CLOSE;
    size_t part = is_bounded && (apr_int64_t)size > reader->left
                      ? (size_t)reader->left
                      : size;
    size_t taken = cp_job_on_body(data, 1, part, reader->job);

    if (taken == CURL_WRITEFUNC_PAUSE) {
        return CP_READ_PAUSED;
    }
    if (taken != part) {
        return fail(reader, CURLE_WRITE_ERROR);
    }
    *pused = part;
    reader->left -= is_bounded ? (apr_int64_t)part : 0;
    if (is_bounded && reader->left == 0) {
        reader->frame = reader->frame == CP_FRAME_LENGTH ? CP_FRAME_NONE
                                                         : CP_FRAME_CHUNK_END;
    }
    return CP_READ_MORE;
}

static int is_of_body(cp_frame_t frame)
{
    return frame == CP_FRAME_LENGTH || frame == CP_FRAME_CLOSE
           || frame == CP_FRAME_CHUNK_DATA;
}

cp_read_t cp_reader_feed(cp_reader_t *reader, char *data, size_t size,
                         size_t *pused)
{
    cp_read_t found = CP_READ_MORE;
    size_t used = 1;

    *pused = 0;
    while (found == CP_READ_MORE && used > 0 && *pused < size
           && reader->frame != CP_FRAME_NONE) {
        used = 0;
        found = is_of_body(reader->frame)
                    ? read_body(reader, data + *pused, size - *pused, &used)
                    : read_line(reader, data + *pused, size - *pused, &used);
        *pused += used;
    }
    return found == CP_READ_MORE && reader->frame == CP_FRAME_NONE
               ? CP_READ_DONE
               : found;
}

cp_read_t cp_reader_end(cp_reader_t *reader)
{
    /* Of a head that is cut the job finds out itself. */
    if (reader->frame == CP_FRAME_CLOSE || reader->frame == CP_FRAME_HEAD) {
        return CP_READ_DONE;
    }
    snprintf(reader->job->curl_error, sizeof(reader->job->curl_error),
             "transfer closed with outstanding data to read");
    return fail(reader, CURLE_PARTIAL_FILE);
}

/* --- the connection --- */

int cp_reader_may_keep(const cp_reader_t *reader)
{
    const cp_job_t *job = reader->job;

    return reader->frame == CP_FRAME_NONE
           && !(reader->is_chunked && job->content_length >= 0)
           && strlen(job->connection) + 1 < sizeof(job->connection)
           && !cp_job_is_listed(job->connection, "close")
           && (reader->version == CP_HTTP_1_1
               || (reader->version == CP_HTTP_1_0
                   && cp_job_is_listed(job->connection, "keep-alive")));
}
