/* SPDX-License-Identifier: Apache-2.0
 * What the outermost request carries, and what it has spent. */
#include "request/account.h"

#include "glue.h"
#include "base/clock.h"
#include "config/setting.h"

#include <apr_strings.h>

request_rec *connpool_outermost(request_rec *r)
{
    while (r->main || r->prev) {
        r = r->main ? r->main : r->prev;
    }
    return r;
}

connpool_state_t *connpool_state(request_rec *r)
{
    request_rec *top = connpool_outermost(r);
    connpool_state_t *state = ap_get_module_config(top->request_config,
                                                   connpool_self);

    if (!state) {
        state = apr_pcalloc(top->pool, sizeof(*state));
        ap_set_module_config(top->request_config, connpool_self, state);
    }
    return state;
}

connpool_account_t *connpool_account(request_rec *r)
{
    return &connpool_state(r)->account;
}

static void set_note(request_rec *r, const char *name, apr_int64_t value)
{
    /* For every request, whether its log asks or not: no printf, and nobody
     * else has notes of these names. */
    apr_table_addn(r->notes, name,
                   value > 0 ? apr_off_t_toa(r->pool, value) : "0");
}

/* LogFormat reads the notes of the last of a chain of internal redirects. */
int connpool_log_account(request_rec *r)
{
    const connpool_state_t *state = ap_get_module_config(
        connpool_outermost(r)->request_config, connpool_self);

    for (; state && r; r = r->next) {
        set_note(r, "connpool-wait-us", state->account.wait);
        set_note(r, "connpool-db-us", state->account.db);
        set_note(r, "connpool-http-us", state->account.http);
        set_note(r, "connpool-fallback", state->account.fallbacks);
    }
    return DECLINED;
}

void connpool_account_fetch(request_rec *r, int delta)
{
    connpool_account_t *account = connpool_account(r);
    cp_clock_t now = cp_clock_now();

    if (account->fetches == 0) {
        account->fetching = now;
    }
    account->fetches += delta;
    if (account->fetches == 0) {
        account->http += now - account->fetching;
        account->fetching = 0;
    }
}

/* Not a fetch that took time: the distributions do not know of it. */

void connpool_add_server_timing(request_rec *r)
{
    const connpool_account_t *account;
    apr_interval_time_t http;

    if (!connpool_server(r->server)->server_timing) {
        return;
    }
    account = connpool_account(r);
    http = account->http;
    /* The header leaves before the body has come. */
    if (account->fetching) {
        http += cp_clock_now() - account->fetching;
    }
    apr_table_setn(
        r->headers_out, "Server-Timing",
        apr_psprintf(r->pool, "wait;dur=%.3f, db;dur=%.3f, http;dur=%.3f",
                     (double)account->wait / 1000, (double)account->db / 1000,
                     (double)http / 1000));
}
