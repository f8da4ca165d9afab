/* SPDX-License-Identifier: Apache-2.0
 * Values of parameters, as the server reads them. */
#ifndef CP_PG_BIND_H
#define CP_PG_BIND_H

#include "database/pgsql/session/pgsql.h"

/** See `bind` of the driver. */
apr_status_t cp_pg_bind(cp_statement_t *st, const char *name, cp_type_t type,
                        const cp_value_t *value, cp_error_t *err);

/** Before they are sent: where the copies lie now. */
void cp_pg_settle_values(cp_statement_t *st);

#endif
