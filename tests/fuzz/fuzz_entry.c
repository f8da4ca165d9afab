/* SPDX-License-Identifier: Apache-2.0
 * Entries of shared caches: only what one was made of comes out of it, and any
 * other bytes are told apart, a right checksum or not. */
#include "answers/shared/entry.c" /* its checksum and its places are nobody else's */

#include "fuzz.h"

#include <stdlib.h>

static void add(cp_buffer_t *buf, const uint8_t **pdata, size_t *psize,
                size_t wanted)
{
    size_t got;
    const uint8_t *bytes = fuzz_take(pdata, psize, wanted, &got);

    cp_buffer_append(buf, (const char *)bytes, got);
}

static void check_content(const cp_answer_t *answer)
{
    const char *at = answer->headers.data;
    const char *end = at ? at + answer->headers.size : NULL;

    MUST(answer->status >= 100 && answer->status <= 599);
    while (at < end) {
        MUST(*at && memchr(at, '\0', (size_t)(end - at)));
        MUST(!strpbrk(at, "\r\n: "));
        at += strlen(at) + 1;
        MUST(at < end && memchr(at, '\0', (size_t)(end - at)));
        MUST(!strpbrk(at, "\r\n"));
        at += strlen(at) + 1;
    }
}

static cp_entry_verdict_t look(apr_pool_t *p, const void *data, size_t size,
                               const cp_key_t *key, cp_answer_t **panswer)
{
    cp_entry_times_t times;
    cp_entry_verdict_t verdict = cp_entry_decode(fuzz_copy(p, data, size), size,
                                                 key, panswer, &times);

    MUST(verdict < CP_ENTRY_VERDICTS);
    MUST((verdict == CP_ENTRY_VALID) == (*panswer != NULL));
    if (*panswer) {
        check_content(*panswer);
    }
    return verdict;
}

/* As somebody forges it who knows the checksum. */
static void forge(apr_pool_t *p, const uint8_t *data, size_t size,
                  const cp_key_t *key)
{
    cp_answer_t *answer = NULL;
    char *entry = fuzz_copy(p, data, size);

    if (size >= HEAD) {
        set(entry + AT_MAGIC, 4, MAGIC);
        set(entry + AT_FORMAT, 4, FORMAT);
        set(entry + AT_TOTAL, 8, size);
        set(entry + AT_CHECKSUM, 8, checksum(entry, size));
        look(p, entry, size, key, &answer);
        cp_answer_unref(answer);
    }
}

/* Each single changed byte is seen. */
static void damage(apr_pool_t *p, const cp_buffer_t *buf, const cp_key_t *key,
                   unsigned place, unsigned change)
{
    cp_answer_t *answer = NULL;
    char *copy = fuzz_copy(p, buf->data, buf->size);

    if (change == 0) {
        return;
    }
    copy[place % buf->size] ^= (char)change;
    MUST(look(p, copy, buf->size, key, &answer) != CP_ENTRY_VALID);
}

static void make(apr_pool_t *p, const uint8_t *data, size_t size,
                 const cp_key_t *key)
{
    cp_entry_times_t times = {1, 2, 3};
    cp_answer_t *answer = cp_answer_create(100 + fuzz_byte(&data, &size) % 500);
    cp_answer_t *again = NULL;
    cp_buffer_t buf = {0};
    unsigned place, change;

    MUST(answer);
    place = fuzz_byte(&data, &size) * 7 + fuzz_byte(&data, &size);
    change = fuzz_byte(&data, &size);
    cp_answer_add(answer, "Content-Type", "text/plain");
    add(&answer->body, &data, &size, size);
    cp_entry_encode(&buf, key, answer, &times);
    MUST(buf.size == cp_entry_size(key, answer));
    MUST(look(p, buf.data, buf.size, key, &again) == CP_ENTRY_VALID);
    MUST(again->status == answer->status
         && again->body.size == answer->body.size
         && (again->body.size == 0
             || memcmp(again->body.data, answer->body.data, again->body.size)
                    == 0));
    damage(p, &buf, key, place, change);
    cp_answer_unref(again);
    cp_answer_unref(answer);
    cp_buffer_free(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *p = fuzz_pool();
    unsigned how = fuzz_byte(&data, &size);
    cp_answer_t *answer = NULL;
    cp_key_t key = {0};

    cp_key_add_text(&key, how & 4 ? "k" : NULL);
    if (how % 3 == 0) {
        look(p, data, size, &key, &answer);
        cp_answer_unref(answer);
    }
    else if (how % 3 == 1) {
        forge(p, data, size, &key);
    }
    else {
        make(p, data, size, &key);
    }
    cp_key_free(&key);
    return 0;
}
