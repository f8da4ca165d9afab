/* SPDX-License-Identifier: Apache-2.0
 * Counters, gauges and distributions: fixed layout, no pointers, so that they
 * can live in shared memory. One child writes, with relaxed atomics, from all
 * its threads; anybody reads.
 *
 * What becomes of each, when children are added up, when one ends, and in
 * reports, stands in stats/tables.c, a row for each. JSON shows the members in
 * the order in which they stand here. */
#ifndef CP_STATS_H
#define CP_STATS_H

#include <stdint.h>

#include "base/error.h"
#include "base/gauge.h"
#include "stats/groups.h"
#include "stats/histogram.h"

/** Why a connection was closed. */
typedef enum cp_close_reason_t {
    CP_CLOSE_IDLE,      /**< unused for longer than idle= */
    CP_CLOSE_LIFETIME,  /**< older than lifetime= (jittered) */
    CP_CLOSE_DEAD,      /**< the check found it dead */
    CP_CLOSE_FLUSHED,   /**< idle beside a dead one, or the file was replaced */
    CP_CLOSE_DISCARDED, /**< given back broken */
    CP_CLOSE_UNPOOLED,  /**< pooling is off: closed after use */
    CP_CLOSE_OVERFLOW,  /**< one-shot connection of an exhausted pool */
    CP_CLOSE_YIELDED,   /**< another child waited for a server-max= permit */
    CP_CLOSE_SHUTDOWN,  /**< the child ends */
    CP_CLOSE_KILLED, /**< open when the child was killed; set by the parent */
    CP_CLOSE_REASONS
} cp_close_reason_t;

/** "idle", "lifetime", ...: words of the log and of the status. */
const char *cp_close_reason_name(cp_close_reason_t reason);

/** Classes of SQLSTATE that connections fail with, the last one for all others;
 * the first: without any. */
#define CP_SQLSTATES 11

/** Of five characters, "" or NULL. */
int cp_sqlstate_class(const char *state);

/** "none", "08", ... "other". */
const char *cp_sqlstate_name(int i);

/** A database is shown as one pool and is up to four: readers and the writer,
 * and both once more for servers where pooling is off. What is not split has
 * the readers' parts. */
typedef enum cp_pool_part_t {
    CP_PART_READERS,
    CP_PART_WRITER,
    CP_PART_DIRECT_READERS,
    CP_PART_DIRECT_WRITER,
    CP_POOL_PARTS
} cp_pool_part_t;

/** Who holds connections, the oldest of each part: all that maintenance has
 * seen out, and those that are suspected leaks. */
#define CP_HOLDERS_LISTED 8
#define CP_HOLDER_SIZE    120

/** One of them. Written by its child, by one thread at a time, and read by
 * anybody through cp_holder_read. */
typedef struct cp_holder_t {
    uint64_t since;   /**< CLOCK_MONOTONIC, us, of the acquire; 0: none.
                         Atomic, set last and cleared first */
    uint64_t is_leak; /**< 0 or 1: for longer than leak=. Atomic */
    char holder[CP_HOLDER_SIZE];  /**< atomic, byte by byte */
    char request[CP_HOLDER_SIZE]; /**< "GET /path"; "": unknown. Likewise */
} cp_holder_t;

/** One pool in one child. At rest and under load:
 * acquired == released + busy + abandoned, created == sum(closed) + open. */
