/* SPDX-License-Identifier: Apache-2.0
 * Work in processes of the server's user: what it finds out is told to the
 * parent, and what does not end is ended. */
#ifndef CONNPOOL_JOB_H
#define CONNPOOL_JOB_H

#include "glue.h"
#include "database/finding.h"

struct connpool_facts_t;
struct connpool_section_t;

/** Where a job tells what it has found; in its process. */
typedef struct connpool_teller_t {
    int out;     /**< a pipe to the parent */
    int section; /**< index of what it speaks of now */
} connpool_teller_t;

typedef struct connpool_job_t {
    /** Runs in the process; tells by connpool_tell. */
    void (*work)(apr_pool_t *p, void *subject, connpool_teller_t *teller);
    void *subject;
    int section;               /**< what it is about, if it does not end */
    apr_interval_time_t limit; /**< its time, once it has begun */
    const char *late;          /**< what it means if that is over */
} connpool_job_t;

/** Run them, all at once, as the user that the server's children have; find
 * what they tell in the facts. Returns when all have ended, or were ended. */
void connpool_jobs_run(struct connpool_facts_t *facts, server_rec *main_server,
                       const apr_array_header_t *jobs);

/** A findings' `add`; its baton is the teller. */
void connpool_tell(void *teller, cp_severity_t severity, const char *name,
                   const char *value);

#endif
