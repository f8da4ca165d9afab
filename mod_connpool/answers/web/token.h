/* SPDX-License-Identifier: Apache-2.0
 * The words that headers are made of. */
#ifndef CP_TOKEN_H
#define CP_TOKEN_H

#include <apr.h>

/** Characters of a token (RFC 9110, 5.6.2) from text on. */
apr_size_t cp_token_size(const char *text);

/** Blanks from text on. */
apr_size_t cp_blank_size(const char *text);

#endif
