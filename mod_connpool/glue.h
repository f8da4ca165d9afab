/* SPDX-License-Identifier: Apache-2.0
 * What every file above the core needs of httpd, and the module it is part of.
 */
#ifndef CONNPOOL_GLUE_H
#define CONNPOOL_GLUE_H

#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

#define CONNPOOL_VERSION "0.1.0"

/* The one symbol that the file exports: httpd looks it up by name. */
extern module AP_MODULE_DECLARE_DATA connpool_module
    __attribute__((visibility("default")));
#ifndef CONNPOOL_DECLARES_MODULE
APLOG_USE_MODULE(connpool);
#endif

#endif
