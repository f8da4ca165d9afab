/* SPDX-License-Identifier: Apache-2.0
 * Figures that one kind of database alone has, and how they are shown. */

#ifndef CP_GAUGE_H
#define CP_GAUGE_H

/** How many a driver can have. The first CP_GAUGES_HELD are bytes that idle
 * connections hold: summed over children, and together memory_bytes. The others
 * are the database's own, the same in every child: the largest is shown. */
#define CP_GAUGES      4
#define CP_GAUGES_HELD 3

/** One of them. Drivers that mean the same by a gauge give it the same words.
 */
typedef struct cp_gauge_t {
    const char *name;   /**< in JSON: "wal_bytes"; NULL: there is none */
    const char *title;  /**< on the page: "WAL" */
    const char *metric; /**< the family of OpenMetrics, which ends in unit... */
    const char *label;  /**< ...its label part=, or NULL... */
    const char *unit;   /**< ...its unit, "bytes" or ""... */
    const char *help;   /**< ...and what the first of a family says of it */
} cp_gauge_t;

#endif
