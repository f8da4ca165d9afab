/* SPDX-License-Identifier: Apache-2.0
 * Work in processes of the server's user. A configtest runs as root, and what
 * root may open says nothing; a file system or a resolver that does not answer
 * must not keep it for ever. So each job is a process of its own, which takes
 * the rights of a child as httpd's hook drop_privileges gives them (chroot and
 * supplementary groups, too), and has a deadline. */
#include "report/dump/job.h"

#include "glue.h"
#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "child/fork.h"
#include "report/dump/facts/facts.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>
#include <mpm_common.h>
#include <unixd.h>

#define AT_ONCE     128
#define TO_BEGIN    apr_time_from_sec(10) /* a busy machine forks slowly */
#define TO_BE_ENDED apr_time_from_sec(1)

/* One that runs. */
typedef struct running_t {
    const connpool_job_t *job;
    pid_t pid;
    int in; /* its pipe; -1: closed */
    int has_begun;
    cp_clock_t deadline;
    cp_buffer_t told;
    const char *complaint; /* NULL: it has ended well */
} running_t;

/* --- in its process --- */

static void write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);

        if (n < 0 && errno != EINTR) {
            _exit(1); /* nobody listens any more */
        }
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        }
    }
}

/* "SECTION SEVERITY NAME", "VALUE", each with its NUL. */
void connpool_tell(void *baton, cp_severity_t severity, const char *name,
                   const char *value)
{
    const connpool_teller_t *teller = baton;
    char head[128];
    int size = apr_snprintf(head, sizeof(head), "%d %d %s", teller->section,
                            (int)severity, name);

    write_all(teller->out, head, (size_t)size + 1);
    write_all(teller->out, value, strlen(value) + 1);
}

/* The hook says "declined" of groups that it cannot take, too. Where requests
 * run in processes of their own, these give the rights up. */
static int is_root_still(void)
{
    return geteuid() == 0 && ap_unixd_config.user_id != 0
           && !connpool_fork_expected();
}

static __attribute__((noreturn)) void run_job(const connpool_job_t *job,
                                              apr_pool_t *p, server_rec *s,
                                              int out)
{
    connpool_teller_t teller = {out, job->section};

    /* If the parent is gone, too, when the time is over. */
    alarm((unsigned)apr_time_sec(job->limit + TO_BEGIN) + 2);
    cp_log_install(NULL, NULL, CP_LOG_ERROR);
    if (ap_run_drop_privileges(p, s) > 0 || is_root_still()) {
        connpool_tell(&teller, CP_SEVERITY_ERROR, "user",
                      "the rights of the server's user cannot be taken");
        _exit(0);
    }
    write_all(out, "", 1); /* begun */
    job->work(p, job->subject, &teller);
    _exit(0);
}

/* --- in the parent --- */

static int begin(running_t *run, const connpool_job_t *job, apr_pool_t *p,
                 server_rec *s)
{
    int ends[2];

    memset(run, 0, sizeof(*run));
    run->job = job;
    run->in = -1;
    if (pipe(ends) != 0) {
        return 0;
    }
    run->pid = fork();
    if (run->pid == 0) {
        close(ends[0]);
        run_job(job, p, s, ends[1]);
    }
    close(ends[1]);
    if (run->pid < 0) {
        close(ends[0]);
        return 0;
    }
    run->in = ends[0];
    run->deadline = cp_clock_after(TO_BEGIN);
    return 1;
}

static void listen_to(running_t *run)
{
    char data[4096];
    ssize_t n = read(run->in, data, sizeof(data));

    if (n > 0) {
        if (!run->has_begun) {
            run->has_begun = 1;
            run->deadline = cp_clock_after(run->job->limit);
        }
        cp_buffer_append(&run->told, data, (size_t)n);
    }
    else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
        close(run->in);
        run->in = -1;
    }
}

static void cut_short(running_t *run)
{
    run->complaint = run->has_begun
                         ? run->job->late
                         : "the process that looks could not begin in time";
    kill(run->pid, SIGKILL);
    close(run->in);
    run->in = -1;
}

