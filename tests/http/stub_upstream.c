/* SPDX-License-Identifier: Apache-2.0 */
#include "http/stub_upstream.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PEERS_MAX 256

typedef struct peer_t {
    stub_t *stub;
    pthread_t thread;
    int fd; /* -1: free; stub->lock */
    int is_used;
} peer_t;

struct stub_t {
    pthread_t thread;
    int listener;
    int port;
    pthread_mutex_t lock; /* guards peers and is_stopping */
    peer_t peers[PEERS_MAX];
    int is_stopping;
    int accepted, requests, open; /* atomic */
    int64_t sent;                 /* atomic */
};

static int add(int *cell, int delta)
{
    return __atomic_add_fetch(cell, delta, __ATOMIC_RELAXED);
}

static void pause_us(long us)
{
    struct timespec ts = {us / 1000000, us % 1000000 * 1000};

    nanosleep(&ts, NULL);
}

static int put(int fd, const void *data, size_t size)
{
    const char *at = data;

    while (size > 0) {
        ssize_t written = send(fd, at, size, MSG_NOSIGNAL);

        if (written <= 0) {
            return 0;
        }
        at += written;
        size -= (size_t)written;
    }
    return 1;
}

static int put_text(int fd, const char *text)
{
    return put(fd, text, strlen(text));
}

static int put_answer(int fd, const char *body)
{
    char head[128];

    snprintf(head, sizeof(head),
             "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
             "Content-Length: %zu\r\n\r\n",
             strlen(body));
    return put_text(fd, head) && put_text(fd, body);
}

/* ---- Literal answers; those without a length end the connection ---- */

typedef struct raw_t {
    const char *name;
    const char *text;
} raw_t;

