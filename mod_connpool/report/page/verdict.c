/* SPDX-License-Identifier: Apache-2.0
 * What the page begins with: who looks at it at night, on a phone, sees first
 * what is wrong, since when, and why. */
#include "report/page/verdict.h"

#include "base/bytes/buffer.h"
#include "base/error.h"
#include "report/lines/gather.h"
#include "report/lines/judge.h"
#include "report/page/html.h"
#include "stats/state/state.h"

#include <apr_strings.h>

void connpool_status_write_state(cp_buffer_t *buf, const char *word)
{
    connpool_html_putf(
        buf, "<td data-label=\"State\"><span class=\"%s\">%s</span></td>", word,
        word);
}

static const char *time_text(apr_pool_t *p, apr_time_t at)
{
    const char *text = connpool_status_time(p, at);

    return apr_pstrcat(p, "<time datetime=\"", text, "\">", text,
                       "</time><small>", connpool_age_text(p, at),
                       " ago</small>", NULL);
}

static const char *error_text(apr_pool_t *p, const connpool_verdict_t *verdict)
{
    return verdict->error == CP_ERR_NONE
               ? "none"
               : apr_pstrcat(p, cp_error_class_name(verdict->error), ", ",
                             time_text(p, verdict->error_at), NULL);
}

/* "upstream", "pool on host:80"; what there is one of says it by its name. */
static const char *note_of(apr_pool_t *p, const connpool_state_line_t *line)
{
    const char *kind = cp_subject_name(line->subject);

    if (line->subject == CP_SUBJECT_EVENT_LOOP
        || line->subject == CP_SUBJECT_MEMORY) {
        return NULL;
    }
    return line->server ? apr_pstrcat(p, kind, " on ", line->server, NULL)
                        : kind;
}

static const char *name_of(const connpool_state_line_t *line)
{
    return line->subject == CP_SUBJECT_EVENT_LOOP ? "event loop" : line->name;
}

/* Words, not numbers: they may take several lines. */
static void write_text(cp_buffer_t *buf, apr_pool_t *p, const char *label,
                       const char *html)
{
    connpool_html_cell(
        buf, label,
        apr_pstrcat(p, "<span class=\"why\">", html, "</span>", NULL));
}

static void write_cause(cp_buffer_t *buf, apr_pool_t *p,
                        const connpool_state_line_t *line)
{
    const connpool_verdict_t *verdict = line->verdict;

    connpool_html_begin_row(buf, p, name_of(line), note_of(p, line));
    connpool_status_write_state(buf, cp_level_name(verdict->state.level));
    write_text(buf, p, "Cause", connpool_html_escape(p, verdict->state.cause));
    write_text(buf, p, "Since", time_text(p, verdict->since));
    write_text(buf, p, "Last error", error_text(p, verdict));
    connpool_html_end_row(buf);
}

/* The line of an upstream says what is to be said of its pool. */
static void write_causes(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {"What",  "State",      "Cause",
                                          "Since", "Last error", NULL};
    static const connpool_table_t table = {
        "wrong", "What is wrong", "The worst first. Times are UTC.", columns};

    connpool_html_begin_table(buf, &table);
    EACH_LINE(report->causes, connpool_state_line_t, line)
    {
        if (!line->verdict->state.is_inherited) {
            write_cause(buf, report->p, line);
        }
    }
    connpool_html_end_table(buf);
}

void connpool_status_write_verdict(cp_buffer_t *buf,
                                   const connpool_status_t *report)
{
    /* Who does not see it hears it when it changes. */
    connpool_html_putf(buf, "<h1 class=\"verdict is-%s\" aria-live=\"polite\">",
                       cp_level_name(report->level));
    connpool_html_put(
        buf, connpool_html_escape(report->p, connpool_status_verdict(report)));
    connpool_html_put(buf, "</h1>\n");
    if (report->causes->nelts > 0) {
        write_causes(buf, report);
    }
}
