/* SPDX-License-Identifier: Apache-2.0
 * What the optional functions for calls and for batches share. */
#ifndef MOD_CONNPOOL_API_H
#define MOD_CONNPOOL_API_H

#include "glue.h"
#include "answers/answer.h"
#include "base/error.h"
#include "config/query.h"
#include "database/value.h"
#include "mod_connpool.h"
#include "request/input.h"

/** The query of a call that is not running, and what is bound, as the run
 * needs it.
 * @return as connpool_call_run says of values, with connpool_call_error */
apr_status_t connpool_call_values(connpool_call_t *call,
                                  connpool_query_t **pquery,
                                  const cp_value_t **pvalues);

/** What else is told of the call by others than the calls' own file. */
request_rec *connpool_call_request(const connpool_call_t *call);
/** A value is not what it should be: APR_EINVAL, with connpool_call_error. */
apr_status_t connpool_call_refuse(connpool_call_t *call,
                                  connpool_input_error_t error);
/** The values are for a whole answer: also which page of it. */
void connpool_call_is_answer(connpool_call_t *call, int is_answer);
cp_error_t *connpool_call_failed(connpool_call_t *call);
/** connpool_input_error_t, of the values; empty: they can be used. */
const apr_array_header_t *connpool_call_errors(const connpool_call_t *call);

/** A response that shows the answer, which must outlive it. */
connpool_response_t *connpool_response_of(request_rec *r,
                                          const cp_answer_t *answer);
void connpool_response_add(connpool_response_t *response, const char *name,
                           const char *value);

/** Seconds until it may be otherwise, as the header Retry-After says; 0: there
 * is none. */
int connpool_retry_after(int status, int known);

/** The word for a failure, NULL if it is none; with its status and
 * connpool_retry_after (both may be NULL). */
const char *connpool_tell_failure(const cp_error_t *err, int *pstatus,
                                  int *pretry_after);

/** Each file registers its own of the optional functions. */
void connpool_call_api_register(void);
void connpool_fetch_api_register(void);
void connpool_connection_api_register(void);
void connpool_batch_api_register(void);
void connpool_answer_api_register(void);

#endif
