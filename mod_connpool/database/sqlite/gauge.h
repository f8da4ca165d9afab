/* SPDX-License-Identifier: Apache-2.0
 * What SQLite's databases show beside what all have. */
#ifndef CP_SQLITE_GAUGE_H
#define CP_SQLITE_GAUGE_H

#include "base/gauge.h"

extern const cp_gauge_t cp_sqlite_gauges[CP_GAUGES];

#endif
