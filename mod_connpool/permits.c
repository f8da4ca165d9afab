/* SPDX-License-Identifier: Apache-2.0
 * What the parent prepares for server-max=: permits in shared memory, which
 * outlive restarts, so that children of two generations share them. */
#include "glue.h"
#include "child/child.h"
#include "config/database.h"
#include "lifecycle.h"
#include "pool/wait/permits.h"

#include <apr_hash.h>
#include <apr_shm.h>
#include <apr_strings.h>

typedef struct set_up_t {
    apr_hash_t *kept;
    apr_pool_t *p; /* of the process */
    server_rec *main_server;
    int processes;
    apr_status_t rv;
} set_up_t;

static cp_permits_t *make_permits(set_up_t *setup)
{
    apr_shm_t *shm;

    setup->rv = apr_shm_create(&shm, cp_permits_size(setup->processes), NULL,
                               setup->p);
    return setup->rv == APR_SUCCESS
               ? cp_permits_init(apr_shm_baseaddr_get(shm), setup->processes)
               : NULL;
}

static void set_up(connpool_database_t *db, void *baton)
{
    set_up_t *setup = baton;
    const char *key;

    if (!db->pool.server_max || setup->rv != APR_SUCCESS) {
        return;
    }
    /* Whoever laid them out is part of the key. */
    key = apr_psprintf(setup->p, "%s %" APR_SIZE_T_FMT " %s %s",
                       CONNPOOL_VERSION, cp_permits_size(setup->processes),
                       connpool_server_key(setup->p, db->server), db->name);
    db->permits = apr_hash_get(setup->kept, key, APR_HASH_KEY_STRING);
    if (!db->permits) {
        db->permits = make_permits(setup);
        apr_hash_set(setup->kept, key, APR_HASH_KEY_STRING, db->permits);
    }
    if (db->permits) {
        cp_permits_limit(db->permits, db->pool.server_max);
        return;
    }
    setup->rv = setup->rv ? setup->rv : APR_ENOMEM;
    ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_CRIT, setup->rv,
                 setup->main_server,
                 "database '%s': cannot make the shared memory of server-max=",
                 db->name);
}

apr_status_t connpool_permits_set_up(apr_hash_t **kept, server_rec *main_server,
                                     int processes)
{
    set_up_t setup = {.p = main_server->process->pool,
                      .main_server = main_server,
                      .processes = processes};

    if (!*kept) {
        *kept = apr_hash_make(setup.p);
    }
    setup.kept = *kept;
    connpool_each_database(set_up, &setup);
    return setup.rv;
}

static void fold(connpool_database_t *db, void *baton)
{
    if (db->permits) {
        cp_permits_fold(db->permits, *(pid_t *)baton);
    }
}

void connpool_permits_fold(pid_t pid)
{
    connpool_each_database(fold, &pid);
}
