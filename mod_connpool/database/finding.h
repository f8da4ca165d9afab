/* SPDX-License-Identifier: Apache-2.0
 * What a driver finds out about a database, or a statement, before anybody is
 * served: rows of a name, a value, and how bad that is. */
#ifndef CP_FINDING_H
#define CP_FINDING_H

#include <stdarg.h>

#include <apr_strings.h>

typedef enum cp_severity_t {
    CP_SEVERITY_INFO,    /**< so it is */
    CP_SEVERITY_WARNING, /**< it serves, but somebody should look at it */
    CP_SEVERITY_ERROR,   /**< something of it could not serve */
    CP_SEVERITIES
} cp_severity_t;

/** Bytes of a value, its end included; what is longer is cut. */
#define CP_FINDING_SIZE 1024

/** Who hears of them; neither name nor value is kept behind the call. Names are
 * one or two words and constant; several rows may have the same. */
typedef struct cp_findings_t {
    void (*add)(void *baton, cp_severity_t severity, const char *name,
                const char *value);
    void *baton;
} cp_findings_t;

/** In the header, for drivers that are modules of their own. */
static inline __attribute__((format(printf, 4, 5))) void cp_finding_add(
    const cp_findings_t *to, cp_severity_t severity, const char *name,
    const char *format, ...)
{
    char value[CP_FINDING_SIZE];
    va_list args;

    va_start(args, format);
    apr_vsnprintf(value, sizeof(value), format, args);
    va_end(args);
    to->add(to->baton, severity, name, value);
}

#endif
