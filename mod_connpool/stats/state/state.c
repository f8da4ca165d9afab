/* SPDX-License-Identifier: Apache-2.0
 * The rules, worst first: the first that holds is the state. */
#include "stats/state/state.h"

#include "base/number.h"

#include <stdio.h>
#include <string.h>

#define LONG_WAIT 1000000 /* us: shorter queues are what queues are for */

const char *cp_level_name(cp_level_t level)
{
    static const char *const names[CP_LEVELS] = {"ok", "degraded", "down"};

    return names[level];
}

const char *cp_subject_name(cp_subject_t subject)
{
    static const char *const names[CP_SUBJECTS] = {
        [CP_SUBJECT_POOL] = "pool",
        [CP_SUBJECT_QUERY] = "query",
        [CP_SUBJECT_UPSTREAM] = "upstream",
        [CP_SUBJECT_EVENT_LOOP] = "event_loop",
        [CP_SUBJECT_MEMORY] = "memory",
        [CP_SUBJECT_CACHE] = "cache",
    };

    return names[subject];
}

/* --- what can be the matter --- */

static int cannot_read(const cp_facts_t *f)
{
    return f->cannot_read;
}

/* Of requests that were refused twice there may be more than requests. */
static int is_mostly_refused(const cp_facts_t *f)
{
    return f->refused > f->tried / 2;
}

static int is_refused(const cp_facts_t *f)
{
    return f->refused > 0;
}

static int cannot_write(const cp_facts_t *f)
{
    return f->cannot_write;
}

static int cannot_open(const cp_facts_t *f)
{
    return f->cannot_open;
}

static int is_exhausted(const cp_facts_t *f)
{
    return f->waiting > 0 && f->busy >= f->limit
           && f->oldest_wait_us >= LONG_WAIT;
}

static int is_strained(const cp_facts_t *f)
{
    return f->is_strained;
}

static int fell_back(const cp_facts_t *f)
{
    return f->fell_back;
}

static int is_left_alone(const cp_facts_t *f)
{
    return f->is_left_alone;
}

static int is_silent(const cp_facts_t *f)
{
    return f->is_silent;
}

static int is_lacking(const cp_facts_t *f)
{
    return f->lacking_children > 0;
}

static int is_above_bound(const cp_facts_t *f)
{
    return f->used_bytes > f->bound_bytes;
}

/* --- sentences with numbers --- */

#define SAY(text, ...) snprintf(text, CP_CAUSE_SIZE, __VA_ARGS__)

static void say_refused(const cp_facts_t *f, char *text)
{
    uint64_t tried = f->tried > f->refused ? f->tried : f->refused;
    char some[CP_GROUPED_SIZE], all[CP_GROUPED_SIZE];

    SAY(text, "%s of %s requests of the last 30 seconds were refused",
        cp_grouped(some, f->refused), cp_grouped(all, tried));
}

static void say_broken(const cp_facts_t *f, char *text)
{
    uint64_t tried = f->tried > f->refused ? f->tried : f->refused;
    char some[CP_GROUPED_SIZE], all[CP_GROUPED_SIZE];

    SAY(text,
        "%s of %s runs of the last 30 seconds failed because of the database",
        cp_grouped(some, f->refused), cp_grouped(all, tried));
}

static void say_failed(const cp_facts_t *f, char *text)
{
    char some[CP_GROUPED_SIZE];

    SAY(text, "%s calls of the last 30 seconds failed or were not tried",
        cp_grouped(some, f->refused));
}

static void say_exhausted(const cp_facts_t *f, char *text)
{
    char limit[CP_GROUPED_SIZE], waiting[CP_GROUPED_SIZE];

    SAY(text, "all %s connections are busy; %s waiting, the first for %.1f s",
        cp_grouped(limit, f->limit), cp_grouped(waiting, f->waiting),
        (double)f->oldest_wait_us / 1e6);
}

