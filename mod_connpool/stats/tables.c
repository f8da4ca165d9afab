/* SPDX-License-Identifier: Apache-2.0
 * The table of each struct of counters: a row for each member. Families stand
 * in the order of these rows, members of JSON in the order of the struct. */
#include "stats/tables.h"

#include "base/error.h"
#include "base/gauge.h"
#include "stats/metric.h"
#include "stats/stats.h"

#define MEMBER(of, member) (((cp_##of##_stats_t *)0)->member)

/* ROW(pool, timeouts, COUNTER, names) */
#define ROW(of, member, kind, ...)                                             \
    {                                                                          \
        .offset = offsetof(cp_##of##_stats_t, member),                         \
        .size = sizeof(MEMBER(of, member)), .type = CP_METRIC_##kind,          \
        __VA_ARGS__                                                            \
    }

#define TABLE(of)                                                              \
    const cp_metrics_t cp_##of##_metrics = {                                   \
        of##_rows, sizeof(of##_rows) / sizeof(of##_rows[0]),                   \
        sizeof(cp_##of##_stats_t)}

/* --- keys of arrays --- */

static const char *reason(int i)
{
    return cp_close_reason_name((cp_close_reason_t)i);
}

static const char *error_class(int i)
{
    return cp_error_class_name((cp_error_class_t)i);
}

static const char *span(int i)
{
    return cp_span_name((cp_span_t)i);
}

/* Errors by their class: the first one is none. */
#define BY_CLASS .label = "class", .key = error_class, .first = CP_ERR_NONE + 1

/* --- pools --- */

static const cp_metric_t pool_rows[] = {
    /* Here stand the connections by state: states of which the sum is open. */
    ROW(pool, open_max, MARK, .json = "open_max",
        .family = "connpool_connections_peak",
        .help = "Most connections ever open at once in one child."),
    ROW(pool, busy_max, MARK, .json = "busy_max",
        .family = "connpool_busy_peak",
        .help = "Most connections ever busy at once in one child."),
    ROW(pool, waiting, GAUGE, .json = "waiting", .family = "connpool_waiters",
        .help = "Requests that wait for a connection."),
    ROW(pool, waiting_max, MARK, .json = "waiting_max",
        .family = "connpool_waiters_peak",
        .help = "Most requests ever waiting at once in one child."),
    ROW(pool, acquired, COUNTER, .flow = CP_FLOW_WHOLE, .json = "acquired",
        .family = "connpool_acquired", .help = "Connections borrowed."),
    ROW(pool, released, COUNTER, .flow = CP_FLOW_PART, .json = "released",
        .family = "connpool_released", .help = "Connections given back."),
    ROW(pool, abandoned, COUNTER, .flow = CP_FLOW_PART, .json = "abandoned",
        .family = "connpool_abandoned",
        .help = "Connections that were out when their child was killed."),
    ROW(pool, timeouts, COUNTER, .json = "timeouts",
        .family = "connpool_acquire_timeouts",
        .help = "Requests refused at the deadline."),
    ROW(pool, rejected, COUNTER, .json = "rejected",
        .family = "connpool_rejected",
        .help = "Requests refused at once, because the queue was full."),
    ROW(pool, fallbacks, COUNTER, .json = "fallbacks",
        .family = "connpool_fallbacks",
        .help = "One-shot connections beside an exhausted pool."),
    ROW(pool, created, COUNTER, .flow = CP_FLOW_WHOLE, .json = "created",
        .family = "connpool_created", .help = "Connections opened."),
    ROW(pool, leaks_suspected, COUNTER, .json = "leaks_suspected",
        .family = "connpool_leaks_suspected",
        .help = "Connections held for longer than leak=."),
    /* Here stand the driver's gauges, and what comes from no counter. */
    ROW(pool, closed, COUNTER, .flow = CP_FLOW_PART, .json = "closed",
        .family = "connpool_closed", .help = "Connections closed, by reason.",
        .label = "reason", .key = reason),
    ROW(pool, failures, COUNTER, .json = "failures",
        .family = "connpool_create_failures",
        .help = "Connections that could not be opened, by class of error.",
        BY_CLASS),
    ROW(pool, groups, COUNTER, .json = "groups", .family = "connpool_groups",
        .help = "Groups of writes that were committed together, by how many "
                "they were at the most.",
        .label = "size", .key = cp_group_size_name),
    ROW(pool, acquire_us, HISTOGRAM, .json = "acquire_us", .unit = "seconds",
        .family = "connpool_acquire_seconds",
        .help = "Time from asking for a connection to having it."),
    ROW(pool, refused_us, HISTOGRAM, .json = "refused_us", .unit = "seconds",
        .family = "connpool_refused_seconds",
        .help = "Time from asking for a connection to hearing that there is "
                "none: refused, or it could not be opened."),
    ROW(pool, hold_us, HISTOGRAM, .json = "hold_us", .unit = "seconds",
        .family = "connpool_hold_seconds",
        .help = "Time a connection was held."),
    ROW(pool, create_us, HISTOGRAM, .json = "create_us", .unit = "seconds",
        .family = "connpool_create_seconds",
        .help = "Time to open a connection, failures included."),
    ROW(pool, open, GAUGE, .json = "open"),
    ROW(pool, busy, GAUGE, .json = "busy"),
    ROW(pool, idle, GAUGE, .json = "idle"),
    ROW(pool, one_shots, GAUGE, .json = "one_shots"),
    ROW(pool, busy_writers, GAUGE, .json = "busy_writers"),
    ROW(pool, create_failures, COUNTER, .json = "create_failures"),
    ROW(pool, memory_bytes, GAUGE, .json = "memory_bytes"),
    ROW(pool, down, GAUGE),
    ROW(pool, is_known, GAUGE),
    ROW(pool, opening, GAUGE),
    ROW(pool, in_transaction, GAUGE),
    ROW(pool, reconnects, COUNTER),
    ROW(pool, waiting_since, SINCE),
    ROW(pool, driver_gauges[0], GAUGE),
    ROW(pool, driver_gauges[1], GAUGE),
    ROW(pool, driver_gauges[2], GAUGE),
    ROW(pool, driver_gauges[3], LEVEL),
};
TABLE(pool);

_Static_assert(CP_GAUGES == 4 && CP_GAUGES_HELD == 3,
               "each of the driver's gauges has its row");

/* --- queries --- */

#define LOOKUPS                                                                \
    .flow = CP_FLOW_PART, .family = "connpool_cache_lookups",                  \
    .label = "result",                                                         \
    .help = "Requests that looked for a kept answer, by what they found; "     \
            "those that another request answered are not among them."

static const cp_metric_t query_rows[] = {
    ROW(query, us, HISTOGRAM, .json = "us", .unit = "seconds",
        .family = "connpool_query_seconds",
        .help = "Time of named queries that ran to their end."),
    ROW(query, failed_us, HISTOGRAM, .json = "failed_us", .unit = "seconds",
        .family = "connpool_query_failed_seconds",
        .help = "Time of named queries that failed or were refused, with "
                "their wait for a connection."),
    ROW(query, rows, COUNTER, .json = "rows", .family = "connpool_query_rows",
        .help = "Rows that queries returned."),
    ROW(query, retries, COUNTER, .json = "retries",
        .family = "connpool_query_retries",
        .help = "Queries that were begun anew after a failure that had done "
                "nothing."),
    ROW(query, slow, COUNTER, .json = "slow", .family = "connpool_query_slow",
        .help = "Queries that took longer than ConnPoolSlowLog."),
    ROW(query, failures, COUNTER, .json = "failures",
        .family = "connpool_query_errors",
        .help = "Queries that failed, by class of error.", BY_CLASS),
    ROW(query, misfits, COUNTER, .json = "misfits",
        .family = "connpool_query_misfits",
        .help = "Values that are not what json= or types= says of them."),
    ROW(query, forbidden, COUNTER, .json = "forbidden",
        .family = "connpool_query_forbidden",
        .help = "Requests refused because they lack a fact (from=) that the "
                "query requires."),
    ROW(query, grouped, COUNTER, .flow = CP_FLOW_PART, .json = "grouped",
        .family = "connpool_query_grouped",
        .help = "Writes that were committed together with those of others."),
    ROW(query, hits, COUNTER, .json = "hits", LOOKUPS, .value = "hit"),
    ROW(query, misses, COUNTER, .json = "misses", LOOKUPS, .value = "miss"),
    ROW(query, stale, COUNTER, .json = "stale", LOOKUPS, .value = "stale"),
    ROW(query, stores, COUNTER, .json = "stores",
        .family = "connpool_cache_stores", .help = "Answers kept."),
    ROW(query, coalesced, COUNTER, .flow = CP_FLOW_PART, .json = "coalesced",
        .family = "connpool_query_coalesced",
        .help = "Requests answered by the run of another one."),
    ROW(query, bypassed, COUNTER, .json = "bypassed",
        .family = "connpool_cache_bypassed",
        .help = "Requests that did not look, for they had credentials."),
    ROW(query, broken, COUNTER, .flow = CP_FLOW_PART),
    ROW(query, unprepared, GAUGE),
    ROW(query, is_known, GAUGE),
    ROW(query, count, COUNTER, .flow = CP_FLOW_WHOLE, .json = "count"),
    ROW(query, errors, COUNTER, .flow = CP_FLOW_PART, .json = "errors"),
    ROW(query, lookups, COUNTER, .flow = CP_FLOW_WHOLE, .json = "lookups"),
};
TABLE(query);

/* --- upstreams --- */

#define HTTP_BYTES                                                             \
    .family = "connpool_http_bytes", .label = "dir",                           \
    .help = "Bytes of bodies, of answers decompressed."

static const cp_metric_t upstream_rows[] = {
    ROW(upstream, statuses, COUNTER, .json = "statuses",
        .family = "connpool_http_requests",
        .help = "Fetches by class of status; none: without an answer.",
        .label = "code_class", .key = cp_status_class_name),
    ROW(upstream, errors, COUNTER, .flow = CP_FLOW_PART, .json = "errors",
        .family = "connpool_http_errors",
        .help = "Fetches that failed, or were answered with 5xx."),
    ROW(upstream, reused, COUNTER, .flow = CP_FLOW_PART, .json = "reused",
        .family = "connpool_http_reused",
        .help = "Fetches over a socket that was open already."),
    ROW(upstream, retries, COUNTER, .json = "retries",
        .family = "connpool_http_retries",
        .help = "Attempts more than the first."),
    ROW(upstream, refused_rate, COUNTER, .json = "rate_refused",
        .family = "connpool_http_rate_refused",
        .help = "Fetches that rate= did not allow."),
    ROW(upstream, coalesced, COUNTER, .json = "coalesced",
        .family = "connpool_http_coalesced",
        .help = "Requests that got what an equal fetch of another brought."),
    ROW(upstream, breaker_opened, COUNTER, .json = "breaker_opened",
        .family = "connpool_http_breaker_opened",
        .help = "Times that a breaker opened."),
    ROW(upstream, breaker_refused, COUNTER, .json = "breaker_refused",
        .family = "connpool_http_breaker_refused",
        .help = "Fetches refused because a breaker was open."),
    ROW(upstream, handshakes, COUNTER, .json = "handshakes",
        .family = "connpool_http_tls_handshakes", .help = "TLS handshakes."),
    ROW(upstream, bytes, COUNTER, .json = "bytes", .unit = "bytes", HTTP_BYTES,
        .value = "in"),
    ROW(upstream, sent, COUNTER, .json = "sent", .unit = "bytes", HTTP_BYTES,
        .value = "out"),
    ROW(upstream, failovers, COUNTER, .json = "failovers",
        .family = "connpool_http_failovers",
        .help = "Attempts at another URL of an upstream."),
    /* Here stands the breaker's state. */
    ROW(upstream, us, HISTOGRAM, .json = "us", .unit = "seconds",
        .family = "connpool_http_seconds",
        .help = "Time of whole fetches that got an answer."),
    ROW(upstream, failed_us, HISTOGRAM, .json = "failed_us", .unit = "seconds",
        .family = "connpool_http_failed_seconds",
        .help = "Time of fetches that got none: they failed, or had no "
                "connection."),
    ROW(upstream, span_us, HISTOGRAM, .json = "_us", .unit = "seconds",
        .family = "connpool_http_phase_seconds",
        .help = "Time of each phase of fetches.", .label = "phase",
        .key = span),
    ROW(upstream, count, COUNTER, .flow = CP_FLOW_WHOLE, .json = "count"),
    ROW(upstream, answered_at, MARK),
    ROW(upstream, failed_at, MARK),
    ROW(upstream, breaker_until, LEVEL),
    ROW(upstream, breaker_probes, GAUGE),
};
TABLE(upstream);

/* --- one of each child --- */

static const cp_metric_t loop_rows[] = {
    ROW(loop, lag_us, LEVEL, .json = "lag_us", .unit = "seconds",
        .family = "connpool_loop_lag_seconds",
        .help = "How late the last wake-up was, in the worst child."),
    ROW(loop, running, GAUGE, .json = "loops", .family = "connpool_loops",
        .help = "Event loops that run."),
    ROW(loop, in_flight, GAUGE, .json = "in_flight",
        .family = "connpool_loop_in_flight",
        .help = "Fetches under way, in the loops and beside them."),
    ROW(loop, iterations, COUNTER, .json = "iterations",
        .family = "connpool_loop_iterations",
        .help = "Rounds of the event loops."),
    ROW(loop, restarts, COUNTER, .json = "restarts",
        .family = "connpool_loop_restarts",
        .help = "Event loops started anew."),
    ROW(loop, inline_runs, COUNTER, .json = "inline_runs",
        .family = "connpool_loop_inline_runs",
        .help = "Fetches run without the loop, because it was lost."),
    ROW(loop, heartbeat, LEVEL),
};
TABLE(loop);

static const cp_metric_t process_rows[] = {
    ROW(process, rss_bytes, GAUGE, .json = "rss_bytes", .unit = "bytes",
        .family = "connpool_resident_bytes",
        .help = "Resident memory of all children."),
    ROW(process, rss_max_bytes, LEVEL, .json = "rss_max_bytes", .unit = "bytes",
        .family = "connpool_resident_peak_bytes",
        .help = "Most resident memory that any of the children has had."),
    ROW(process, descriptors, GAUGE, .json = "descriptors",
        .family = "connpool_descriptors",
        .help = "Open file descriptors of all children."),
    /* Here stands the bound. */
    ROW(process, memory_bytes, GAUGE, .json = "memory_bytes", .unit = "bytes",
        .family = "connpool_memory_used_bytes",
        .help = "What ConnPoolMemory bounds, of all children."),
    ROW(process, shrunk, COUNTER, .json = "memory_shrunk",
        .family = "connpool_memory_shrunk",
        .help = "Times that ConnPoolMemory made caches shrink."),
    ROW(process, refused_memory, COUNTER, .json = "memory_refused",
        .family = "connpool_memory_refused",
        .help = "Requests refused by ConnPoolMemory."),
    ROW(process, refused_rate, COUNTER, .json = "rate_refused",
        .family = "connpool_rate_refused",
        .help = "Requests refused by ConnPoolRateLimit."),
    ROW(process, request_us, HISTOGRAM, .json = "request_us", .unit = "seconds",
        .family = "connpool_request_seconds",
        .help = "Time of requests in our handlers, from end to end, but for "
                "those that failed."),
    ROW(process, request_failed_us, HISTOGRAM, .json = "request_failed_us",
        .unit = "seconds", .family = "connpool_request_failed_seconds",
        .help = "Time of requests that were refused with 429 or answered with "
                "5xx."),
    ROW(process, rss_base_bytes, GAUGE),

    ROW(process, cache.failures, COUNTER, .json = "failures",
        .family = "connpool_cache_failures",
        .help = "Errors of the cache, and entries that were none."),
    ROW(process, cache.timeouts, COUNTER, .json = "timeouts",
        .family = "connpool_cache_timeouts",
        .help = "Calls of the cache that did not come back in time."),
    ROW(process, cache.skipped, COUNTER, .json = "skipped",
        .family = "connpool_cache_skipped",
        .help = "Lookups and stores not tried, because the cache was away."),
    ROW(process, cache.dropped, COUNTER, .json = "dropped",
        .family = "connpool_cache_dropped",
        .help = "Stores for which the queue had no room."),
    ROW(process, cache.too_large, COUNTER, .json = "too_large",
        .family = "connpool_cache_too_large",
        .help = "Answers that the cache does not take."),
    ROW(process, cache.evictions, COUNTER, .json = "evictions",
        .family = "connpool_cache_evictions",
        .help = "Answers with ttl=data that went for lack of room."),
    ROW(process, cache.entries, GAUGE, .json = "entries",
        .family = "connpool_cache_entries",
        .help = "Answers with ttl=data, of all children."),
    ROW(process, cache.bytes, GAUGE, .json = "bytes", .unit = "bytes",
        .family = "connpool_cache_bytes",
        .help = "Memory of answers with ttl=data, of all children."),
};
TABLE(process);

static const cp_metric_t batch_rows[] = {
    ROW(batch, requests, COUNTER, .json = "requests",
        .family = "connpool_batch_requests", .help = "Batches."),
    ROW(batch, items, COUNTER, .json = "items",
        .family = "connpool_batch_items", .help = "Items of batches."),
    ROW(batch, errors, COUNTER, .json = "errors",
        .family = "connpool_batch_item_errors",
        .help = "Items of batches answered with 4xx or 5xx."),
    ROW(batch, overlapped, COUNTER, .json = "overlapped",
        .family = "connpool_batch_overlapped",
        .help = "Batches that had several fetches at once."),
    ROW(batch, sequential, COUNTER, .json = "sequential",
        .family = "connpool_batch_sequential",
        .help = "Batches whose fetches ran one after another, for lack of a "
                "loop."),
    ROW(batch, pipelined, COUNTER, .json = "pipelined",
        .family = "connpool_batch_pipelined",
        .help = "Queries of batches that were sent with others, in one go."),
    ROW(batch, transactions, COUNTER, .json = "transactions",
        .family = "connpool_batch_transactions",
        .help = "Transactions of several writes that were committed."),
    ROW(batch, undone, COUNTER, .json = "undone",
        .family = "connpool_batch_undone",
        .help = "Transactions of several writes that were undone."),
};
TABLE(batch);
