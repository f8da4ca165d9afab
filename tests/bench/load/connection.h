/* SPDX-License-Identifier: Apache-2.0
 * One connection to the server that is measured: a request out, its answer in.
 * It is kept for the next request, and made again when the server closes it. */
#ifndef LOAD_CONNECTION_H
#define LOAD_CONNECTION_H

#include <stddef.h>
#include <stdint.h>

typedef enum connection_result_t {
    CONNECTION_MORE,   /* the answer is not whole yet */
    CONNECTION_DONE,   /* it is: status and body are set */
    CONNECTION_CLOSED, /* by the server, before the answer was whole */
} connection_result_t;

typedef struct connection_t {
    int fd;
    int is_busy; /* a request is out */
    int is_used; /* it has carried an answer: the server may close it */
    char request[1024];
    size_t request_size;
    char *in; /* what came of the answer */
    size_t size;
    size_t room;
    size_t body;     /* where the body begins, 0: the head is not whole */
    long long left;  /* bytes of the body, -1: chunked, -2: until the end */
    size_t chunk;    /* where the next chunk begins */
    int status;      /* 200 */
    int closes;      /* the server said that it will */
    uint64_t due_ns; /* when the request had to be sent */
    uint64_t key;    /* what it asked for */
} connection_t;

/* To this port of 127.0.0.1; false with errno when that fails. */
int connection_open(connection_t *connection, int port);
void connection_close(connection_t *connection);

/* Send what stands in `request`, and forget the last answer. */
int connection_send(connection_t *connection);

/* Read what there is. */
connection_result_t connection_read(connection_t *connection);

/* Whether the body of a whole answer has this text. */
int connection_has(const connection_t *connection, const char *text);

#endif
