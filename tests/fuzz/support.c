/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

void fuzz_broken(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: broken: %s\n", file, line, condition);
    abort();
}

apr_pool_t *fuzz_pool(void)
{
    static apr_pool_t *pool;

    if (!pool) {
        apr_initialize();
        atexit(apr_terminate);
        apr_pool_create(&pool, NULL);
    }
    apr_pool_clear(pool);
    return pool;
}

static apr_status_t free_copy(void *copy)
{
    free(copy);
    return APR_SUCCESS;
}

char *fuzz_copy(apr_pool_t *p, const void *data, size_t size)
{
    char *copy = malloc(size);

    MUST(copy || size == 0);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    apr_pool_cleanup_register(p, copy, free_copy, apr_pool_cleanup_null);
    return copy;
}

char *fuzz_text(apr_pool_t *p, const void *data, size_t size)
{
    size_t length = size > 0 ? strnlen(data, size) : 0;
    char *text = malloc(length + 1);

    MUST(text);
    if (length > 0) {
        memcpy(text, data, length);
    }
    text[length] = '\0';
    apr_pool_cleanup_register(p, text, free_copy, apr_pool_cleanup_null);
    return text;
}

const uint8_t *fuzz_take(const uint8_t **pdata, size_t *psize, size_t wanted,
                         size_t *pgot)
{
    const uint8_t *start = *pdata;

    *pgot = wanted < *psize ? wanted : *psize;
    *pdata += *pgot;
    *psize -= *pgot;
    return start;
}

unsigned fuzz_byte(const uint8_t **pdata, size_t *psize)
{
    size_t got;
    const uint8_t *byte = fuzz_take(pdata, psize, 1, &got);

    return got ? *byte : 0;
}