static const raw_t raws[] = {
    {"interim", "HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n"
                "HTTP/1.1 200 OK\r\nX-Final: 1\r\nContent-Length: 2\r\n\r\nok"},
    {"short", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"},
    {"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                "3\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"},
    {"lastchunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "3\r\nabc\r\n"},
    {"badchunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "fffffffffffffffff\r\nabc\r\n"},
    {"halfhead", "HTTP/1.1 200 OK\r\nContent-Type: te"},
    {"lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
                "Content-Length: 3\r\n\r\nokk"},
    {"badlength", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"},
    {"status999", "HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n"},
    {"nothttp", "220 mail.example ESMTP\r\n"},
    {"badname", "HTTP/1.1 200 OK\r\nBad Name: 1\r\nContent-Length: 0\r\n\r\n"},
    {"folded", "HTTP/1.1 200 OK\r\nX-A: 1\r\n more\r\n"
               "Content-Length: 0\r\n\r\n"},
    {"control", "HTTP/1.1 200 OK\r\nX-A: a\001b\r\nContent-Length: 0\r\n\r\n"},
    {"brotli", "HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n"
               "Content-Length: 2\r\n\r\nok"},
    {"hops", "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Private\r\n"
             "Keep-Alive: timeout=5\r\nX-Private: 1\r\nX-Public: 1\r\n"
             "Set-Cookie: a=b\r\nStrict-Transport-Security: max-age=1\r\n"
             "Alt-Svc: h2=\":1\"\r\nUpgrade: h2c\r\nX-Empty:\r\n"
             "Content-Length: 2\r\n\r\nok"},
    {"excess", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 No"
               "\r\nContent-Length: 0\r\n\r\n"},
    {"both", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"
             "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
    {"old", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"},
    {"oldkept", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"
                "Content-Length: 2\r\n\r\nok"},
    {"closing", "HTTP/1.1 200 OK\r\nConnection: x, Close\r\n"
                "Content-Length: 2\r\n\r\nok"},
    {"newer", "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok"},
    {"http2", "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok"},
    {"barelf", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"},
    {"extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "00A;name=value\r\n0123456789\r\n0;x\r\n\r\n"},
    {"nochunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                "\r\nabc\r\n0\r\n\r\n"},
    {"chunkend", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "2\r\nabc\r\n0\r\n\r\n"},
    {"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "2\r\nab\r\n0\r\nContent-Length: 7\r\nX-B: 2\r\n\r\n"},
    {"nul", "HTTP/1.1 200 OK\r\nX-A: a\177b\r\nContent-Length: 0\r\n\r\n"},
    {"blank", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
    {"gzipped", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
                "2\r\nab\r\n0\r\n\r\n"},
    {"noreason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"},
    {"eof", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end"},
};

static int serve_raw(int fd, const char *name)
{
    for (size_t i = 0; i < sizeof(raws) / sizeof(*raws); i++) {
        if (strcmp(raws[i].name, name) == 0) {
            put_text(fd, raws[i].text);
            /* Those that are whole leave the connection to the next one. */
            return strcmp(name, "chunked") == 0 || strcmp(name, "hops") == 0
                   || strcmp(name, "interim") == 0
                   || strcmp(name, "oldkept") == 0
                   || strcmp(name, "extension") == 0
                   || strcmp(name, "trailers") == 0;
        }
    }
    abort();
}

static int serve_flood(int fd, const char *line)
{
    int is_open = 1;

    while (is_open) {
        is_open = put_text(fd, line);
    }
    return 0;
}

/* ---- Bodies ---- */

static int serve_bytes(stub_t *stub, int fd, long size)
{
    char chunk[65536];
    char head[128];

    memset(chunk, 'x', sizeof(chunk));
    snprintf(head, sizeof(head),
             "HTTP/1.1 200 OK\r\nContent-Length: %ld\r\n\r\n", size);
    if (!put_text(fd, head)) {
        return 0;
    }
    while (size > 0) {
        size_t now = size < (long)sizeof(chunk) ? (size_t)size : sizeof(chunk);

        if (!put(fd, chunk, now)) {
            return 0;
        }
        __atomic_add_fetch(&stub->sent, (int64_t)now, __ATOMIC_RELAXED);
        size -= (long)now;
    }
    return 1;
}

static int put_chunk(int fd, const void *data, size_t size)
{
    char head[32];

    snprintf(head, sizeof(head), "%zx\r\n", size);
    return put_text(fd, head) && put(fd, data, size) && put(fd, "\r\n", 2);
}

static int serve_endless(stub_t *stub, int fd)
{
    char chunk[4096] = {0};
    int is_open = put_text(fd, "HTTP/1.1 200 OK\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n");

    while (is_open) {
        is_open = put_chunk(fd, chunk, sizeof(chunk));
        __atomic_add_fetch(&stub->sent, sizeof(chunk), __ATOMIC_RELAXED);
    }
    return 0;
}

/* ---- gzip, written by hand: one zero, then copies of the 258 before ---- */

typedef struct bits_t {
    unsigned char data[16384];
    size_t size;
    unsigned hold;
    int count;
} bits_t;

static void put_bits(bits_t *bits, unsigned value, int count)
{
    bits->hold |= value << bits->count;
    bits->count += count;
    while (bits->count >= 8) {
        bits->data[bits->size++] = (unsigned char)bits->hold;
        bits->hold >>= 8;
        bits->count -= 8;
    }
}

static uint32_t crc_of_zeros(long size)
{
    uint32_t crc = 0xffffffff;

    for (long bit = 0; bit < size * 8; bit++) {
        crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

static int flush_bits(int fd, bits_t *bits)
{
    size_t size = bits->size;

    bits->size = 0;
    return size == 0 || put_chunk(fd, bits->data, size);
}

/* The codes of RFC 1951's fixed tables, their bits turned round. */
static int serve_gzip(int fd, long copies)
{
    static const unsigned char magic[10] = {31, 139, 8, 0, 0, 0, 0, 0, 0, 255};
    long size = 1 + copies * 258;
    uint32_t crc = crc_of_zeros(size);
    bits_t bits = {.size = 0};
    int is_open = put_text(fd, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n")
                  && put_chunk(fd, magic, sizeof(magic));

    put_bits(&bits, 3, 3);    /* last block, fixed tables */
    put_bits(&bits, 0x0c, 8); /* a zero */
    while (is_open && copies-- > 0) {
        put_bits(&bits, 0xa3, 8); /* 258 bytes */
        put_bits(&bits, 0, 5);    /* from one byte back */
        if (bits.size > sizeof(bits.data) - 16) {
            is_open = flush_bits(fd, &bits);
        }
    }
    put_bits(&bits, 0, 7); /* end */
    put_bits(&bits, 0, bits.count ? 8 - bits.count : 0);
    for (int i = 0; i < 8; i++) {
        put_bits(&bits, (i < 4 ? crc : (uint32_t)size) >> 8 * (i % 4) & 255, 8);
    }
    return is_open && flush_bits(fd, &bits) && put_text(fd, "0\r\n\r\n");
}

/* ---- Pauses ---- */

static int serve_in_parts(int fd, const char *first, const char *second,
                          long us)
{
    if (!put_text(fd, first)) {
        return 0;
    }
    pause_us(us);
    return put_text(fd, second);
}

static int serve_trickle(int fd, long us)
{
    int is_open = put_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");

    for (int i = 0; is_open && i < 10; i++) {
        pause_us(us);
        is_open = put(fd, "t", 1);
    }
    return is_open;
}

static int serve_redirect(int fd, const char *target)
{
    return put_text(fd, "HTTP/1.1 302 Found\r\nContent-Length: 4\r\n"
                        "Location: ")
           && put_text(fd, target) && put_text(fd, "\r\n\r\naway");
}

static int serve_status(int fd, const char *status)
{
    return put_text(fd, "HTTP/1.1 ") && put_text(fd, status)
           && put_text(fd, " Status\r\nContent-Length: 0\r\n\r\n");
}

static int reset(int fd)
{
    struct linger linger = {1, 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    return 0;
}

/* ---- Connections ---- */

static int wait_for_client_to_leave(int fd)
{
    char byte;

    while (recv(fd, &byte, 1, 0) > 0) {
    }
    return 0;
}

/* Is the path below this prefix? What follows goes to *prest. */
static int is_below(const char *path, const char *prefix, const char **prest)
{
    size_t size = strlen(prefix);

    *prest = path + size;
    return strncmp(path, prefix, size) == 0;
}

static int serve_timed(int fd, const char *path, const char *rest)
{
    if (is_below(path, "/wait/", &rest)) {
        pause_us(atol(rest));
        return put_answer(fd, "hello");
    }
    if (is_below(path, "/leave/", &rest)) {
        put_answer(fd, "hello");
        pause_us(atol(rest));
        return 0;
    }
    if (is_below(path, "/late/", &rest)) {
        put_answer(fd, "hello");
        pause_us(atol(rest));
        put_text(fd, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 3\r\n"
                     "\r\nbad");
        return wait_for_client_to_leave(fd);
    }
    if (is_below(path, "/half/", &rest)) {
        return serve_in_parts(fd, "HTTP/1.1 200 OK\r\nX-Half: 1\r\n",
                              "Content-Length: 5\r\n\r\nhello", atol(rest));
    }
    if (is_below(path, "/gap/", &rest)) {
        return serve_in_parts(
            fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst", "other",
            atol(rest));
    }
    if (is_below(path, "/trickle/", &rest)) {
        return serve_trickle(fd, atol(rest));
    }
    return wait_for_client_to_leave(fd);
}

/* Answer one request; 0 ends the connection. */
static int serve(stub_t *stub, int fd, const char *path, const char *head)
{
    const char *rest;

    if (is_below(path, "/hello", &rest)) {
        return put_answer(fd, "hello");
    }
    if (is_below(path, "/echo", &rest)) {
        return put_answer(fd, head);
    }
    if (is_below(path, "/bytes/", &rest)) {
        return serve_bytes(stub, fd, atol(rest));
    }
    if (is_below(path, "/endless", &rest)) {
        return serve_endless(stub, fd);
    }
    if (is_below(path, "/gzip/", &rest)) {
        return serve_gzip(fd, atol(rest));
    }
    if (is_below(path, "/status/", &rest)) {
        return serve_status(fd, rest);
    }
    if (is_below(path, "/to/", &rest)) {
        return serve_redirect(fd, rest);
    }
    if (is_below(path, "/raw/", &rest)) {
        return serve_raw(fd, rest);
    }
    if (is_below(path, "/headers", &rest)) {
        return put_text(fd, "HTTP/1.1 200 OK\r\n")
               && serve_flood(fd, "X-Flood: 0123456789abcdef0123456789\r\n");
    }
    if (is_below(path, "/interims", &rest)) {
        return serve_flood(fd, "HTTP/1.1 100 Continue\r\n\r\n");
    }
    if (is_below(path, "/close", &rest)) {
        return 0;
    }
    if (is_below(path, "/reset", &rest)) {
        return reset(fd);
    }
    if (is_below(path, "/once/", &rest)) {
        return __atomic_load_n(&stub->accepted, __ATOMIC_RELAXED) > 1
               && put_answer(fd, "hello");
    }
    return serve_timed(fd, path, rest);
}

static int is_head_request(const char *head)
{
    return strncmp(head, "HEAD ", 5) == 0;
}

static int read_head(int fd, char *head, size_t room)
{
    size_t size = 0;

    for (;;) {
        ssize_t got = recv(fd, head + size, room - 1 - size, 0);

        if (got <= 0) {
            return 0;
        }
        size += (size_t)got;
        head[size] = '\0';
        if (head[0] < 'A') {
            put_text(fd, "HTTP/1.1 400 No TLS\r\n\r\n");
            return 0;
        }
        if (strstr(head, "\r\n\r\n")) {
            return 1;
        }
    }
}

static void converse(stub_t *stub, int fd)
{
    char head[16384];
    char path[8192];
    int is_open = 1;

    while (is_open && read_head(fd, head, sizeof(head))) {
        add(&stub->requests, 1);
        if (sscanf(head, "%*s %8191s", path) != 1) {
            return;
        }
        is_open = is_head_request(head)
                      ? put_text(fd, "HTTP/1.1 200 OK\r\nX-Head: 1\r\n"
                                     "Content-Length: 1000\r\n\r\n")
                      : serve(stub, fd, path, head);
    }
}

static void *run_peer(void *data)
{
    peer_t *peer = data;
    stub_t *stub = peer->stub;
    int fd = peer->fd;

    converse(stub, fd);
    pthread_mutex_lock(&stub->lock);
    peer->fd = -1;
    pthread_mutex_unlock(&stub->lock);
    add(&stub->open, -1);
    close(fd);
    return NULL;
}

/* A place whose thread is over, with that thread joined. Locked. */
static peer_t *free_peer(stub_t *stub)
{
    for (int i = 0; i < PEERS_MAX; i++) {
        peer_t *peer = &stub->peers[i];

        if (peer->fd < 0) {
            if (peer->is_used) {
                pthread_join(peer->thread, NULL);
            }
            peer->is_used = 0;
            return peer;
        }
    }
    return NULL;
}

static void admit(stub_t *stub, int fd)
{
    peer_t *peer;

    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    add(&stub->accepted, 1);
    add(&stub->open, 1);
    pthread_mutex_lock(&stub->lock);
    peer = stub->is_stopping ? NULL : free_peer(stub);
    if (peer) {
        peer->fd = fd;
        peer->is_used = 1;
        if (pthread_create(&peer->thread, NULL, run_peer, peer) != 0) {
            abort();
        }
    }
    pthread_mutex_unlock(&stub->lock);
    if (!peer) {
        add(&stub->open, -1);
        close(fd);
    }
}

static void *run_listener(void *data)
{
    stub_t *stub = data;
    int fd;

    while ((fd = accept(stub->listener, NULL, NULL)) >= 0) {
        admit(stub, fd);
    }
    return NULL;
}

stub_t *stub_start(void)
{
    stub_t *stub = calloc(1, sizeof(*stub));
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(at);

    pthread_mutex_init(&stub->lock, NULL);
    for (int i = 0; i < PEERS_MAX; i++) {
        stub->peers[i].stub = stub;
        stub->peers[i].fd = -1;
    }
    stub->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(stub->listener, (struct sockaddr *)&at, size) != 0
        || listen(stub->listener, 256) != 0
        || getsockname(stub->listener, (struct sockaddr *)&at, &size) != 0
        || pthread_create(&stub->thread, NULL, run_listener, stub) != 0) {
        abort();
    }
    stub->port = ntohs(at.sin_port);
    return stub;
}

void stub_hang_up(stub_t *stub)
{
    pthread_mutex_lock(&stub->lock);
    for (int i = 0; i < PEERS_MAX; i++) {
        if (stub->peers[i].fd >= 0) {
            shutdown(stub->peers[i].fd, SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&stub->lock);
}

void stub_stop(stub_t *stub)
{
    pthread_mutex_lock(&stub->lock);
    stub->is_stopping = 1;
    pthread_mutex_unlock(&stub->lock);
    shutdown(stub->listener, SHUT_RDWR);
    pthread_join(stub->thread, NULL);
    stub_hang_up(stub);
    for (int i = 0; i < PEERS_MAX; i++) {
        if (stub->peers[i].is_used) {
            pthread_join(stub->peers[i].thread, NULL);
        }
    }
    close(stub->listener);
    pthread_mutex_destroy(&stub->lock);
    free(stub);
}

int stub_port(const stub_t *stub)
{
    return stub->port;
}

int stub_accepted(const stub_t *stub)
{
    return __atomic_load_n(&stub->accepted, __ATOMIC_RELAXED);
}

int stub_requests(const stub_t *stub)
{
    return __atomic_load_n(&stub->requests, __ATOMIC_RELAXED);
}

int stub_open(const stub_t *stub)
{
    return __atomic_load_n(&stub->open, __ATOMIC_RELAXED);
}

int64_t stub_sent(const stub_t *stub)
{
    return __atomic_load_n(&stub->sent, __ATOMIC_RELAXED);
}
