/* SPDX-License-Identifier: Apache-2.0
 * A lane: a multi handle with its sockets and its timer. */
#include "http/lane.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/inherit.h"
#include "http/job/job.h"
#include "http/upstream/guard.h"
#include "http/upstream/upstream.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TRIM_EVERY apr_time_from_sec(1)

struct cp_lane_t {
    cp_lanes_t *all;
    int index;
    apr_interval_time_t keepalive;
    apr_interval_time_t lifetime;
    int drops_dead;
    CURLM *multi;
    int active_count; /* jobs */
    cp_clock_t timer_at;
    cp_clock_t idle_since;
    cp_clock_t trim_at;
    int *sockets; /* all that curl holds open */
    int socket_count;
    int socket_room;
};

/* ---- Sockets ---- */

/* A socket stays in epoll when curl looks away, lest it leave and enter for
 * each fetch: what is told of it then takes it out. Of descriptors that curl
 * makes and closes without a word, it alone knows when their numbers are
 * others'. */
typedef struct cp_watch_t {
    unsigned char is_ours; /* told when it is opened and closed */
    unsigned char armed;   /* CURL_POLL_ bits that epoll looks for */
    unsigned char wanted;  /* that curl wants to know of */
} cp_watch_t;

/* NULL without memory. */
static cp_watch_t *watch_of(cp_lanes_t *lanes, int fd)
{
    if (fd >= lanes->watched_room) {
        int room = fd + 64;
        cp_watch_t *grown = realloc(lanes->watched,
                                    (size_t)room * sizeof(*grown));

        if (!grown) {
            return NULL;
        }
        memset(grown + lanes->watched_room, 0,
               (size_t)(room - lanes->watched_room) * sizeof(*grown));
        lanes->watched = grown;
        lanes->watched_room = room;
    }
    return &lanes->watched[fd];
}

static void forget(cp_lanes_t *lanes, int fd)
{
    struct epoll_event event = {0};

    /* Fails when the descriptor is closed already, which is as good. */
    epoll_ctl(lanes->epoll_fd, EPOLL_CTL_DEL, fd, &event);
    if (fd < lanes->watched_room) {
        lanes->watched[fd].armed = 0;
    }
}

static void arm(cp_lane_t *lane, int fd, cp_watch_t *watch)
{
    struct epoll_event event = {.data.u64 = (uint64_t)lane->index << 32
                                            | (uint32_t)fd};
    int how = watch->armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    event.events = (watch->wanted & CURL_POLL_IN ? (unsigned)EPOLLIN : 0)
                   | (watch->wanted & CURL_POLL_OUT ? (unsigned)EPOLLOUT : 0);
    if (epoll_ctl(lane->all->epoll_fd, how, fd, &event) != 0) {
        cp_log(CP_LOG_MARK, CP_LOG_ERROR, errno, "event loop: epoll_ctl");
        lane->all->is_broken = 1;
    }
    watch->armed = watch->wanted;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *baton,
                     void *unused)
{
    cp_lane_t *lane = baton;
    cp_watch_t *watch = watch_of(lane->all, fd);

    if (!watch) {
        lane->all->is_broken = 1;
        return 0;
    }
    watch->wanted = what == CURL_POLL_REMOVE ? 0 : (unsigned char)what;
    if (watch->wanted == 0) {
        if (!watch->is_ours && watch->armed) {
            forget(lane->all, fd);
        }
        return 0;
    }
    if (!watch->armed) {
        cp_http_keep_private(fd);
    }
    /* That it can be written to would be told all the time. */
    if ((watch->wanted & ~watch->armed)
        || (watch->armed & ~watch->wanted & CURL_POLL_OUT)) {
        arm(lane, fd, watch);
    }
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *baton)
{
    cp_lane_t *lane = baton;

    lane->timer_at = timeout_ms < 0
                         ? CP_CLOCK_NEVER
                         : cp_clock_after(apr_time_from_msec(timeout_ms));
    return 0;
}

