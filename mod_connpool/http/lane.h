/* SPDX-License-Identifier: Apache-2.0
 * Lanes of the loop's thread: one for all upstreams that say the same of how
 * long a socket may be kept. curl applies what one handle says of that to every
 * idle socket of its multi handle, so each lane has its own. */
#ifndef CP_LANE_H
#define CP_LANE_H

#include <stdint.h>

#include <curl/curl.h>

#include <apr_time.h>

#include "http/job/job.h"

typedef struct cp_lane_t cp_lane_t;

/** All of one thread, and its own. Begins with the first two set. */
typedef struct cp_lanes_t {
    int epoll_fd;        /**< where sockets are waited for; not theirs */
    int max_connections; /**< idle sockets that a lane keeps at the most */
    cp_lane_t **list;    /**< made when first needed, and kept */
    int count;
    struct cp_watch_t *watched; /**< by descriptor */
    int watched_room;
    int is_broken; /**< cannot go on */
} cp_lanes_t;

/** Put the job into its lane. 0 without memory, or when curl refuses it. */
int cp_lanes_enter(cp_lanes_t *lanes, cp_job_t *job);

/** Take it out again. */
void cp_lanes_leave(cp_job_t *job);

/** What epoll has told of a socket: the key is the event's data, never
 * UINT64_MAX; mask is of CURL_CSELECT_ bits. */
void cp_lanes_event(cp_lanes_t *lanes, uint64_t key, int mask);

/** Do what is due. */
void cp_lanes_run_timers(cp_lanes_t *lanes);

/** How long until something is. */
apr_interval_time_t cp_lanes_next_timer(const cp_lanes_t *lanes);

/** Tell all jobs whose transfer has ended; they may leave. */
typedef void (*cp_lanes_ended_fn)(void *baton, cp_job_t *job, CURLcode code);
void cp_lanes_collect(cp_lanes_t *lanes, cp_lanes_ended_fn fn, void *baton);

/** Close idle sockets whose time is over. */
void cp_lanes_trim(cp_lanes_t *lanes);

/** Close all; no job may be in any. */
void cp_lanes_close(cp_lanes_t *lanes);

#endif
