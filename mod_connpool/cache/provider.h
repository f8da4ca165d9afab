/* SPDX-License-Identifier: Apache-2.0
 * Where kept answers lie that all children see, and calls that may hang. */
#ifndef CONNPOOL_PROVIDER_H
#define CONNPOOL_PROVIDER_H

#include "glue.h"
#include "answers/answer.h"
#include "answers/shared/entry.h"
#include "answers/shared/key.h"
#include "base/bytes/buffer.h"

/** An entry with all that goes with it, too, is never larger: what memcached
 * takes. */
#define CONNPOOL_ENTRY_MAX 1000000

/** The name of its mutex, for the directive Mutex. */
#define CONNPOOL_CACHE_MUTEX "connpool-cache"

/** Hook: if any query has ttl=DURATION, find the provider that ConnPoolCache
 * names (or shmcb) and configure it. After the check of all definitions. */
int connpool_provider_check_config(apr_pool_t *pconf, apr_pool_t *plog,
                                   apr_pool_t *ptemp, server_rec *main_server);
/** In the parent, once the configuration stands; nothing without a provider.
 */
apr_status_t connpool_provider_init(apr_pool_t *pconf, apr_pool_t *ptemp,
                                    server_rec *main_server);
void connpool_provider_child_init(apr_pool_t *pchild);

/** "shmcb", ...; NULL when no query needs one. */
const char *connpool_provider_name(void);

/** The entry of that key, whatever its age, or NULL: within a bounded time,
 * even if the provider hangs. */
cp_answer_t *connpool_provider_get(request_rec *r, const cp_key_t *key,
                                   cp_entry_times_t *times);
/** Keep it, at once or soon.
 * @return 0 when that is known to fail */
int connpool_provider_put(request_rec *r, const cp_key_t *key,
                          const cp_answer_t *answer,
                          const cp_entry_times_t *times);
/** Is an entry that was put there for the next one who asks? */
int connpool_provider_is_direct(void);

/** What a remote provider is asked to do, in a thread that may be lost. */
typedef struct connpool_remote_t {
    apr_status_t (*get)(const char *id, char *room, unsigned *psize,
                        apr_pool_t *p);
    apr_status_t (*put)(const char *id, apr_time_t expires, char *data,
                        unsigned size, apr_pool_t *p);
} connpool_remote_t;

void connpool_remote_start(const connpool_remote_t *calls);
/** data: empty; what came, or nothing with APR_NOTFOUND, APR_TIMEUP (in time),
 * APR_EBUSY (not tried), or the provider's error. */
apr_status_t connpool_remote_get(const char *id, cp_buffer_t *data);
/** Takes over the data's storage. APR_EBUSY: not tried, APR_ENOSPC: too much
 * waits already. */
apr_status_t connpool_remote_put(const char *id, apr_time_t expires,
                                 cp_buffer_t *data);
/** Waits a moment for calls under way. */
void connpool_remote_stop(void);

#endif
