/* SPDX-License-Identifier: Apache-2.0
 * HTTP/1.1 as far as a client needs it that sends GETs and counts answers. */
#include "connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PIECE = 16384
};

/* Blocking: on the loopback the kernel says yes at once, as long as the queue
 * of the listener has room, and what it takes until then is part of the time.
 */
int connection_open(connection_t *connection, int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int on = 1;

    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0
        || connect(connection->fd, (struct sockaddr *)&address, sizeof(address))
               != 0) {
        return 0;
    }
    connection->is_used = 0;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fcntl(connection->fd, F_SETFL, O_NONBLOCK) == 0;
}

void connection_close(connection_t *connection)
{
    if (connection->fd >= 0) {
        close(connection->fd);
    }
    connection->fd = -1;
}

/* A request is smaller than the socket's buffer, which is empty. */
int connection_send(connection_t *connection)
{
    connection->size = connection->body = connection->chunk = 0;
    connection->status = connection->closes = 0;
    return send(connection->fd, connection->request, connection->request_size,
                MSG_NOSIGNAL)
           == (ssize_t)connection->request_size;
}

static const char *field(const char *head, const char *name)
{
    size_t size = strlen(name);

    for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r';
         line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, size) == 0) {
            return line + 2 + size;
        }
    }
    return NULL;
}

/* The buffer always ends with a zero that does not count. */
static int read_head(connection_t *connection)
{
    char *end = strstr(connection->in, "\r\n\r\n");
    const char *length;
    const char *coding;
    const char *keeps;

    if (!end) {
        return 0;
    }
    length = field(connection->in, "Content-Length: ");
    coding = field(connection->in, "Transfer-Encoding: chunked");
    keeps = field(connection->in, "Connection: ");
    connection->status = (int)strtol(connection->in + 9, NULL, 10);
    connection->body = connection->chunk = (size_t)(end + 4 - connection->in);
    connection->left = coding ? -1 : length ? strtoll(length, NULL, 10) : -2;
    connection->closes = keeps && strncasecmp(keeps, "close", 5) == 0;
    return 1;
}

/* From the chunk that was last seen to the one of size 0, if it is there. */
static int has_last_chunk(connection_t *connection)
{
    for (;;) {
        char *line = connection->in + connection->chunk;
        char *end = connection->chunk < connection->size ? strstr(line, "\r\n")
                                                         : NULL;
        size_t size;

        if (!end) {
            return 0;
        }
        size = strtoul(line, NULL, 16);
        if (size == 0) {
            return strstr(end, "\r\n\r\n") != NULL;
        }
        connection->chunk = (size_t)(end - connection->in) + 2 + size + 2;
    }
}

static int is_whole(connection_t *connection)
{
    if (!connection->body && !read_head(connection)) {
        return 0;
    }
    if (connection->left == -1) {
        return has_last_chunk(connection);
    }
    return connection->left >= 0
           && connection->size - connection->body >= (size_t)connection->left;
}

static void make_room(connection_t *connection)
{
    if (connection->room - connection->size <= PIECE) {
        connection->room = connection->room * 2 + 2 * PIECE;
        connection->in = realloc(connection->in, connection->room);
        if (!connection->in) {
            abort();
        }
    }
}

connection_result_t connection_read(connection_t *connection)
{
    for (;;) {
        ssize_t got;

        make_room(connection);
        got = recv(connection->fd, connection->in + connection->size, PIECE, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            return CONNECTION_MORE;
        }
        if (got <= 0) {
            connection->closes = 1;
            return connection->body && connection->left == -2 && got == 0
                       ? CONNECTION_DONE
                       : CONNECTION_CLOSED;
        }
        connection->size += (size_t)got;
        connection->in[connection->size] = '\0';
        if (is_whole(connection)) {
            connection->is_used = 1;
            return CONNECTION_DONE;
        }
    }
}

int connection_has(const connection_t *connection, const char *text)
{
    return memmem(connection->in + connection->body,
                  connection->size - connection->body, text, strlen(text))
           != NULL;
}