static void say_loops(const cp_facts_t *f, char *text)
{
    SAY(text, "no event loop runs in %llu of %llu children",
        (unsigned long long)f->lacking_children,
        (unsigned long long)f->children);
}

static void say_memory(const cp_facts_t *f, char *text)
{
    SAY(text, "a child uses %.1f MiB, more than its bound of %.1f MiB",
        (double)f->used_bytes / 1048576, (double)f->bound_bytes / 1048576);
}

/* --- the rules --- */

#define POOL     (1u << CP_SUBJECT_POOL)
#define QUERY    (1u << CP_SUBJECT_QUERY)
#define UPSTREAM (1u << CP_SUBJECT_UPSTREAM)
#define LOOP     (1u << CP_SUBJECT_EVENT_LOOP)
#define MEMORY   (1u << CP_SUBJECT_MEMORY)
#define CACHE    (1u << CP_SUBJECT_CACHE)

#define DEGRADED CP_LEVEL_DEGRADED
#define DOWN     CP_LEVEL_DOWN

static const struct rule_t {
    unsigned subjects;
    int (*holds)(const cp_facts_t *facts);
    cp_level_t level;
    const char *word;  /* NULL: the error's class */
    const char *cause; /* or say */
    void (*say)(const cp_facts_t *facts, char *text);
    int is_unlogged;
} rules[] = {
    {POOL, cannot_read, DOWN, NULL, "no connection can be opened", NULL, 1},
    {POOL | MEMORY, is_mostly_refused, DOWN, "refused", NULL, say_refused, 0},
    {POOL, cannot_write, DEGRADED, "not writable",
     "no connection can be opened for writing", NULL, 0},
    {POOL, cannot_open, DEGRADED, NULL, "a connection could not be opened",
     NULL, 0},
    {POOL | MEMORY, is_refused, DEGRADED, "refused", NULL, say_refused, 0},
    {POOL, is_exhausted, DEGRADED, "exhausted", NULL, say_exhausted, 0},
    {POOL, is_strained, DEGRADED, "busy", "over 90 % busy for 30 seconds", NULL,
     0},
    {POOL, fell_back, DEGRADED, "fallbacks", "one-shot connections were used",
     NULL, 0},
    {POOL | UPSTREAM, is_left_alone, DEGRADED, "breaker open",
     "the breaker is open", NULL, 0},
    {POOL | UPSTREAM, is_silent, DEGRADED, "no answer",
     "the last fetch got no answer", NULL, 0},
    {QUERY, is_lacking, DEGRADED, "unprepared", "it cannot be prepared", NULL,
     0},
    {QUERY, is_mostly_refused, DOWN, "storage", NULL, say_broken, 0},
    {QUERY, is_refused, DEGRADED, "storage", NULL, say_broken, 0},
    {LOOP, is_lacking, DEGRADED, "lost", NULL, say_loops, 0},
    {MEMORY, is_above_bound, DEGRADED, "bound", NULL, say_memory, 0},
    {CACHE, is_refused, DEGRADED, "no answer", NULL, say_failed, 0},
};

static void apply(const struct rule_t *rule, const cp_facts_t *facts,
                  cp_state_t *state)
{
    state->level = rule->level;
    state->word = rule->word     ? rule->word
                  : facts->error ? facts->error
                                 : "storage";
    state->is_unlogged = rule->is_unlogged;
    if (rule->say) {
        rule->say(facts, state->cause);
    }
    else {
        SAY(state->cause, "%s", rule->cause);
    }
}

void cp_state_judge(cp_subject_t subject, const cp_facts_t *facts,
                    cp_state_t *state)
{
    memset(state, 0, sizeof(*state));
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        const struct rule_t *rule = &rules[i];

        if (rule->subjects & (1u << subject) && rule->holds(facts)) {
            apply(rule, facts, state);
            state->is_inherited = subject == CP_SUBJECT_POOL
                                  && rule->subjects & UPSTREAM;
            return;
        }
    }
}
