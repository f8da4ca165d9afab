/* SPDX-License-Identifier: Apache-2.0
 * Pieces of the page that the report is shown as. */
#ifndef CONNPOOL_HTML_H
#define CONNPOOL_HTML_H

#include "base/bytes/buffer.h"
#include "report/lines/lately.h"
#include "stats/histogram.h"

/** Markup as it is. */
void connpool_html_put(cp_buffer_t *buf, const char *html);

/** For numbers and constants, up to 511 bytes; other texts go through put. */
void connpool_html_putf(cp_buffer_t *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** A text from anywhere as markup. Control characters appear as they do in
 * URLs, so that a line break is seen and breaks no line. */
const char *connpool_html_escape(apr_pool_t *p, const char *text);

/** "42 s", "12 min", "3 h": how long ago that was. */
const char *connpool_age_text(apr_pool_t *p, apr_time_t at);

/** "250 us", "1.5 ms", "12 s", with the sign for micro. */
const char *connpool_duration_text(apr_pool_t *p, uint64_t us);

/** "1,234,567". */
const char *connpool_number_text(apr_pool_t *p, uint64_t value);

/** "12 B", "1.5 MiB". */
const char *connpool_bytes_text(apr_pool_t *p, uint64_t size);

/** A section of the page, which is one table. */
typedef struct connpool_table_t {
    const char *id;             /**< of the section, for links */
    const char *title;          /**< its heading */
    const char *caption;        /**< what the numbers are */
    const char *const *columns; /**< labels, NULL at the end */
} connpool_table_t;

void connpool_html_begin_table(cp_buffer_t *buf, const connpool_table_t *table);
void connpool_html_end_table(cp_buffer_t *buf);

/** Begin a section with its heading; note, beside it, may be NULL. */
void connpool_html_begin_section(cp_buffer_t *buf, const char *id,
                                 const char *title, const char *note);
void connpool_html_end_section(cp_buffer_t *buf);

/** Begin a row with whom it is about; note may be NULL. Both are escaped. */
void connpool_html_begin_row(cp_buffer_t *buf, apr_pool_t *p, const char *name,
                             const char *note);
void connpool_html_end_row(cp_buffer_t *buf);

/** One cell under that label, which narrow screens show beside it. */
void connpool_html_cell(cp_buffer_t *buf, const char *label, const char *html);
void connpool_html_number(cp_buffer_t *buf, const char *label, uint64_t value);
void connpool_html_duration(cp_buffer_t *buf, apr_pool_t *p, const char *label,
                            uint64_t us);
void connpool_html_bytes(cp_buffer_t *buf, apr_pool_t *p, const char *label,
                         uint64_t size);

/** "p50 / p99 / max" since the start, a dash when nothing was recorded. */
void connpool_html_spread(cp_buffer_t *buf, apr_pool_t *p, const char *label,
                          const cp_histogram_t *h);

/** The same in three lines: of the last minute, of the last ten, ever. */
void connpool_html_lately(cp_buffer_t *buf, apr_pool_t *p, const char *label,
                          const connpool_whose_t *whose,
                          const cp_histogram_t *h);

/** Below a row, as wide as the table: what opens when its summary is chosen,
 * and stays so. name: of whom, escaped, and said to those who do not see the
 * row. */
void connpool_html_begin_details(cp_buffer_t *buf, int columns,
                                 const char *name, const char *summary);
void connpool_html_end_details(cp_buffer_t *buf);

/** A value and, in small print, what it is made of; details may be NULL. */
void connpool_html_detailed(cp_buffer_t *buf, apr_pool_t *p, const char *label,
                            const char *value, const char *details);

#endif
