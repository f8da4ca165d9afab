/* SPDX-License-Identifier: Apache-2.0
 * Who asks: how long to wait for him, whether he is still there. */
#include "glue.h"
#include "child/child.h"
#include "request/output.h"

#include <poll.h>

#include <apr_portable.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_vhost.h>
#include <util_filter.h>

static apr_socket_t *client_socket(request_rec *r)
{
    conn_rec *c = r->connection;

    return ap_get_conn_socket(c->master ? c->master : c);
}

void connpool_limit_client_wait(request_rec *r, apr_interval_time_t left)
{
    apr_socket_t *socket = r->connection->master
                               ? NULL
                               : ap_get_conn_socket(r->connection);

    if (socket) {
        apr_socket_timeout_set(socket, left < 0 || left > r->server->timeout
                                           ? r->server->timeout
                                           : left);
    }
}

int connpool_client_is_ready(request_rec *r, apr_interval_time_t patience)
{
    apr_socket_t *socket = client_socket(r);
    struct pollfd client = {.events = POLLOUT};

    if (!socket || apr_os_sock_get(&client.fd, socket) != APR_SUCCESS) {
        return 1;
    }
    return poll(&client, 1, patience > 0 ? (int)apr_time_as_msec(patience) : 0)
           != 0;
}

int connpool_client_is_gone(request_rec *r)
{
    apr_socket_t *socket = client_socket(r);
    apr_os_sock_t fd;
    char byte;
    ssize_t n;

    if (r->connection->aborted
        || __atomic_load_n(&connpool_child.is_stopping, __ATOMIC_RELAXED)) {
        return 1;
    }
    if (!socket || apr_os_sock_get(&fd, socket) != APR_SUCCESS) {
        return 0;
    }
    n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}
