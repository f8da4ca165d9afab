/* SPDX-License-Identifier: Apache-2.0
 * A commit waits for the disk, so it is shared: who has the writer's connection
 * does his own write, then what others have queued meanwhile, each in a
 * savepoint, and commits. pool/group says who that is.
 *
 * While a thread waits here, the leader works with its request: its pool, its
 * account, its buffer. Both never do at once (see cp_group_item_t).
 *
 * An interrupt, ON CONFLICT ROLLBACK, RAISE(ROLLBACK), a disk error end the
 * whole transaction, whoever was at fault. Nothing of it is there then, so all
 * are run again, each by itself: a failure that another one's undone rows have
 * caused does not come again, and who was at fault hears it from his own
 * run. */
#include "work/group.h"

#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "child/child.h"
#include "child/fork.h"
#include "config/database.h"
#include "config/query.h"
#include "config/setting.h"
#include "database/database.h"
#include "pool/group/group.h"
#include "pool/pool.h"
#include "request/account.h"
#include "request/hold.h"
#include "request/output.h"
#include "stats/cell.h"
#include "stats/stats.h"
#include "work/query.h"
#include "work/rows.h"

#define MOST 64 /* of one transaction */

/* So long others are taken in; so long what was taken in may work, and then it
 * is cut; and who is due before that does not take part, so that nobody is late
 * for the sake of others. */
#define TAKE_FOR apr_time_from_msec(5)
#define WORK_FOR apr_time_from_msec(40)
#define DUE_SOON apr_time_from_msec(50)

/* Who waits for a leader. On his stack. */
typedef struct member_t {
    cp_group_item_t item; /* its baton is the member */
    connpool_rows_t *rows;
    cp_group_turn_t turn; /* what to tell him */
    apr_status_t rv;      /* with CP_GROUP_DONE */
    int size;             /* of his group, if it was committed; else 0 */
} member_t;

/* Who leads. On his stack. */
typedef struct leader_t {
    cp_group_t *group;
    connpool_rows_t *rows;
    void *conn;
    cp_clock_t cut_at;
    cp_clock_t latest; /* when the last of all is due */
    int count;         /* of members */
    int kept;          /* of them, in the transaction */
    int is_lost;       /* the transaction has ended */
    int is_over;       /* nothing more is taken in */
    member_t *members[MOST - 1];
} leader_t;

/* --- who takes part --- */

static int is_due_soon(connpool_rows_t *rows)
{
    cp_clock_t latest = connpool_account(rows->r)->query_deadline;

    return rows->query->timeout < DUE_SOON
           || (latest && cp_clock_left(latest) < DUE_SOON);
}

/* Is the connection one of those that the group is for? */
static int is_pooled(const connpool_rows_t *rows)
{
    const connpool_server_t *sc = connpool_server(rows->r->server);

    return (sc->engine && sc->db_pool)
           || !rows->query->database->child->direct.readers;
}

/* NULL: the write is a transaction of its own, or part of one that the request
 * has begun. */
static cp_group_t *group_of(connpool_rows_t *rows)
{
    const connpool_query_t *query = rows->query;
    const connpool_db_child_t *child = query->database->child;

    if (!query->is_write || !query->server || !child || !child->group) {
        return NULL;
    }
    connpool_fork_settle();
    child = query->database->child;
    if (!child || !child->group || !is_pooled(rows)
        || cp_pool_settings(child->pooled.writer)->acquire == 0
        || cp_pace_is_slow(&query->pace) || is_due_soon(rows)
        || connpool_holds_database(rows->r, query->database)) {
        return NULL;
    }
    return child->group;
}

/* --- the members --- */

/* Something that is wrong with more than this one. */
static int is_general(const cp_error_t *err)
{
    return err->cls == CP_ERR_STORAGE || err->cls == CP_ERR_MEMORY
           || err->cls == CP_ERR_CANCELLED || err->cls == CP_ERR_INTERNAL;
}

/* In a savepoint. @return APR_EOF, err, or APR_INCOMPLETE: it is undone, and
 * would be better off alone */
