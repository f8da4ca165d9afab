/* SPDX-License-Identifier: Apache-2.0
 * An HTTP server on 127.0.0.1 that behaves, or misbehaves, as the path says:
 *
 *   /hello            5 bytes, kept alive
 *   /echo             the request's head as the body
 *   /bytes/N          N bytes "x" with Content-Length
 *   /endless          chunks until the client leaves
 *   /gzip/N           1 + 258 * N zero bytes, compressed 158 to 1
 *   /wait/US          "hello" after so many microseconds
 *   /leave/US         "hello", then the connection is closed after so long
 *   /late/US          "hello", and after so long an answer to nobody
 *   /half/US          half of the head, so long a pause, then the rest
 *   /gap/US           head and 5 bytes, so long a pause, 5 bytes more
 *   /trickle/US       ten single bytes with such pauses
 *   /status/N         that status, no body
 *   /to/REST          302 with Location: REST
 *   /headers          headers without end
 *   /interims         interim answers without end
 *   /raw/NAME         one of the literal answers in stub_upstream.c
 *   /close /reset /never
 *   /once/KEY         the first connection of all is closed unanswered
 */
#ifndef STUB_UPSTREAM_H
#define STUB_UPSTREAM_H

#include <stdint.h>

typedef struct stub_t stub_t;

stub_t *stub_start(void);

/** Close all connections and join all threads. */
void stub_stop(stub_t *stub);

int stub_port(const stub_t *stub);
int stub_accepted(const stub_t *stub);
int stub_requests(const stub_t *stub);

/** Connections that are open now. */
int stub_open(const stub_t *stub);

/** Bytes of bodies sent up to now. */
int64_t stub_sent(const stub_t *stub);

/** Close all connections, as a server does after its keep-alive time. */
void stub_hang_up(stub_t *stub);

#endif
