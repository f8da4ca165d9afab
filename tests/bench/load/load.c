/* SPDX-License-Identifier: Apache-2.0
 * load: clients that ask a server for random keys, and what they got, as JSON.
 *
 * Without --rate each client sends when it has its answer (closed loop): for
 * what a request costs, and how many there can be. With --rate requests fall
 * due at fixed times, whatever became of those before, and an answer's time
 * counts from when its request fell due (open loop): a server that stalls
 * cannot keep the clients from noticing (coordinated omission). In Debian wrk,
 * ab, h2load and hey have either no random keys or no open loop.
 *
 * load --spin STEPS is the calibration: a loop that always computes the same,
 * its processor time and its wall time. */
#include "connection.h"
#include "histogram.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS   1000000000ull
/* An answer that takes longer is lost, and ends the measurement. */
#define PATIENCE_NS (15 * SECOND_NS)

enum {
    MOST_EVENTS = 256,
    TEXT_SIZE = 256,
    NOTHING_AGAIN = 8
};

typedef struct options_t {
    int port;
    const char *path;   /* {key} and {key+49} are replaced */
    const char *expect; /* what an answer must have, likewise; or NULL */
    uint64_t first_key;
    uint64_t last_key;
    int clients;
    double seconds;
    uint64_t requests; /* so many instead; 0: as many as fit the time */
    double rate;       /* requests per second; 0: closed loop */
    uint64_t seed;
} options_t;

typedef struct load_t {
    const options_t *options;
    connection_t *connections;
    int *idle; /* a ring of those without a request: oldest first */
    int idle_first;
    int idle_count;
    int epoll;
    int timer;
    uint64_t random;
    uint64_t begin_ns;
    uint64_t end_ns; /* when no more requests are made */
    uint64_t most;   /* so many requests at most */
    uint64_t sent;
    uint64_t done;
    uint64_t bytes;
    uint64_t bad_status;
    uint64_t wrong; /* answers without what was expected */
    uint64_t lost;  /* requests without an answer */
    uint64_t again; /* sent twice, for the server had closed in between */
    uint64_t longest_ns;
    uint64_t last_ns; /* when the last answer was there */
    int last_status;
    histogram_t histogram;
} load_t;

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* xorshift64*: the same keys for the same seed. */
static uint64_t next_random(load_t *load)
{
    load->random ^= load->random >> 12;
    load->random ^= load->random << 25;
    load->random ^= load->random >> 27;
    return load->random * 2685821657736338717ull;
}

/* A template with {key} and {key+N} replaced. */
static void fill(char *out, size_t room, const char *from, uint64_t key)
{
    size_t size = 0;

    while (*from && size + 1 < room) {
        if (strncmp(from, "{key", 4) == 0) {
            uint64_t more = from[4] == '+' ? strtoull(from + 5, NULL, 10) : 0;

            size += (size_t)snprintf(out + size, room - size, "%" PRIu64,
                                     key + more);
            from += strcspn(from, "}") + 1;
        }
        else {
            out[size++] = *from++;
        }
    }
    out[size < room ? size : room - 1] = '\0';
}

static void open_connection(load_t *load, connection_t *connection)
{
    struct epoll_event event = {.events = EPOLLIN};

    event.data.u32 = (uint32_t)(connection - load->connections);
    if (!connection_open(connection, load->options->port)) {
        fail("connect");
    }
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0) {
        fail("epoll_ctl");
    }
}

/* On a fresh connection, when the one that was kept has gone. */
static void send_again(load_t *load, connection_t *connection)
{
    for (int i = 0; i < NOTHING_AGAIN; i++) {
        connection_close(connection);
        open_connection(load, connection);
        load->again++;
        if (connection_send(connection)) {
            return;
        }
    }
    fail("send");
}

