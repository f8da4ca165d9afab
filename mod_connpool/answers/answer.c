/* SPDX-License-Identifier: Apache-2.0
 * Whole answers. */
#include "answers/answer.h"

#include "base/bytes/buffer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

cp_answer_t *cp_answer_create(int status)
{
    cp_answer_t *answer = calloc(1, sizeof(*answer));

    if (answer) {
        answer->refs = 1;
        answer->status = status;
        answer->headers = answer->body = CP_BUFFER_MAY_FAIL;
    }
    return answer;
}

int cp_answer_has_failed(const cp_answer_t *answer)
{
    return answer->headers.has_failed || answer->body.has_failed;
}

void cp_answer_ref(cp_answer_t *answer)
{
    __atomic_fetch_add(&answer->refs, 1, __ATOMIC_RELAXED);
}

void cp_answer_unref(cp_answer_t *answer)
{
    if (answer && __atomic_sub_fetch(&answer->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        if (answer->on_free) {
            answer->on_free(answer);
        }
        cp_buffer_free(&answer->headers);
        cp_buffer_free(&answer->body);
        free(answer);
    }
}

void cp_answer_add(cp_answer_t *answer, const char *name, const char *value)
{
    cp_buffer_append(&answer->headers, name, strlen(name) + 1);
    cp_buffer_append(&answer->headers, value, strlen(value) + 1);
}

void cp_answer_terminate(cp_answer_t *answer)
{
    cp_buffer_t *body = &answer->body;

    if (body->capacity > body->size) {
        body->data[body->size] = '\0';
        answer->is_terminated = 1;
    }
}

void cp_answer_each(const cp_answer_t *answer, cp_answer_header_fn fn,
                    void *baton)
{
    const char *at = answer->headers.data;
    const char *end = at ? at + answer->headers.size : NULL;

    while (at < end) {
        const char *value = at + strlen(at) + 1;

        fn(at, value, baton);
        at = value + strlen(value) + 1;
    }
}

typedef struct search_t {
    const char *name;
    const char *value;
} search_t;

static void compare(const char *name, const char *value, void *baton)
{
    search_t *search = baton;

    if (!search->value && strcasecmp(name, search->name) == 0) {
        search->value = value;
    }
}

const char *cp_answer_header(const cp_answer_t *answer, const char *name)
{
    search_t search = {name, NULL};

    cp_answer_each(answer, compare, &search);
    return search.value;
}
