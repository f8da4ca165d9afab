/* SPDX-License-Identifier: Apache-2.0
 * Processes that others fork from a child, to run requests in.
 *
 * Such a process has the child's memory, but not its threads; the child's
 * sockets and files, which are still the child's; copies of locks that a thread
 * may have held which does not exist here; and SQLite's belief that it has
 * locks on files which the kernel gave to the child alone. So it leaves all
 * that alone and begins anew, as if ConnPoolEngine were Off. It lives for a
 * request or a connection, so that nothing would be won by keeping anything.
 * Its numbers would have to be added to the child's by somebody who knows when
 * it ends: nobody does, so it counts nothing. */
#include "child/fork.h"

#include "glue.h"
#include "child/child.h"
#include "child/memory.h"
#include "child/pools.h"
#include "config/setting.h"
#include "database/database.h"
#include "stats/segment.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <apr_allocator.h>
#include <apr_thread_mutex.h>

const char *connpool_fork_expected(void)
{
    static const char *const modules[] = {"mpm_itk.c", "peruser.c", NULL};

    for (const char *const *name = modules; *name; name++) {
        if (ap_find_linked_module(*name)) {
            return *name;
        }
    }
    return NULL;
}

/* Not 0 where the pools are this process's own. The kernel empties it in what
 * is forked, by whatever call, so that nobody has to ask it for a number with
 * each request; NULL: it cannot. Changed by child_init, and by the one thread
 * of a forked process. */
static unsigned char *mark;

static void make_mark(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED) {
        return;
    }
    if (madvise(page, size, MADV_WIPEONFORK) != 0) {
        munmap(page, size);
        return;
    }
    mark = page;
}

static int is_own_process(void)
{
    return mark ? *mark : connpool_child.pid == getpid();
}

static void make_own(void)
{
    connpool_child.pid = getpid();
    if (mark) {
        *mark = 1;
    }
}

/* Runs in whatever is forked from here, also where a program is about to be
 * executed. */
static void forked(void)
{
    connpool_child.forks++;
    connpool_child.pid = 0;
    connpool_child.slot = -1;
    connpool_child.loop = NULL;
    connpool_child.is_started = 0;
    connpool_child.is_stopping = 0;
    connpool_child.buffer_bytes = 0;
}

/* That of the allocator which new pools come from, if it has one. */
static apr_thread_mutex_t *allocator_lock(void)
{
    apr_pool_t *root = connpool_child.main_server->process->pool;

    while (apr_pool_parent_get(root)) {
        root = apr_pool_parent_get(root);
    }
    return apr_allocator_mutex_get(apr_pool_allocator_get(root));
}

static void tell_driver(const cp_database_driver_t *driver, void *step)
{
    if (driver->fork) {
        driver->fork(*(cp_fork_step_t *)step);
    }
}

static void tell_drivers(cp_fork_step_t step)
{
    connpool_each_driver(tell_driver, &step);
}

static apr_thread_mutex_t *held; /* between the next two */

/* The locks that work of ours needs, lest a thread which the forked process
 * does not have keep them there for ever. */
static void before_fork(void)
{
    tell_drivers(CP_FORK_COMES);
    held = allocator_lock();
    if (held) {
        apr_thread_mutex_lock(held);
    }
}

static void in_parent(void)
{
    if (held) {
        apr_thread_mutex_unlock(held);
    }
    tell_drivers(CP_FORK_IS_DONE);
}

static void in_forked(void)
{
    in_parent();
    forked();
}

void connpool_fork_watch(void)
{
    int rc = pthread_atfork(before_fork, in_parent, in_forked);

    make_mark();
    connpool_child.is_unpooled = connpool_fork_expected() != NULL;
    if (!connpool_child.is_unpooled) {
        make_own();
    }
    if (rc != 0) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, rc, connpool_child.main_server,
                     "processes that are forked from this one cannot be told "
                     "from it");
    }
}

static void forget_gates(void)
{
    for (server_rec *s = connpool_child.main_server; s; s = s->next) {
        connpool_server(s)->http_gate = NULL;
    }
}

/* A pool that has nothing in common with those of the child, whose locks may be
 * held for ever. */
static apr_pool_t *own_pool(void)
{
    apr_allocator_t *allocator;
    apr_pool_t *p;

    ap_assert(apr_allocator_create(&allocator) == APR_SUCCESS
              && apr_pool_create_unmanaged_ex(&p, NULL, allocator)
                     == APR_SUCCESS);
    return p;
}

static void warn_once(void)
{
    if (!connpool_fork_expected()
        && cp_segment_tell_fork(connpool_child.segment)) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, connpool_child.main_server,
                     "requests run in processes that a module has forked from "
                     "httpd's children: there nothing is pooled, cached or "
                     "counted");
    }
}

static void settle(void)
{
    apr_pool_t *p = own_pool();

    if (connpool_child.forks > 0) {
        connpool_child.slot = -1;
        tell_drivers(CP_FORK_BEGINS);
        warn_once();
    }
    connpool_child.is_unpooled = 1;
    forget_gates();
    connpool_memory_start();
    connpool_build_databases(p);
    connpool_build_upstreams(p);
}

void connpool_fork_settle(void)
{
    if (is_own_process() || !connpool_child.segment) {
        return;
    }
    /* By something else than fork(). */
    if (connpool_child.pid != 0) {
        forked();
    }
    make_own();
    settle();
}
