/* SPDX-License-Identifier: Apache-2.0
 * What went wrong: a class for the answer, a cause for the client, a detail
 * for the log. */
#ifndef CP_ERROR_H
#define CP_ERROR_H

#include <apr_errno.h>

typedef enum cp_error_class_t {
    CP_ERR_NONE,      /**< no error */
    CP_ERR_INPUT,     /**< 400: the request's values are wrong */
    CP_ERR_REFUSED,   /**< 403: a policy forbids it */
    CP_ERR_CONFLICT,  /**< 409: what is stored already does not allow it */
    CP_ERR_SIZE,      /**< 413/502: more bytes than allowed */
    CP_ERR_RATE,      /**< 429: more often than allowed */
    CP_ERR_UPSTREAM,  /**< 502: the other side is broken */
    CP_ERR_CAPACITY,  /**< 503: nothing free in time */
    CP_ERR_STORAGE,   /**< 503: the database cannot be used */
    CP_ERR_MEMORY,    /**< 503: the process has no memory for it */
    CP_ERR_DEADLINE,  /**< 504: began, but not finished in time */
    CP_ERR_CANCELLED, /**< nobody waits for the answer any more */
    CP_ERR_INTERNAL,  /**< 500: our own fault */
    CP_ERR_CLASSES
} cp_error_class_t;

/** Filled by the function that fails. Caller's storage, no ownership. */
typedef struct cp_error_t {
    cp_error_class_t cls;
    apr_status_t rv;   /**< APR_SUCCESS when no system status applies */
    int is_told;       /**< the log has a line of it already */
    int is_transient;  /**< nothing has happened, and the same may succeed if it
                            is begun anew at once */
    int retry_after;   /**< seconds until it may be otherwise, 0: not known */
    const char *cause; /**< static; safe to show to clients */
    const char *constraint; /**< static: the kind that was violated, "unique",
                                 "foreign_key", ...; NULL: it is none */
    char state[6];          /**< the SQLSTATE, "": it has none */
    char subject[192];      /**< of the constraint, "" if not known: a name, or
                                 "table.column, table.column" */
    char message[256]; /**< instead of the cause: what the database's author
                            tells clients; "" mostly */
    char detail[640];  /**< for the log only: may name files, SQL, addresses */
} cp_error_t;

/** Set all fields; returns rv, or APR_EGENERAL when rv is APR_SUCCESS, so that
 * `return cp_error_set(...)` always reports failure. */
apr_status_t cp_error_set(cp_error_t *err, cp_error_class_t cls,
                          apr_status_t rv, const char *cause,
                          const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/** There is no memory for `what` (as CP_ERR_MEMORY, APR_ENOMEM). */
apr_status_t cp_error_memory(cp_error_t *err, const char *what);

void cp_error_clear(cp_error_t *err);

/** Write into the buffer what the detail says beyond what a line of the log has
 * said before it: `what`, with which it may begin, and the cause. It begins
 * with
 * ": ", or is "". Returns the buffer. */
const char *cp_error_more(const cp_error_t *err, const char *what, char *buffer,
                          size_t size);

/** Lower-case word of the class for logs and metrics: "deadline", ... */
const char *cp_error_class_name(cp_error_class_t cls);

#endif
