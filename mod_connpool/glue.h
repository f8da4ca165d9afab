/* SPDX-License-Identifier: Apache-2.0
 * What every file above the core needs of httpd, and the module it is part of.
 */
#ifndef CONNPOOL_GLUE_H
#define CONNPOOL_GLUE_H

#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

/* 2.4.49: the first one that tells a child that it ends. */
#if !AP_MODULE_MAGIC_AT_LEAST(20120211, 110)
#error "mod_connpool needs httpd 2.4.49 or newer"
#endif

#define CONNPOOL_VERSION "0.1.0"

/** Our module's record, which only mod_connpool.c names: it names all hooks, so
 * that whoever named it would depend on everything. */
extern const module *connpool_self;

#undef APLOG_MODULE_INDEX
#define APLOG_MODULE_INDEX (connpool_self->module_index)

#endif