/* One that hangs in the kernel cannot be ended, and is left to init. */
static void wait_for(running_t *run, cp_clock_t end, apr_pool_t *p)
{
    int status = 0;
    pid_t pid = 0;

    while (run->pid > 0 && (pid = waitpid(run->pid, &status, WNOHANG)) == 0
           && cp_clock_left(end) > 0) {
        apr_sleep(apr_time_from_msec(2));
    }
    if (pid > 0 && WIFSIGNALED(status) && !run->complaint) {
        run->complaint = apr_psprintf(p, "the process that looks was ended: %s",
                                      strsignal(WTERMSIG(status)));
    }
}

static void read_told(const running_t *run, connpool_facts_t *facts)
{
    const char *at = run->told.data;
    const char *end = at + run->told.size;

    while (at < end && memchr(at, '\0', (size_t)(end - at))) {
        const char *head = at;
        const char *value = head + strlen(head) + 1;
        int section, severity, skip = 0;

        at = value;
        if (sscanf(head, "%d %d %n", &section, &severity, &skip) < 2) {
            continue; /* it has begun */
        }
        if (value >= end || !memchr(value, '\0', (size_t)(end - value))) {
            break;
        }
        at = value + strlen(value) + 1;
        connpool_found_add(
            facts,
            APR_ARRAY_IDX(facts->sections, section, connpool_section_t *),
            severity, apr_pstrdup(facts->p, head + skip),
            apr_pstrdup(facts->p, value));
    }
}

static void complain(const running_t *run, connpool_facts_t *facts)
{
    if (run->complaint) {
        connpool_found_add(facts,
                           APR_ARRAY_IDX(facts->sections, run->job->section,
                                         connpool_section_t *),
                           CP_SEVERITY_ERROR, "look", run->complaint);
    }
}

/* @return how many still run */
static int attend(running_t *runs, int count)
{
    struct pollfd fds[AT_ONCE];
    apr_interval_time_t patience = TO_BEGIN;
    int left = 0;

    for (int i = 0; i < count; i++) {
        apr_interval_time_t time = cp_clock_left(runs[i].deadline);

        fds[i] = (struct pollfd){.fd = runs[i].in, .events = POLLIN};
        if (runs[i].in >= 0 && time < patience) {
            patience = time;
        }
    }
    poll(fds, (nfds_t)count, (int)apr_time_as_msec(patience) + 1);
    for (int i = 0; i < count; i++) {
        if (runs[i].in < 0) {
            continue;
        }
        if (fds[i].revents) {
            listen_to(&runs[i]);
        }
        if (runs[i].in >= 0 && cp_clock_left(runs[i].deadline) == 0) {
            cut_short(&runs[i]);
        }
        left += runs[i].in >= 0;
    }
    return left;
}

/* @return how many were begun */
static int begin_some(running_t *runs, const connpool_job_t *jobs, int count,
                      apr_pool_t *p, server_rec *s)
{
    if (count > AT_ONCE) {
        count = AT_ONCE;
    }
    for (int i = 0; i < count; i++) {
        if (!begin(&runs[i], &jobs[i], p, s)) {
            runs[i].complaint = apr_psprintf(p, "no process to look: %s",
                                             strerror(errno));
        }
    }
    return count;
}

void connpool_jobs_run(connpool_facts_t *facts, server_rec *s,
                       const apr_array_header_t *jobs)
{
    const connpool_job_t *all = (const connpool_job_t *)jobs->elts;
    running_t runs[AT_ONCE];
    int count;

    for (int done = 0; done < jobs->nelts; done += count) {
        cp_clock_t end;

        count = begin_some(runs, all + done, jobs->nelts - done, facts->p, s);
        while (attend(runs, count) > 0) {
        }
        end = cp_clock_after(TO_BE_ENDED);
        for (int i = 0; i < count; i++) {
            wait_for(&runs[i], end, facts->p);
            read_told(&runs[i], facts);
            complain(&runs[i], facts);
            cp_buffer_free(&runs[i].told);
        }
    }
}