static apr_status_t run_inside(leader_t *leader, connpool_rows_t *rows)
{
    const cp_database_driver_t *driver = leader->rows->run.driver;
    connpool_run_t *run = &rows->run;
    int is_settled = 1;
    apr_status_t rv, left;

    driver->settle(leader->conn);
    rv = connpool_run_join(run, &leader->rows->run, leader->cut_at, &rows->err);
    if (rv == APR_SUCCESS) {
        rv = connpool_rows_work(rows);
        connpool_run_finish(run, rv);
        is_settled = rv != APR_EOF || driver->settle(leader->conn);
    }
    left = connpool_run_leave(run, is_settled ? rv : APR_EGENERAL, &rows->err);
    if (!is_settled
        || (left != APR_EOF && rows->err.cls == CP_ERR_DEADLINE
            && cp_clock_left(run->due) > 0)) {
        return APR_INCOMPLETE;
    }
    return left;
}

static void run_member(leader_t *leader, member_t *member)
{
    connpool_rows_t *rows = member->rows;

    leader->members[leader->count++] = member;
    member->turn = CP_GROUP_ALONE;
    if (is_due_soon(rows)) {
        return;
    }
    member->rv = run_inside(leader, rows);
    if (!leader->rows->run.driver->in_transaction(leader->conn)) {
        leader->is_lost = 1;
        /* That is no accident: he would cost others more than he gains. */
        cp_pace_note(&rows->query->pace, CP_PACE_ENOUGH);
        return;
    }
    if (member->rv != APR_INCOMPLETE) {
        member->turn = CP_GROUP_DONE;
    }
    if (member->rv == APR_EOF) {
        leader->kept++;
        leader->latest = rows->run.due > leader->latest ? rows->run.due
                                                        : leader->latest;
    }
    else if (is_general(&rows->err)) {
        leader->is_over = 1;
    }
}

/* Behind the leader's own write. */
static void take_others_in(leader_t *leader)
{
    cp_clock_t now = cp_clock_now();
    cp_clock_t until = cp_clock_add(now, TAKE_FOR);
    connpool_run_t *run = &leader->rows->run;
    cp_group_item_t *item;

    connpool_run_finish(run, APR_EOF);
    if (cp_clock_add(now, DUE_SOON) > run->due || connpool_run_is_given_up(run)
        || !run->driver->settle(leader->conn)) {
        return;
    }
    leader->latest = run->due;
    leader->cut_at = cp_clock_add(now, WORK_FOR);
    while (!leader->is_lost && !leader->is_over && leader->count < MOST - 1
           && cp_clock_now() < until
           && (item = cp_group_take(leader->group)) != NULL) {
        run_member(leader, item->baton);
    }
}

/* What becomes of a member's write, with the transaction's end. */
static void conclude(const leader_t *leader, member_t *member,
                     apr_status_t committed)
{
    if (leader->is_lost) {
        member->turn = CP_GROUP_ALONE;
    }
    if (member->turn == CP_GROUP_DONE && committed != APR_EOF) {
        member->rv = committed;
        member->rows->err = leader->rows->err;
    }
    if (member->turn == CP_GROUP_DONE && member->rv == APR_EOF) {
        member->size = leader->kept + 1;
    }
    cp_group_end(&member->item, member->turn);
}

/* --- the leader --- */

/* For a group the commit is nobody's alone: it has as much time as the last of
 * them, and is done whether this one's client waits or not. */
static void commit(leader_t *leader, apr_status_t *prv)
{
    connpool_run_t *run = &leader->rows->run;

    if (leader->is_lost) {
        connpool_run_undo(run);
        return;
    }
    if (leader->kept > 0) {
        run->limit.deadline = leader->latest;
        run->limit.is_gone = NULL;
    }
    *prv = connpool_rows_close(leader->rows, *prv);
}

static void count(const connpool_query_t *query, int size)
{
    if (size > 1) {
        cp_stats_add(&connpool_query_stats(query)->grouped, 1);
    }
}

static void count_leader(const leader_t *leader)
{
    if (leader->kept > 0) {
        cp_group_count(leader->group, leader->kept + 1);
        count(leader->rows->query, leader->kept + 1);
    }
}

