/* SPDX-License-Identifier: Apache-2.0
 * What else than the data decides the rows of a statement. */
#ifndef CP_PG_DEPENDS_H
#define CP_PG_DEPENDS_H

#include "database/pgsql/session/pgsql.h"

/** See `depends` of the driver. Asks the server about all that the text names:
 * views and functions, and what those name. */
const char *cp_pg_depends(cp_statement_t *st);

#endif
