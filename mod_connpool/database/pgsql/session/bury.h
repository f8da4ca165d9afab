/* SPDX-License-Identifier: Apache-2.0
 * The end of connections on which something may still run. */
#ifndef CP_PG_BURY_H
#define CP_PG_BURY_H

#include "database/pgsql/session/pgsql.h"

/** Close it. A server looks itself whether its client is still there; where it
 * cannot, a thread of its own asks it to stop what runs, before the connection
 * is closed: PQcancel waits for as long as nobody answers. */
void cp_pg_bury(cp_database_t *db, PGconn *pg);

#endif