static apr_status_t run_again(connpool_rows_t *rows, const cp_value_t *values)
{
    cp_stats_add(&connpool_query_stats(rows->query)->retries, 1);
    connpool_rows_clear(rows);
    return connpool_rows_run(rows, values);
}

/* The connection is given back first, then the lead, then all are told: the
 * next one begins while they wake. */
static apr_status_t lead(cp_group_t *group, connpool_rows_t *rows,
                         const cp_value_t *values, cp_clock_t acquire_by)
{
    leader_t leader = {.group = group, .rows = rows};
    apr_status_t rv;

    rows->buf = CP_BUFFER_MAY_FAIL;
    cp_error_clear(&rows->err);
    connpool_account(rows->r)->acquire_by = acquire_by;
    rv = connpool_run_open(&rows->run, rows->r, rows->query, values,
                           &rows->err);
    connpool_account(rows->r)->acquire_by = 0;
    if (rv != APR_SUCCESS) {
        cp_group_hand_over(group);
        connpool_rows_free(rows);
        return rv;
    }
    leader.conn = connpool_hold_connection(rows->run.hold);
    rv = connpool_rows_work(rows);
    if (rv == APR_EOF && cp_group_queued(group) > 0) {
        take_others_in(&leader);
    }
    commit(&leader, &rv);
    cp_group_hand_over(group);
    for (int i = 0; i < leader.count; i++) {
        conclude(&leader, leader.members[i], rv);
    }
    if (leader.is_lost) {
        return run_again(rows, values);
    }
    if (rv == APR_EOF) {
        count_leader(&leader);
    }
    return rv;
}

/* --- who waits --- */

static int has_client_gone(void *baton)
{
    return connpool_client_is_gone(baton);
}

/* He was not begun. */
static apr_status_t refuse(cp_group_t *group, cp_group_turn_t turn,
                           connpool_rows_t *rows)
{
    connpool_run_t *run = &rows->run;
    apr_status_t rv;

    if (turn == CP_GROUP_GONE) {
        rv = cp_error_set(&rows->err, CP_ERR_CANCELLED, APR_ECONNABORTED,
                          "nobody waits for the answer",
                          "the client has closed its connection");
    }
    else {
        rv = cp_group_refuse(group, turn, run->asked, &rows->err);
    }
    run->started = cp_clock_now();
    connpool_account(rows->r)->wait += run->started - run->asked;
    return connpool_rows_close(rows, rv);
}

static apr_status_t follow(cp_group_t *group, member_t *member,
                           const cp_group_patience_t *patience,
                           const cp_value_t *values)
{
    connpool_rows_t *rows = member->rows;
    cp_group_turn_t turn = cp_group_join(group, &member->item, patience);
    apr_status_t rv;

    switch (turn) {
    case CP_GROUP_LEADS:
        return lead(group, rows, values,
                    member->item.has_waited ? patience->deadline : 0);
    case CP_GROUP_DONE:
        rv = connpool_rows_close(rows, member->rv);
        count(rows->query, member->size);
        return rv;
    case CP_GROUP_ALONE:
        return run_again(rows, values);
    default:
        return refuse(group, turn, rows);
    }
}

apr_status_t connpool_group_run(connpool_rows_t *rows, const cp_value_t *values)
{
    cp_group_t *group = group_of(rows);
    connpool_run_t *run = &rows->run;
    member_t member = {.rows = rows};
    cp_group_patience_t patience = {.baton = rows->r};
    const cp_pool_config_t *pool;

    if (!group) {
        return connpool_rows_run(rows, values);
    }
    pool = cp_pool_settings(rows->query->database->child->pooled.writer);
    member.item.baton = &member;
    run->r = rows->r;
    run->query = rows->query;
    run->driver = rows->query->database->driver;
    run->values = values;
    run->asked = cp_clock_now();
    rows->buf = CP_BUFFER_MAY_FAIL;
    cp_error_clear(&rows->err);
    patience.deadline = cp_clock_add(run->asked, pool->acquire);
    if (!connpool_query_is_collected(rows->query)) {
        patience.is_gone = has_client_gone;
    }
    return follow(group, &member, &patience, values);
}
