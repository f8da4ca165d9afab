/* SPDX-License-Identifier: Apache-2.0
 * The settings in effect of what is defined, without those that tell where
 * something lies or what must stay secret. */
#ifndef CONNPOOL_SETTINGS_H
#define CONNPOOL_SETTINGS_H

#include "report/lines/gather.h"

typedef struct connpool_setting_line_t {
    const char *key;
    const char *value;
} connpool_setting_line_t;

/** connpool_setting_line_t, in the order of the keys' tables. */
apr_array_header_t *connpool_status_pool_settings(
    apr_pool_t *p, const connpool_pool_line_t *line);
apr_array_header_t *connpool_status_query_settings(
    apr_pool_t *p, const connpool_query_line_t *line);

#endif
