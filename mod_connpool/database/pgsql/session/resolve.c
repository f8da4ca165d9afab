/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/session/resolve.h"

#include "base/clock.h"
#include "base/thread.h"

#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#define FRESH apr_time_from_sec(30)

/* One name; they are few, come from the configuration, and stay. */
typedef struct entry_t {
    struct entry_t *next;
    char *host;
    cp_pg_addresses_t addresses;
    cp_clock_t found_at; /* 0: never */
    int is_looking;      /* a thread is under way */
    unsigned looks;      /* that have ended */
} entry_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static entry_t *entries; /* under lock, as what they hold */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init(void)
{
    cp_clock_init_condition(&changed);
}

static void take(cp_pg_addresses_t *addresses, const struct addrinfo *found)
{
    addresses->count = 0;
    for (; found && addresses->count < CP_PG_ADDRESSES;
         found = found->ai_next) {
        if (getnameinfo(found->ai_addr, found->ai_addrlen,
                        addresses->text[addresses->count], CP_PG_ADDRESS_SIZE,
                        NULL, 0, NI_NUMERICHOST)
            == 0) {
            addresses->count++;
        }
    }
}

static int ask(const char *host, int flags, cp_pg_addresses_t *addresses)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = flags};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, NULL, &hints, &found);

    if (rc == 0) {
        take(addresses, found);
        freeaddrinfo(found);
    }
    return rc == 0 && addresses->count > 0;
}

static void *look(void *data)
{
    entry_t *entry = data;
    cp_pg_addresses_t addresses;
    int is_found = ask(entry->host, 0, &addresses);

    pthread_mutex_lock(&lock);
    if (is_found) {
        entry->addresses = addresses;
        entry->found_at = cp_clock_now();
    }
    entry->is_looking = 0;
    entry->looks++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static entry_t *find(const char *host)
{
    entry_t *entry = entries;

    while (entry && strcmp(entry->host, host) != 0) {
        entry = entry->next;
    }
    if (!entry) {
        entry = calloc(1, sizeof(*entry));
        if (entry && !(entry->host = strdup(host))) {
            free(entry);
            return NULL;
        }
        if (entry) {
            entry->next = entries;
            entries = entry;
        }
    }
    return entry;
}

static void begin_to_look(entry_t *entry)
{
    pthread_t thread;

    if (!entry->is_looking && cp_thread_start(&thread, look, entry) == 0) {
        entry->is_looking = 1;
        pthread_detach(thread);
    }
}

static int is_fresh(const entry_t *entry)
{
    return entry->found_at && cp_clock_now() - entry->found_at < FRESH;
}

/* Under the lock. Half of the time for something newer, while there is
 * something old. */
static void wait_for(entry_t *entry, cp_clock_t deadline)
{
    unsigned looks = entry->looks;
    struct timespec until;

    begin_to_look(entry);
    if (entry->found_at) {
        deadline = cp_clock_after(cp_clock_left(deadline) / 2);
    }
    until = cp_clock_timespec(deadline);
    while (entry->is_looking && entry->looks == looks
           && pthread_cond_timedwait(&changed, &lock, &until) == 0) {
    }
}

apr_status_t cp_pg_resolve(const char *host, cp_clock_t deadline,
                           cp_pg_addresses_t *addresses)
{
    apr_status_t rv = APR_SUCCESS;
    entry_t *entry;

    if (ask(host, AI_NUMERICHOST, addresses)) {
        return APR_SUCCESS;
    }
    pthread_once(&once, init);
    pthread_mutex_lock(&lock);
    entry = find(host);
    if (entry && !is_fresh(entry)) {
        wait_for(entry, deadline);
    }
    if (!entry) {
        rv = APR_ENOMEM;
    }
    else if (entry->found_at) {
        *addresses = entry->addresses;
    }
    else {
        rv = entry->is_looking ? APR_TIMEUP : APR_ENOENT;
    }
    pthread_mutex_unlock(&lock);
    return rv;
}