typedef struct cp_pool_stats_t {
    uint64_t open;
    uint64_t busy;
    uint64_t idle; /**< open and in the pool */
    uint64_t waiting;
    uint64_t acquired;
    uint64_t released; /**< discards included */
    uint64_t
        abandoned;     /**< busy when the child was killed; set by the parent */
    uint64_t timeouts; /**< refused at the deadline */
    uint64_t rejected; /**< refused at once: queue full, or shutting down */
    uint64_t fallbacks; /**< served by a one-shot connection; not in acquired */
    uint64_t one_shots; /**< such connections that are open */
    uint64_t created;
    uint64_t create_failures;
    uint64_t leaks_suspected;
    uint64_t memory_bytes; /**< sum of the first driver_gauges */
    uint64_t closed[CP_CLOSE_REASONS];
    cp_histogram_t acquire_us; /**< of those who got a connection */
    cp_histogram_t refused_us; /**< of those who got none */
    cp_histogram_t hold_us;
    cp_histogram_t create_us; /**< opening a connection, failures included */
    uint64_t failures[CP_ERR_CLASSES]; /**< create_failures by their cause */
    uint64_t busy_max;    /**< most ever busy at once in one child */
    uint64_t open_max;    /**< most ever open at once in one child */
    uint64_t waiting_max; /**< most ever waiting at once in one child */
    /** CLOCK_MONOTONIC, us, of the one who waits longest, 0: nobody; one cell
     * for each of the pools that are shown as one, and one for who waits in a
     * group. */
    uint64_t waiting_since[CP_WAITS];
    /** What only the driver can name, set by maintenance. */
    uint64_t driver_gauges[CP_GAUGES];
    uint64_t busy_writers; /**< those of busy that are the writer, where one is
                                set aside */
    uint64_t down[CP_POOL_PARTS]; /**< 0 or 1: the last open failed; by part */
    uint64_t is_known;       /**< 0 or 1: this child has tried to open one */
    uint64_t opening;        /**< connections that are being opened */
    uint64_t in_transaction; /**< those of busy and one_shots that are */
    /** Of those whose failures have an SQLSTATE: that were lost or not opened,
     * and closed for that; by its class. */
    uint64_t reconnects[CP_SQLSTATES];
    uint64_t groups[CP_GROUP_SIZES]; /**< writes committed together, by size */
    cp_holder_t holders[CP_POOL_PARTS][CP_HOLDERS_LISTED]; /**< not in sums */
} cp_pool_stats_t;

typedef struct cp_query_stats_t {
    uint64_t count;
    uint64_t errors; /**< answers of 5xx, and 4xx found by the database */
    uint64_t rows;
    uint64_t retries; /**< begun anew: nothing had happened yet */
    uint64_t slow;    /**< took longer than ConnPoolSlowLog */
    uint64_t failures[CP_ERR_CLASSES]; /**< errors by their cause */
    uint64_t broken;    /**< those of storage in the run itself: it had a
                           connection and was prepared */
    uint64_t misfits;   /**< values that are not what json= or types= says */
    uint64_t forbidden; /**< requests that lack a fact which it requires: 403 */
    uint64_t grouped;   /**< writes committed together with those of others */
    /** Requests for answers that may be kept: lookups == hits + misses + stale
     * + those of coalesced that looked, at rest. */
    uint64_t lookups;
    uint64_t hits;
    uint64_t misses;    /**< found nothing, and ran the query */
    uint64_t stale;     /**< answered with what had expired */
    uint64_t coalesced; /**< answered with what another request's run brought */
    uint64_t stores;
    uint64_t bypassed;   /**< carried credentials: neither looked nor kept */
    uint64_t unprepared; /**< 0 or 1: it could not be prepared */
    uint64_t is_known;   /**< 0 or 1: this child has tried to prepare it,
                              and nothing has changed since */
    cp_histogram_t us;   /**< from its connection to its end */
    cp_histogram_t failed_us; /**< of those that failed, with their wait for a
                                   connection */
} cp_query_stats_t;

/** Phases of a fetch, each on its own. */
typedef enum cp_span_t {
    CP_SPAN_QUEUE,      /**< waiting for a connection of the pool */
    CP_SPAN_LOOKUP,     /**< of the name */
    CP_SPAN_TCP,        /**< connecting */
    CP_SPAN_TLS,        /**< shaking hands */
    CP_SPAN_FIRST_BYTE, /**< from the request to the first byte */
    CP_SPANS
} cp_span_t;

/** "queue", "lookup", "connect", "tls", "first_byte". */
const char *cp_span_name(cp_span_t span);

