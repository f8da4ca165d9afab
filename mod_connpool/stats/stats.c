/* SPDX-License-Identifier: Apache-2.0
 * Names of what is counted, and who holds connections. */
#include "stats/stats.h"

#include <stddef.h>
#include <string.h>

static const char *const close_reasons[CP_CLOSE_REASONS] = {
    [CP_CLOSE_IDLE] = "idle",           [CP_CLOSE_LIFETIME] = "lifetime",
    [CP_CLOSE_DEAD] = "dead",           [CP_CLOSE_FLUSHED] = "flushed",
    [CP_CLOSE_DISCARDED] = "discarded", [CP_CLOSE_UNPOOLED] = "unpooled",
    [CP_CLOSE_OVERFLOW] = "overflow",   [CP_CLOSE_SHUTDOWN] = "shutdown",
    [CP_CLOSE_YIELDED] = "yielded",     [CP_CLOSE_KILLED] = "killed",
};

const char *cp_close_reason_name(cp_close_reason_t reason)
{
    return (unsigned)reason < CP_CLOSE_REASONS ? close_reasons[reason]
                                               : "unknown";
}

const char *cp_group_size_name(int i)
{
    static const char *const names[CP_GROUP_SIZES] = {"2",  "4",  "8",
                                                      "16", "32", "64"};

    return (unsigned)i < CP_GROUP_SIZES ? names[i] : "unknown";
}

static void write_text(char *place, const char *text)
{
    size_t length = strnlen(text, CP_HOLDER_SIZE - 1);

    for (size_t i = 0; i < length; i++) {
        __atomic_store_n(&place[i], text[i], __ATOMIC_RELEASE);
    }
    __atomic_store_n(&place[length], '\0', __ATOMIC_RELEASE);
}

static void read_text(const char *place, char *text)
{
    for (size_t i = 0; i < CP_HOLDER_SIZE; i++) {
        text[i] = __atomic_load_n(&place[i], __ATOMIC_ACQUIRE);
    }
    text[CP_HOLDER_SIZE - 1] = '\0';
}

/* A sequence lock whose sequence is `since`: readers accept the holder when
 * there was one before and the same one after they had copied it. Who sees one
 * byte of a new holder also sees that the old one is gone: release, acquire.
 * Nobody is not written over nobody, lest pages come to be that no pool uses.
 */
void cp_holder_write(cp_holder_t *place, const cp_holder_t *holder)
{
    if (!holder && __atomic_load_n(&place->since, __ATOMIC_RELAXED) == 0) {
        return;
    }
    __atomic_store_n(&place->since, 0, __ATOMIC_RELAXED);
    if (holder) {
        write_text(place->holder, holder->holder);
        write_text(place->request, holder->request);
        __atomic_store_n(&place->is_leak, holder->is_leak, __ATOMIC_RELEASE);
        __atomic_store_n(&place->since, holder->since, __ATOMIC_RELEASE);
    }
}

int cp_holder_read(const cp_holder_t *place, cp_holder_t *copy)
{
    copy->since = __atomic_load_n(&place->since, __ATOMIC_ACQUIRE);
    if (copy->since == 0) {
        return 0;
    }
    read_text(place->holder, copy->holder);
    read_text(place->request, copy->request);
    copy->is_leak = __atomic_load_n(&place->is_leak, __ATOMIC_ACQUIRE);
    return copy->since == __atomic_load_n(&place->since, __ATOMIC_RELAXED);
}

const char *cp_span_name(cp_span_t span)
{
    static const char *const names[CP_SPANS] = {
        [CP_SPAN_QUEUE] = "queue",           [CP_SPAN_LOOKUP] = "lookup",
        [CP_SPAN_TCP] = "connect",           [CP_SPAN_TLS] = "tls",
        [CP_SPAN_FIRST_BYTE] = "first_byte",
    };

    return span < CP_SPANS ? names[span] : "unknown";
}

const char *cp_status_class_name(int i)
{
    static const char *const names[] = {"none", "1xx", "2xx",
                                        "3xx",  "4xx", "5xx"};

    return names[i];
}

/* The end of a session, or of its server; too many; not allowed; not there. */
static const char *const sqlstates[CP_SQLSTATES] = {
    "none", "08", "25", "28", "3D", "40", "53", "57", "58", "XX", "other"};

int cp_sqlstate_class(const char *state)
{
    int i = 1;

    if (!state || !*state) {
        return 0;
    }
    while (i < CP_SQLSTATES - 1 && strncmp(state, sqlstates[i], 2) != 0) {
        i++;
    }
    return i;
}

const char *cp_sqlstate_name(int i)
{
    return sqlstates[i];
}
