/* SPDX-License-Identifier: Apache-2.0
 * What the optional functions for calls and for batches share. */
#ifndef MOD_CONNPOOL_API_H
#define MOD_CONNPOOL_API_H

#include "glue.h"
#include "answers/answer.h"
#include "config/query.h"
#include "database/value.h"
#include "mod_connpool.h"

/** The query of a call that is not running, and what is bound, as the run
 * needs it.
 * @return as connpool_call_run says of values, with connpool_call_error */
apr_status_t connpool_call_values(connpool_call_t *call,
                                  connpool_query_t **pquery,
                                  const cp_value_t **pvalues);

/** A response that shows the answer, which must outlive it. */
connpool_response_t *connpool_response_of(request_rec *r,
                                          const cp_answer_t *answer);

/** Each file registers its own of the optional functions. */
void connpool_call_api_register(void);
void connpool_fetch_api_register(void);
void connpool_connection_api_register(void);
void connpool_batch_api_register(void);

#endif
