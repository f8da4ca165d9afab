/* SPDX-License-Identifier: Apache-2.0
 * What an upstream is asked with: fixed headers, a socket. */
#ifndef CONNPOOL_OUTGOING_H
#define CONNPOOL_OUTGOING_H

#include "glue.h"
#include "http/upstream/upstream.h"

/** A start reads the configuration twice, a configtest once: when to warn. */
int connpool_is_last_reading(void);

/* All that follow return NULL, or a sentence that names the value and what is
 * allowed. */

/** Is the header about the connection, or ours to set? Then nobody may name it.
 */
int connpool_is_own_header(const char *name);

/** "Name: value; Name: @FILE", or "@FILE" with a header in each line. A file's
 * text is in no message. Warns of a file that everybody may read. */
const char *connpool_read_set_headers(cmd_parms *cmd, const char *text,
                                      cp_upstream_config_t *http);

/** Warns of a socket that is not there yet. */
const char *connpool_check_socket(cmd_parms *cmd, const char *upstream,
                                  const char *path);

#endif