typedef struct cp_upstream_stats_t {
    uint64_t count;
    uint64_t errors;
    uint64_t reused;
    uint64_t retries;
    uint64_t coalesced; /**< requests that got what another's fetch brought */
    uint64_t refused_rate;    /**< fetches beyond rate=; errors, too */
    uint64_t breaker_until;   /**< CLOCK_MONOTONIC, us, the end of its pause; 0:
                                 it is closed */
    uint64_t breaker_probes;  /**< fetches that find out */
    uint64_t breaker_opened;  /**< not counting pauses after the first */
    uint64_t breaker_refused; /**< fetches, at once, while it was open */
    uint64_t handshakes;      /**< of TLS */
    uint64_t bytes;           /**< of bodies, decompressed */
    uint64_t sent;            /**< of requests' bodies */
    uint64_t failovers;       /**< attempts at another of its URLs */
    uint64_t statuses[6];     /**< [1] is 1xx ... [5] is 5xx; [0]: no answer */
    cp_histogram_t span_us[CP_SPANS];
    cp_histogram_t us;        /**< all together, of those with an answer */
    cp_histogram_t failed_us; /**< of those without: failed, or refused */
    uint64_t answered_at; /**< CLOCK_MONOTONIC, us: the last answer, 0: never */
    uint64_t failed_at;   /**< likewise: the last fetch without one */
} cp_upstream_stats_t;

/** "none", "1xx", ... of statuses. */
const char *cp_status_class_name(int i);

/** The caches of one child. */
typedef struct cp_cache_stats_t {
    uint64_t failures;  /**< the provider's errors, and what was no entry */
    uint64_t timeouts;  /**< calls that did not come back in time */
    uint64_t skipped;   /**< lookups and stores not tried after such a call */
    uint64_t dropped;   /**< stores for which no room was left in the queue */
    uint64_t too_large; /**< answers that no cache takes */
    uint64_t evictions; /**< of answers with ttl=data, for lack of room */
    uint64_t bytes;     /**< answers with ttl=data */
    uint64_t entries;   /**< likewise */
} cp_cache_stats_t;

/** One child as a process; set by maintenance as far as they are gauges. */
typedef struct cp_process_stats_t {
    uint64_t rss_bytes;
    uint64_t rss_max_bytes;
    uint64_t memory_bytes;   /**< what ConnPoolMemory bounds */
    uint64_t rss_base_bytes; /**< a minute after the start, for the trend */
    uint64_t descriptors;
    cp_histogram_t request_us; /**< our handlers, from end to end */
    cp_histogram_t
        request_failed_us;   /**< the same of requests that were
                                  refused (429), or answered with 5xx */
    uint64_t shrunk;         /**< caches released by ConnPoolMemory */
    uint64_t refused_memory; /**< refused by it */
    uint64_t refused_rate;   /**< refused by ConnPoolRateLimit */
    cp_cache_stats_t cache;
} cp_process_stats_t;

/** The loop of one child. */
typedef struct cp_loop_stats_t {
    uint64_t running; /**< 0 or 1 */
    uint64_t restarts;
    uint64_t in_flight;   /**< fetches in it, and in their own threads beside */
    uint64_t lag_us;      /**< how late the last wake-up was */
    uint64_t inline_runs; /**< fetches run without a loop because it was lost */
    uint64_t iterations;
    uint64_t heartbeat; /**< CLOCK_MONOTONIC, us, of the last iteration */
} cp_loop_stats_t;

/** The batches of one child. */
typedef struct cp_batch_stats_t {
    uint64_t requests;
    uint64_t items;
    uint64_t errors;     /**< items answered with 4xx or 5xx */
    uint64_t overlapped; /**< batches that had several fetches at once */
    uint64_t sequential; /**< batches whose fetches, two at least, ran one after
                            another because there is no loop */
    uint64_t pipelined;  /**< queries that were sent with others, in one go */
    uint64_t transactions; /**< of batches whose writes are one, that were
                              committed */
    uint64_t undone;       /**< ... that were not */
} cp_batch_stats_t;

/** Put a holder into its place, or nobody (NULL). Longer texts are cut. */
void cp_holder_write(cp_holder_t *place, const cp_holder_t *holder);

/** Copy the holder; false when there is none, or none that stays for so long.
 */
int cp_holder_read(const cp_holder_t *place, cp_holder_t *copy);

#endif
