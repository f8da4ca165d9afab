/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/shared/entry.h"

#include "answers/answer.h"
#include "answers/shared/key.h"
#include "base/bytes/buffer.h"
#include "base/bytes/hash.h"

#include <stdint.h>
#include <string.h>

#define MAGIC  0x45435043 /* "CPCE" */
#define FORMAT 1

/* Where the numbers of an entry stand: little-endian, without gaps. */
enum {
    AT_MAGIC = 0,     /* 4 bytes */
    AT_FORMAT = 4,    /* 4 */
    AT_TOTAL = 8,     /* 8: of the whole entry */
    AT_CHECKSUM = 16, /* 8: over all that is behind it */
    AT_MADE = 24,     /* 8, as all times */
    AT_EXPIRES = 32,
    AT_STALE = 40,
    AT_STALE_IF_ERROR = 48,
    AT_STATUS = 56,  /* 8 */
    AT_KEY = 64,     /* 8: bytes of the key */
    AT_HEADERS = 72, /* 8: of the headers */
    HEAD = 80,       /* key, headers, and the body up to the end */
};

const char *const cp_entry_verdict_names[CP_ENTRY_VERDICTS + 1] = {
    [CP_ENTRY_VALID] = "valid",   [CP_ENTRY_SHORT] = "short",
    [CP_ENTRY_MAGIC] = "magic",   [CP_ENTRY_FORMAT] = "format",
    [CP_ENTRY_LENGTH] = "length", [CP_ENTRY_CHECKSUM] = "checksum",
    [CP_ENTRY_KEY] = "key",       [CP_ENTRY_CONTENT] = "content",
    [CP_ENTRY_MEMORY] = "memory",
};

static uint64_t get(const char *at, int bytes)
{
    uint64_t number = 0;

    for (int i = 0; i < bytes; i++) {
        number |= (uint64_t)(unsigned char)at[i] << (8 * i);
    }
    return number;
}

static void set(char *at, int bytes, uint64_t number)
{
    for (int i = 0; i < bytes; i++) {
        at[i] = (char)(number >> (8 * i));
    }
}

static uint64_t checksum(const char *entry, apr_size_t size)
{
    static const cp_hash_key_t fixed = {MAGIC, FORMAT};

    return cp_hash(fixed, entry + AT_MADE, size - AT_MADE);
}

apr_size_t cp_entry_size(const cp_key_t *key, const cp_answer_t *answer)
{
    return HEAD + key->bytes.size + answer->headers.size + answer->body.size;
}

static void append(cp_buffer_t *buf, const cp_buffer_t *bytes)
{
    if (bytes->size > 0) {
        cp_buffer_append(buf, bytes->data, bytes->size);
    }
}

void cp_entry_encode(cp_buffer_t *buf, const cp_key_t *key,
                     const cp_answer_t *answer, const cp_entry_times_t *times)
{
    apr_size_t total = cp_entry_size(key, answer);
    apr_size_t start = buf->size;
    char head[HEAD];
    char *entry;

    set(head + AT_MAGIC, 4, MAGIC);
    set(head + AT_FORMAT, 4, FORMAT);
    set(head + AT_TOTAL, 8, total);
    set(head + AT_CHECKSUM, 8, 0);
    set(head + AT_MADE, 8, (uint64_t)answer->made_at);
    set(head + AT_EXPIRES, 8, (uint64_t)times->expires);
    set(head + AT_STALE, 8, (uint64_t)times->stale_until);
    set(head + AT_STALE_IF_ERROR, 8, (uint64_t)times->stale_if_error_until);
    set(head + AT_STATUS, 8, (uint64_t)answer->status);
    set(head + AT_KEY, 8, key->bytes.size);
    set(head + AT_HEADERS, 8, answer->headers.size);

    if (!cp_buffer_reserve(buf, total)) {
        return;
    }
    cp_buffer_append(buf, head, HEAD);
    append(buf, &key->bytes);
    append(buf, &answer->headers);
    append(buf, &answer->body);
    entry = buf->data + start;
    set(entry + AT_CHECKSUM, 8, checksum(entry, total));
}

/* --- decoding --- */