static curl_socket_t open_socket(void *baton, curlsocktype purpose,
                                 struct curl_sockaddr *address)
{
    cp_job_t *job = baton;
    cp_lane_t *lane = job->lane;
    curl_socket_t fd = cp_http_open_socket(&job->guard, purpose, address);
    cp_watch_t *watch;

    if (fd == CURL_SOCKET_BAD) {
        return fd;
    }
    watch = watch_of(lane->all, fd);
    if (!watch) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    *watch = (cp_watch_t){.is_ours = 1};
    if (lane->socket_count == lane->socket_room) {
        int room = lane->socket_room ? lane->socket_room * 2 : 32;
        int *grown = realloc(lane->sockets, (size_t)room * sizeof(*grown));

        if (!grown) {
            close(fd);
            return CURL_SOCKET_BAD;
        }
        lane->sockets = grown;
        lane->socket_room = room;
    }
    lane->sockets[lane->socket_count++] = fd;
    return fd;
}

static int close_socket(void *baton, curl_socket_t fd)
{
    cp_lane_t *lane = baton;

    for (int i = 0; i < lane->socket_count; i++) {
        if (lane->sockets[i] == fd) {
            lane->sockets[i] = lane->sockets[--lane->socket_count];
            break;
        }
    }
    if (lane->all->watched[fd].armed) {
        forget(lane->all, fd);
    }
    lane->all->watched[fd] = (cp_watch_t){.is_ours = 0};
    return close(fd);
}