static void send_request(load_t *load, connection_t *connection,
                         uint64_t due_ns)
{
    const options_t *options = load->options;
    uint64_t span = options->last_key - options->first_key + 1;
    char path[TEXT_SIZE * 2];

    connection->key = options->first_key + next_random(load) % span;
    connection->due_ns = due_ns;
    fill(path, sizeof(path), options->path, connection->key);
    connection->request_size = (size_t)snprintf(
        connection->request, sizeof(connection->request),
        "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path);
    if (connection->fd < 0) {
        open_connection(load, connection);
    }
    connection->is_busy = 1;
    load->sent++;
    if (!connection_send(connection)) {
        send_again(load, connection);
    }
}

static int may_send(const load_t *load, uint64_t now)
{
    return load->sent < load->most && now < load->end_ns;
}

static uint64_t due_ns(const load_t *load, uint64_t number)
{
    return load->begin_ns
           + (uint64_t)((double)number / load->options->rate
                        * (double)SECOND_NS);
}

/* All that has fallen due, as far as there are clients for it. */
static void send_due(load_t *load)
{
    while (load->idle_count > 0 && load->sent < load->most) {
        uint64_t due = due_ns(load, load->sent);

        if (due > clock_ns(CLOCK_MONOTONIC)) {
            struct itimerspec at = {
                .it_value = {.tv_sec = (time_t)(due / SECOND_NS),
                             .tv_nsec = (long)(due % SECOND_NS)}};

            timerfd_settime(load->timer, TFD_TIMER_ABSTIME, &at, NULL);
            return;
        }
        send_request(load, &load->connections[load->idle[load->idle_first]],
                     due);
        load->idle_first = (load->idle_first + 1) % load->options->clients;
        load->idle_count--;
    }
}

static void set_free(load_t *load, connection_t *connection, uint64_t now)
{
    const options_t *options = load->options;

    if (options->rate > 0) {
        load->idle[(load->idle_first + load->idle_count) % options->clients] =
            (int)(connection - load->connections);
        load->idle_count++;
    }
    else if (may_send(load, now)) {
        send_request(load, connection, clock_ns(CLOCK_MONOTONIC));
    }
}

static void judge(load_t *load, connection_t *connection)
{
    char expected[TEXT_SIZE];

    if (connection->status != 200) {
        load->bad_status++;
        load->last_status = connection->status;
    }
    else if (load->options->expect) {
        fill(expected, sizeof(expected), load->options->expect,
             connection->key);
        load->wrong += !connection_has(connection, expected);
    }
}

static void finish(load_t *load, connection_t *connection)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    uint64_t took = now - connection->due_ns;

    connection->is_busy = 0;
    load->done++;
    load->bytes += connection->size;
    load->last_ns = now;
    load->longest_ns = took > load->longest_ns ? took : load->longest_ns;
    histogram_add(&load->histogram, took / 1000);
    judge(load, connection);
    if (connection->closes) {
        connection_close(connection);
    }
    set_free(load, connection, now);
}

/* What the server closed between two requests was no answer; what it closed
 * without one byte after a kept connection's request may be asked again. */
static void handle_closed(load_t *load, connection_t *connection)
{
    int was_busy = connection->is_busy;

    if (was_busy && connection->is_used && connection->size == 0) {
        send_again(load, connection);
        return;
    }
    connection_close(connection);
    if (was_busy) {
        connection->is_busy = 0;
        load->lost++;
        load->done++;
        set_free(load, connection, clock_ns(CLOCK_MONOTONIC));
    }
}

static void handle(load_t *load, const struct epoll_event *event)
{
    uint64_t expirations;
    connection_t *connection;

    if (event->data.u32 == UINT32_MAX) {
        /* What is due is looked up in the clock. */
        (void)!read(load->timer, &expirations, sizeof(expirations));
        return;
    }
    connection = &load->connections[event->data.u32];
    switch (connection_read(connection)) {
    case CONNECTION_MORE:
        break;
    case CONNECTION_DONE:
        finish(load, connection);
        break;
    case CONNECTION_CLOSED:
        handle_closed(load, connection);
        break;
    }
}

static void start(load_t *load)
{
    const options_t *options = load->options;

    for (int i = 0; i < options->clients; i++) {
        load->connections[i].fd = -1;
        open_connection(load, &load->connections[i]);
    }
    load->begin_ns = clock_ns(CLOCK_MONOTONIC);
    load->end_ns = load->begin_ns + (uint64_t)(options->seconds * 1e9);
    load->most = options->requests ? options->requests : UINT64_MAX;
    if (options->requests) {
        load->end_ns = UINT64_MAX;
    }
    else if (options->rate > 0) {
        load->most = (uint64_t)(options->seconds * options->rate);
    }
    for (int i = 0; i < options->clients; i++) {
        set_free(load, &load->connections[i], load->begin_ns);
    }
}

static int is_over(const load_t *load, uint64_t now)
{
    if (load->options->rate > 0) {
        return load->done >= load->most;
    }
    return load->done >= load->sent && !may_send(load, now);
}

static void run(load_t *load)
{
    struct epoll_event events[MOST_EVENTS];
    uint64_t moved_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t done = 0;

    for (;;) {
        uint64_t now = clock_ns(CLOCK_MONOTONIC);
        int count;

        if (load->options->rate > 0) {
            send_due(load);
        }
        if (is_over(load, now)) {
            return;
        }
        if (load->done != done) {
            done = load->done;
            moved_ns = now;
        }
        else if (now - moved_ns > PATIENCE_NS) {
            load->lost += load->sent - load->done;
            return;
        }
        count = epoll_wait(load->epoll, events, MOST_EVENTS, 1000);
        for (int i = 0; i < count; i++) {
            handle(load, &events[i]);
        }
    }
}