static cp_entry_verdict_t check_frame(const char *entry, apr_size_t size)
{
    if (size < HEAD) {
        return CP_ENTRY_SHORT;
    }
    if (get(entry + AT_MAGIC, 4) != MAGIC) {
        return CP_ENTRY_MAGIC;
    }
    if (get(entry + AT_FORMAT, 4) != FORMAT) {
        return CP_ENTRY_FORMAT;
    }
    if (get(entry + AT_TOTAL, 8) != size) {
        return CP_ENTRY_LENGTH;
    }
    if (get(entry + AT_CHECKSUM, 8) != checksum(entry, size)) {
        return CP_ENTRY_CHECKSUM;
    }
    return CP_ENTRY_VALID;
}

/* What stands behind the head. */
typedef struct parts_t {
    const char *key, *headers, *body;
    apr_size_t key_size, headers_size, body_size;
} parts_t;

static int split(const char *entry, apr_size_t size, parts_t *parts)
{
    uint64_t left = size - HEAD;
    uint64_t key_size = get(entry + AT_KEY, 8);
    uint64_t headers_size = get(entry + AT_HEADERS, 8);

    if (key_size > left || headers_size > left - key_size) {
        return 0;
    }
    parts->key = entry + HEAD;
    parts->key_size = (apr_size_t)key_size;
    parts->headers = parts->key + key_size;
    parts->headers_size = (apr_size_t)headers_size;
    parts->body = parts->headers + headers_size;
    parts->body_size = (apr_size_t)(left - key_size - headers_size);
    return 1;
}

static int is_key(const parts_t *parts, const cp_key_t *key)
{
    return parts->key_size == key->bytes.size
           && (parts->key_size == 0
               || memcmp(parts->key, key->bytes.data, parts->key_size) == 0);
}

/* A control character would begin another header, or another answer. */
static int is_header_text(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' && *text != '\t') {
            return 0;
        }
        if (*text == 0x7f) {
            return 0;
        }
    }
    return 1;
}

/* Pairs of strings, each with its NUL: cp_answer_each relies on it. */
static int are_headers(const char *headers, apr_size_t size)
{
    const char *at = headers, *end = headers + size;

    if (size > 0 && end[-1] != '\0') {
        return 0;
    }
    while (at < end) {
        const char *value = at + strlen(at) + 1;

        if (*at == '\0' || strpbrk(at, " \t:") || value >= end
            || !is_header_text(at) || !is_header_text(value)) {
            return 0;
        }
        at = value + strlen(value) + 1;
    }
    return 1;
}

/* A checksum is no signature: whoever can write to the store can make one. */
static int is_content(const char *entry, const parts_t *parts)
{
    uint64_t status = get(entry + AT_STATUS, 8);

    return status >= 100 && status <= 599
           && are_headers(parts->headers, parts->headers_size);
}

static cp_answer_t *make_answer(const char *entry, const parts_t *parts)
{
    cp_answer_t *answer = cp_answer_create((int)get(entry + AT_STATUS, 8));

    if (!answer) {
        return NULL;
    }
    answer->made_at = (apr_time_t)get(entry + AT_MADE, 8);
    if (parts->headers_size > 0) {
        cp_buffer_append(&answer->headers, parts->headers, parts->headers_size);
    }
    if (parts->body_size > 0) {
        cp_buffer_append(&answer->body, parts->body, parts->body_size);
    }
    if (cp_answer_has_failed(answer)) {
        cp_answer_unref(answer);
        return NULL;
    }
    cp_answer_terminate(answer);
    return answer;
}

cp_entry_verdict_t cp_entry_decode(const void *data, apr_size_t size,
                                   const cp_key_t *key, cp_answer_t **panswer,
                                   cp_entry_times_t *times)
{
    const char *entry = data;
    cp_entry_verdict_t verdict = check_frame(entry, size);
    cp_answer_t *answer;
    parts_t parts;

    if (verdict != CP_ENTRY_VALID) {
        return verdict;
    }
    if (!split(entry, size, &parts)) {
        return CP_ENTRY_CONTENT;
    }
    if (!is_key(&parts, key)) {
        return CP_ENTRY_KEY;
    }
    if (!is_content(entry, &parts)) {
        return CP_ENTRY_CONTENT;
    }
    answer = make_answer(entry, &parts);
    if (!answer) {
        return CP_ENTRY_MEMORY;
    }
    times->expires = (apr_time_t)get(entry + AT_EXPIRES, 8);
    times->stale_until = (apr_time_t)get(entry + AT_STALE, 8);
    times->stale_if_error_until = (apr_time_t)get(entry + AT_STALE_IF_ERROR, 8);
    *panswer = answer;
    return CP_ENTRY_VALID;
}
