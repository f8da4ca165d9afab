/* SPDX-License-Identifier: Apache-2.0
 * What a dry run has found: sections, each about one thing that was configured,
 * with the settings that it has and what was found out about it. */
#ifndef CONNPOOL_FACTS_H
#define CONNPOOL_FACTS_H

#include "glue.h"
#include "config/line/origin.h"
#include "database/finding.h"

/** Of one setting. */
typedef struct connpool_fact_t {
    const char *name;
    const char *value; /**< as people write it; NULL: none */
    const char *unit; /**< "": a plain number; "ms", "bytes", "flag": of number;
                           NULL: it is none */
    apr_int64_t number;
    connpool_origin_t origin;
} connpool_fact_t;

typedef struct connpool_found_t {
    cp_severity_t severity;
    const char *name;
    const char *value;
} connpool_found_t;

/** What was found out, for programs that reckon with it. */
typedef struct connpool_number_t {
    const char *name; /**< "cache_bytes" */
    apr_int64_t value;
} connpool_number_t;

typedef enum connpool_section_kind_t {
    CONNPOOL_SECTION_MODULE, /**< the whole; one */
    CONNPOOL_SECTION_SERVER,
    CONNPOOL_SECTION_DATABASE,
    CONNPOOL_SECTION_UPSTREAM,
    CONNPOOL_SECTION_QUERY,
    CONNPOOL_SECTION_PARAM, /**< follows its query */
} connpool_section_kind_t;

typedef struct connpool_section_t {
    connpool_section_kind_t kind;
    const char *name;
    const char *server; /**< "" the main one; see connpool_server_key */
    const char *where;  /**< "FILE:LINE" or NULL */
    apr_array_header_t *settings; /**< connpool_fact_t */
    apr_array_header_t *found;    /**< connpool_found_t */
    apr_array_header_t *numbers;  /**< connpool_number_t */
} connpool_section_t;

typedef struct connpool_facts_t {
    apr_pool_t *p;
    apr_array_header_t *sections; /**< connpool_section_t * */
    int count[CP_SEVERITIES];     /**< of what was found */
} connpool_facts_t;

connpool_section_t *connpool_section_add(connpool_facts_t *facts,
                                         connpool_section_kind_t kind,
                                         const char *name);

/** Strings are kept as they are. */
connpool_fact_t *connpool_fact_add(connpool_section_t *section,
                                   const char *name, const char *value,
                                   connpool_origin_t origin);

void connpool_found_add(connpool_facts_t *facts, connpool_section_t *section,
                        cp_severity_t severity, const char *name,
                        const char *value);

void connpool_number_add(connpool_section_t *section, const char *name,
                         apr_int64_t value);

/** "default", "FILE:LINE", "environment variable X", "ConnPoolDBMax at
 * FILE:LINE", each perhaps with "inherited". */
const char *connpool_origin_show(apr_pool_t *p,
                                 const connpool_origin_t *origin);

/** "info", "warning", "error". */
const char *connpool_severity_name(cp_severity_t severity);

/** "1 error, 2 warnings" */
const char *connpool_facts_sum(apr_pool_t *p, const connpool_facts_t *facts);

#endif