static void print(const load_t *load)
{
    uint64_t last = load->last_ns ? load->last_ns : load->begin_ns;

    printf("{\"requests\":%" PRIu64 ",\"seconds\":%.6f,\"bytes\":%" PRIu64
           ",\"bad_status\":%" PRIu64 ",\"last_status\":%d,\"wrong\":%" PRIu64
           ",\"lost\":%" PRIu64 ",\"again\":%" PRIu64 ",\"longest_us\":%" PRIu64
           ",\"histogram\":",
           load->done, (double)(last - load->begin_ns) / 1e9, load->bytes,
           load->bad_status, load->last_status, load->wrong, load->lost,
           load->again, load->longest_ns / 1000);
    histogram_print(&load->histogram, stdout);
    puts("}");
}

static int measure(const options_t *options)
{
    static load_t load;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = UINT32_MAX};

    load.options = options;
    load.random = options->seed * 0x9e3779b97f4a7c15ull + 1;
    load.connections = calloc((size_t)options->clients, sizeof(connection_t));
    load.idle = calloc((size_t)options->clients, sizeof(int));
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (!load.connections || !load.idle || load.epoll < 0 || load.timer < 0
        || epoll_ctl(load.epoll, EPOLL_CTL_ADD, load.timer, &event) != 0) {
        fail("start");
    }
    start(&load);
    run(&load);
    print(&load);
    return 0;
}

static int spin(uint64_t steps)
{
    uint64_t wall = clock_ns(CLOCK_MONOTONIC);
    uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    volatile uint64_t value = steps;

    for (uint64_t i = 0; i < steps; i++) {
        value = value * 6364136223846793005ull + i;
    }
    printf("{\"cpu_ns\":%" PRIu64 ",\"wall_ns\":%" PRIu64 "}\n",
           clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu,
           clock_ns(CLOCK_MONOTONIC) - wall);
    return 0;
}

static const struct option names[] = {
    {"port", required_argument, NULL, 'p'},
    {"path", required_argument, NULL, 'u'},
    {"expect", required_argument, NULL, 'x'},
    {"keys", required_argument, NULL, 'k'},
    {"clients", required_argument, NULL, 'c'},
    {"seconds", required_argument, NULL, 's'},
    {"requests", required_argument, NULL, 'n'},
    {"rate", required_argument, NULL, 'r'},
    {"seed", required_argument, NULL, 'e'},
    {"spin", required_argument, NULL, 'S'},
    {NULL, 0, NULL, 0},
};

static int usage(void)
{
    fputs("usage: load --port PORT --path PATH [--keys FIRST:LAST] "
          "[--expect TEXT] [--clients N]\n"
          "            [--seconds S | --requests N] [--rate R] [--seed N]\n"
          "       load --spin STEPS\n"
          "In PATH and TEXT {key} is a random key, {key+49} one that is 49 "
          "higher.\n",
          stderr);
    return 2;
}

static int is_complete(const options_t *options)
{
    return options->port > 0 && options->path && options->clients > 0
           && (options->seconds > 0 || options->requests > 0)
           && options->first_key <= options->last_key
           && strlen(options->path) < TEXT_SIZE
           && (!options->expect || strlen(options->expect) < TEXT_SIZE / 2);
}

static int read_keys(options_t *options, const char *text)
{
    return sscanf(text, "%" SCNu64 ":%" SCNu64, &options->first_key,
                  &options->last_key)
           == 2;
}

int main(int argc, char **argv)
{
    options_t options = {.clients = 1, .seconds = 1, .seed = 1};
    int option;

    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case 'p':
            options.port = atoi(optarg);
            break;
        case 'u':
            options.path = optarg;
            break;
        case 'x':
            options.expect = optarg;
            break;
        case 'k':
            if (!read_keys(&options, optarg)) {
                return usage();
            }
            break;
        case 'c':
            options.clients = atoi(optarg);
            break;
        case 's':
            options.seconds = atof(optarg);
            break;
        case 'n':
            options.requests = strtoull(optarg, NULL, 10);
            break;
        case 'r':
            options.rate = atof(optarg);
            break;
        case 'e':
            options.seed = strtoull(optarg, NULL, 10);
            break;
        case 'S':
            return spin(strtoull(optarg, NULL, 10));
        default:
            return usage();
        }
    }
    return is_complete(&options) ? measure(&options) : usage();
}
