/* SPDX-License-Identifier: Apache-2.0
 * A look at a server, and at plans, before anybody is served. */
#ifndef CP_PG_INSPECT_H
#define CP_PG_INSPECT_H

#include "database/pgsql/session/pgsql.h"

/** As the members of cp_database_driver_t say. */
void cp_pg_inspect(cp_database_t *db, cp_clock_t deadline,
                   const cp_findings_t *to, cp_connection_t **pconn);
void cp_pg_explain(cp_connection_t *conn, const char *sql,
                   const cp_findings_t *to);

#endif
