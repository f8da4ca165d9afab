/* SPDX-License-Identifier: Apache-2.0
 * Is it JSON? Asked of texts that others have made, before they become a part
 * of one of ours. */
#ifndef CP_JSON_H
#define CP_JSON_H

#include <apr.h>

/** Arrays and objects within each other. */
#define CP_JSON_DEPTH_MAX 128

/** 1 if this is one JSON text (RFC 8259) that every reader takes: well-formed
 * UTF-8, no byte order mark, surrogates in pairs, at most CP_JSON_DEPTH_MAX
 * deep. Needs no memory. Equal keys in an object are not looked for. */
int cp_json_is_valid(const char *data, apr_size_t size);

#endif
