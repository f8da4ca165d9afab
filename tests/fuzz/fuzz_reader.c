/* SPDX-License-Identifier: Apache-2.0
 * Answers over a kept socket: what they are does not depend on how they are cut
 * into pieces, no more is read than there is, and a connection is kept only
 * behind an answer that ended where it said. The first byte says how. */
#include "http/kept/reader.h"

#include "fuzz.h"

#include <string.h>

#define MAX_BODY 1000

typedef struct outcome_t {
    cp_read_t found;
    int status;
    int may_keep;
    size_t used;
    apr_int64_t body_bytes;
    apr_int64_t length;
    char body[MAX_BODY];
    size_t body_size;
} outcome_t;

static void note(outcome_t *outcome, cp_reader_t *reader)
{
    const cp_job_t *job = reader->job;

    outcome->status = job->status;
    outcome->may_keep = outcome->found == CP_READ_DONE
                        && cp_reader_may_keep(reader);
    outcome->body_bytes = job->body_bytes;
    outcome->length = job->content_length;
    MUST(job->body.size <= MAX_BODY);
    outcome->body_size = job->body.size;
    if (job->body.size > 0) {
        memcpy(outcome->body, job->body.data, job->body.size);
    }
}

/* As one who receives so much at once; what was not used is shown again. */
static outcome_t read_all(apr_pool_t *p, unsigned how, size_t piece,
                          const uint8_t *data, size_t size)
{
    static cp_upstream_t upstream = {.config = {.name = "u"}};
    outcome_t outcome = {.found = CP_READ_MORE};
    cp_bell_t *bell = cp_bell_create();
    cp_reader_t reader;
    cp_job_t *job;
    size_t came = 0;

    upstream.config.max_body = MAX_BODY;
    job = cp_job_create(NULL, &upstream, bell);
    MUST(job);
    job->is_head = (how & 1) != 0;
    cp_reader_begin(&reader, job);
    while (outcome.found == CP_READ_MORE && came < size) {
        size_t waiting, used;
        char *shown;

        came = size - came < piece ? size : came + piece;
        waiting = came - outcome.used;
        shown = fuzz_copy(p, data + outcome.used, waiting);
        outcome.found = cp_reader_feed(&reader, shown, waiting, &used);
        MUST(used <= waiting);
        outcome.used += used;
    }
    if (outcome.found == CP_READ_MORE) {
        outcome.found = cp_reader_end(&reader);
    }
    note(&outcome, &reader);
    cp_job_unref(job);
    cp_bell_unref(bell);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *p = fuzz_pool();
    unsigned how = fuzz_byte(&data, &size);
    outcome_t whole = read_all(p, how, size + 1, data, size);
    outcome_t pieces = read_all(p, how, 1 + (how >> 4), data, size);

    MUST(whole.found == pieces.found);
    if (whole.found != CP_READ_DONE) {
        return 0;
    }
    MUST(whole.status == pieces.status && whole.used == pieces.used);
    MUST(whole.may_keep == pieces.may_keep);
    MUST(whole.body_size == pieces.body_size
         && memcmp(whole.body, pieces.body, whole.body_size) == 0);
    if (whole.may_keep && !(how & 1) && whole.length >= 0 && whole.status != 204
        && whole.status != 304) {
        MUST(whole.body_bytes == whole.length);
    }
    return 0;
}
