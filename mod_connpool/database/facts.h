/* SPDX-License-Identifier: Apache-2.0
 * What a driver says: of itself, of a configuration, of a write, of what it has
 * seen. */
#ifndef CP_FACTS_H
#define CP_FACTS_H

#include <apr.h>

/** What a driver can do. */
typedef enum cp_database_ability_t {
    CP_CAN_SPLIT_WRITER = 1, /**< has one writer at a time: it gets a pool of
                                  one connection, taken from max=, and all else
                                  reads. Without: all may write */
    CP_CAN_LOCK_WRITES = 2,  /**< wants its writes, of all children, to take
                                  turns: one lock per `identity` */
    CP_CAN_VERSION = 4,      /**< version, is_current, depends: ttl=data */
    CP_CAN_ROWID = 8,        /**< tells the key of a row that it inserted */
    CP_CAN_NEST = 16,        /**< nest, unnest: a write within a transaction */
} cp_database_ability_t;

/** What the server has to know of a configuration; strings are constant, or in
 * the pool. */
typedef struct cp_database_facts_t {
    const char *address; /**< what it is, in the keys of kept answers: absolute,
                              without secrets */
    int is_readonly;     /**< has no writer */
    int writers;         /**< connections that only write, taken from max=; 0:
                              what the driver can do decides */
    int is_grouped;      /**< with `settle`: writes of strangers may be one
                              transaction */
    int one_by_one;      /**< no statement may be sent ahead of an answer */
    const char *no_version; /**< with CP_CAN_VERSION: NULL, or why no answer can
                                 be kept until the data change */
    const char *file;       /**< NULL, or a file that nobody must download */
    const char *file_risk;  /**< "", or what else would come of that */
    apr_int64_t cache;      /**< bytes that each connection may keep, or 0... */
    const char *cache_name; /**< ...and of what: "page cache" */
} cp_database_facts_t;

/** What a write did. */
typedef struct cp_result_t {
    apr_int64_t changes;    /**< rows */
    apr_int64_t last_rowid; /**< 0 without CP_CAN_ROWID */
} cp_result_t;

/** What `look` has seen. */
typedef enum cp_sight_t {
    CP_SIGHT_OTHER = 1, /**< once: another one took its place */
    CP_SIGHT_GONE = 2,  /**< nothing is there: it is down without being asked */
} cp_sight_t;

#endif
