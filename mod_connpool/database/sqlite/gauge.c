/* SPDX-License-Identifier: Apache-2.0
 * What SQLite's databases show beside what all have. */
#include "database/sqlite/gauge.h"

#include "base/gauge.h"

#define HELD                                                                   \
    .metric = "connpool_memory_bytes", .unit = "bytes",                        \
    .help = "Memory of idle connections by what it is for."

const cp_gauge_t cp_sqlite_gauges[CP_GAUGES] = {
    {.name = "cache_bytes", .title = "Page cache", HELD, .label = "cache"},
    {.name = "schema_bytes", .title = "Schema", HELD, .label = "schema"},
    {.name = "statement_bytes",
     .title = "Statements",
     HELD,
     .label = "statements"},
    {.name = "wal_bytes",
     .title = "WAL",
     .metric = "connpool_wal_bytes",
     .unit = "bytes",
     .help = "Size of the database's write-ahead log."},
};