/* A fresh multi handle; an old one is closed together with its sockets. */
static int renew_multi(cp_lane_t *lane)
{
    if (lane->multi) {
        curl_multi_cleanup(lane->multi);
    }
    lane->timer_at = CP_CLOCK_NEVER;
    lane->multi = cp_http_multi_create();
    if (!lane->multi) {
        return 0;
    }
    curl_multi_setopt(lane->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(lane->multi, CURLMOPT_SOCKETDATA, lane);
    curl_multi_setopt(lane->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(lane->multi, CURLMOPT_TIMERDATA, lane);
    curl_multi_setopt(lane->multi, CURLMOPT_MAXCONNECTS,
                      (long)lane->all->max_connections);
    return 1;
}

/* Say goodbye to sockets that the other side has closed; the number of those.
 */
static int count_dead_sockets(cp_lane_t *lane)
{
    int count = 0;

    for (int i = 0; i < lane->socket_count; i++) {
        struct pollfd probe = {.fd = lane->sockets[i], .events = POLLRDHUP};

        if (poll(&probe, 1, 0) > 0) {
            shutdown(probe.fd, SHUT_RDWR);
            count++;
        }
    }
    return count;
}

/* curl closes old sockets only when a new one is wanted. With nothing in
 * flight, all can be closed at once by starting anew. */
static void trim(cp_lane_t *lane)
{
    cp_clock_t now = cp_clock_now();

    if (lane->active_count > 0 || lane->socket_count == 0
        || now < lane->trim_at) {
        return;
    }
    lane->trim_at = now + TRIM_EVERY;
    if (now - lane->idle_since >= lane->keepalive
        || (lane->drops_dead
            && count_dead_sockets(lane) == lane->socket_count)) {
        lane->all->is_broken |= !renew_multi(lane);
    }
}

/* ---- Lanes ---- */

static cp_lane_t *find_lane(const cp_lanes_t *lanes,
                            const cp_upstream_config_t *config)
{
    for (int i = 0; i < lanes->count; i++) {
        cp_lane_t *lane = lanes->list[i];

        if (lane->keepalive == config->keepalive
            && lane->lifetime == config->lifetime
            && lane->drops_dead == config->drops_dead) {
            return lane;
        }
    }
    return NULL;
}

static cp_lane_t *add_lane(cp_lanes_t *lanes,
                           const cp_upstream_config_t *config)
{
    size_t size = (size_t)(lanes->count + 1) * sizeof(cp_lane_t *);
    cp_lane_t **grown = realloc(lanes->list, size);
    cp_lane_t *lane;

    if (!grown) {
        return NULL;
    }
    lanes->list = grown;
    lane = calloc(1, sizeof(*lane));
    if (!lane) {
        return NULL;
    }
    lane->all = lanes;
    lane->index = lanes->count;
    lane->keepalive = config->keepalive;
    lane->lifetime = config->lifetime;
    lane->drops_dead = config->drops_dead;
    if (!renew_multi(lane)) {
        free(lane);
        return NULL;
    }
    lanes->list[lanes->count++] = lane;
    return lane;
}

int cp_lanes_enter(cp_lanes_t *lanes, cp_job_t *job)
{
    const cp_upstream_config_t *config = &job->guard.upstream->config;
    cp_lane_t *lane = find_lane(lanes, config);

    if (!lane) {
        lane = add_lane(lanes, config);
    }
    if (!lane) {
        return 0;
    }
    job->lane = lane;
    curl_easy_setopt(job->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(job->easy, CURLOPT_OPENSOCKETDATA, job);
    curl_easy_setopt(job->easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    curl_easy_setopt(job->easy, CURLOPT_CLOSESOCKETDATA, lane);
    if (curl_multi_add_handle(lane->multi, job->easy) != CURLM_OK) {
        return 0;
    }
    lane->active_count++;
    return 1;
}

void cp_lanes_leave(cp_job_t *job)
{
    cp_lane_t *lane = job->lane;

    curl_multi_remove_handle(lane->multi, job->easy);
    if (--lane->active_count == 0) {
        lane->idle_since = cp_clock_now();
        lane->trim_at = lane->idle_since + TRIM_EVERY;
    }
}

void cp_lanes_event(cp_lanes_t *lanes, uint64_t key, int mask)
{
    cp_lane_t *lane = lanes->list[key >> 32];
    int fd = (int)(uint32_t)key;
    cp_watch_t *watch = &lanes->watched[fd];
    int running;

    /* It was closed since epoll told of it: the number may be another's. */
    if (!watch->armed) {
        return;
    }
    /* Of more than curl wants to know it would be told again and again. */
    if (watch->wanted == 0) {
        forget(lanes, fd);
        return;
    }
    if (watch->armed & ~watch->wanted) {
        arm(lane, fd, watch);
    }
    curl_multi_socket_action(lane->multi, fd, mask, &running);
}

void cp_lanes_run_timers(cp_lanes_t *lanes)
{
    int running;

    for (int i = 0; i < lanes->count; i++) {
        cp_lane_t *lane = lanes->list[i];

        if (cp_clock_now() >= lane->timer_at) {
            lane->timer_at = CP_CLOCK_NEVER;
            curl_multi_socket_action(lane->multi, CURL_SOCKET_TIMEOUT, 0,
                                     &running);
        }
    }
}

apr_interval_time_t cp_lanes_next_timer(const cp_lanes_t *lanes)
{
    apr_interval_time_t next = CP_CLOCK_NEVER;

    for (int i = 0; i < lanes->count; i++) {
        apr_interval_time_t left = cp_clock_left(lanes->list[i]->timer_at);

        next = left < next ? left : next;
    }
    return next;
}

void cp_lanes_collect(cp_lanes_t *lanes, cp_lanes_ended_fn fn, void *baton)
{
    for (int i = 0; i < lanes->count; i++) {
        CURLMsg *msg;
        int left;

        while ((msg = curl_multi_info_read(lanes->list[i]->multi, &left))) {
            CURLcode code = msg->data.result;
            char *job = NULL;

            if (msg->msg == CURLMSG_DONE) {
                curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &job);
                fn(baton, (cp_job_t *)(void *)job, code);
            }
        }
    }
}

void cp_lanes_trim(cp_lanes_t *lanes)
{
    for (int i = 0; i < lanes->count; i++) {
        trim(lanes->list[i]);
    }
}

void cp_lanes_close(cp_lanes_t *lanes)
{
    for (int i = 0; i < lanes->count; i++) {
        if (lanes->list[i]->multi) {
            curl_multi_cleanup(lanes->list[i]->multi);
        }
        free(lanes->list[i]->sockets);
        free(lanes->list[i]);
    }
    free(lanes->list);
    free(lanes->watched);
    lanes->watched = NULL;
    lanes->watched_room = 0;
    lanes->list = NULL;
    lanes->count = 0;
}
