/* SPDX-License-Identifier: Apache-2.0
 * UTF-8 as RFC 3629 has it, and nothing that only looks like it. */
#ifndef CP_UTF8_H
#define CP_UTF8_H

#include <apr.h>

/** 1 if the bytes are well-formed UTF-8 (no surrogates, no overlong forms). */
int cp_utf8_is_valid(const char *data, apr_size_t size);

/** Bytes of the well-formed UTF-8 sequence at data; or, negative, the bytes of
 * the maximal ill-formed subsequence there (what one U+FFFD stands for).
 * size >= 1. */
int cp_utf8_next(const char *data, apr_size_t size);

#endif
