/* SPDX-License-Identifier: Apache-2.0
 * Where handlers are set: which of them do not exist, or have nothing to serve,
 * and where the URL goes on behind the place of one. */
#include "config/handler.h"

#include "glue.h"
#include "config/config.h"
#include "config/line/option.h"
#include "config/setting.h"

#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <http_request.h>

#define NAME_MAX_SIZE 24 /* longer words are not meant for us */
#define NEAR          2  /* letters that a hand may have got wrong */

/* A directive that sets a handler. */
typedef struct handling_t {
    server_rec *server;
    const char *where;
    const char *directive;
    const char *name;
    const ap_directive_t *section;
    connpool_place_t place;
} handling_t;

/* Made anew on each reading of the configuration. */
static apr_array_header_t *handlings;

void connpool_forget_handlers(apr_pool_t *pconf)
{
    handlings = apr_array_make(pconf, 8, sizeof(handling_t));
}

const connpool_handler_t *connpool_find_handler(const connpool_handler_t *table,
                                                const char *name)
{
    for (; table->name; table++) {
        if (strcmp(table->name, name) == 0) {
            return table;
        }
    }
    return NULL;
}

const char *connpool_cmd_handler(cmd_parms *cmd, void *dirv, const char *args)
{
    connpool_dir_t *dir = dirv;
    int is_set = ap_cstr_casecmp(cmd->cmd->name, "SetHandler") == 0;
    char *name = ap_getword_conf(cmd->pool, &args);
    connpool_place_t place = connpool_place_of(cmd);

    ap_str_tolower(name); /* as those do who set it */
    if (is_set) {
        dir->handled = place;
        dir->is_ours = strncmp(name, "connpool-", 9) == 0;
    }
    /* A .htaccess file is read with a request: nobody is told at start. */
    if (!ap_check_cmd_context(cmd, NOT_IN_HTACCESS)) {
        APR_ARRAY_PUSH(handlings, handling_t) = (handling_t){
            .server = cmd->server,
            .where = connpool_where(cmd),
            .directive = is_set ? "SetHandler" : "AddHandler",
            .name = name,
            .section = cmd->directive->parent,
            .place = place,
        };
    }
    return NULL;
}

/* --- names --- */

static int least(int a, int b, int c)
{
    int ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Letters to be put in, left out or changed; two that changed places are one.
 */
static int distance(const char *a, const char *b)
{
    int rows[3][NAME_MAX_SIZE + 1];
    int *older = rows[0], *old = rows[1], *row = rows[2];
    int n = (int)strlen(b);

    for (int j = 0; j <= n; j++) {
        old[j] = j;
    }
    for (int i = 1; a[i - 1]; i++) {
        int *spare = older;

        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int is_other = apr_tolower(a[i - 1]) != apr_tolower(b[j - 1]);

            row[j] = least(old[j] + 1, row[j - 1] + 1, old[j - 1] + is_other);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]
                && older[j - 2] + 1 < row[j]) {
                row[j] = older[j - 2] + 1;
            }
        }
        older = old;
        old = row;
        row = spare;
    }
    return old[n];
}

/* The handler that is most like this word; NULL: it is none of ours. */
static const connpool_handler_t *nearest_handler(
    const connpool_handler_t *table, const char *word)
{
    int is_ours = strncasecmp(word, "connpool", 8) == 0;
    int best = is_ours ? NAME_MAX_SIZE : NEAR + 1;
    const connpool_handler_t *found = NULL;

    for (; table->name && strlen(word) <= NAME_MAX_SIZE; table++) {
        int far = distance(word, table->name);

        if (far < best) {
            best = far;
            found = table;
        }
    }
    return found;
}

static const char *check_name(apr_pool_t *p, const handling_t *handling,
                              const connpool_handler_t *table)
{
    const connpool_handler_t *meant = nearest_handler(table, handling->name);
    const char *list = "";

    if (!meant && strncasecmp(handling->name, "connpool", 8) != 0) {
        return NULL;
    }
    for (const connpool_handler_t *handler = table; handler->name; handler++) {
        list = apr_pstrcat(p, list, *list ? ", " : "", handler->name, NULL);
    }
    return apr_pstrcat(p, handling->directive, " ", handling->name,
                       ": there is no such handler; ", meant ? "perhaps " : "",
                       meant ? meant->name : "", meant ? " is meant; " : "",
                       "there are ", list, NULL);
}

/* --- something to serve --- */

static int is_within(const ap_directive_t *inner, const ap_directive_t *outer)
{
    while (inner && inner != outer) {
        inner = inner->parent;
    }
    return inner == outer;
}

/* Is one path the other's beginning, by whole segments? */
static int is_prefix(const char *path, const char *longer)
{
    apr_size_t n = strlen(path);

    while (n > 0 && path[n - 1] == '/') {
        n--;
    }
    return strncmp(path, longer, n) == 0
           && (longer[n] == '\0' || longer[n] == '/');
}

/* httpd applies files behind directories and locations behind both, the longer
 * path behind the shorter one. */
static int comes_later(const connpool_place_t *a, const connpool_place_t *b)
{
    if (a->kind != b->kind || !a->path || !b->path) {
        return a->kind > b->kind;
    }
    return strlen(a->path) > strlen(b->path);
}

/* May both hold for one request, with this handler? What cannot be known is
 * taken for possible. */
static int may_serve(const handling_t *handling,
                     const connpool_serving_t *serving)
{
    const connpool_place_t *at = &handling->place;
    const connpool_place_t *from = &serving->place;

    if (handling->server != serving->server && handling->server->is_virtual
        && serving->server->is_virtual) {
        return 0;
    }
    if (is_within(serving->section, handling->section)
        || is_within(handling->section, serving->section)) {
        return 1;
    }
    if (serving->handler && comes_later(from, at)) {
        return 0;
    }
    return at->kind != from->kind || !at->path || !from->path
           || is_prefix(at->path, from->path)
           || is_prefix(from->path, at->path);
}

const char *connpool_handler_of(const connpool_serving_t *serving)
{
    const char *found = serving->handler;

    for (int i = 0; !serving->handler && i < handlings->nelts; i++) {
        const handling_t *handling = &APR_ARRAY_IDX(handlings, i, handling_t);

        if (strcmp(handling->directive, "SetHandler") == 0
            && may_serve(handling, serving)) {
            found = handling->name;
        }
    }
    return found;
}

static int is_served(const handling_t *handling, connpool_needs_t needs)
{
    const apr_array_header_t *servings = connpool_servings();

    for (int i = 0; i < servings->nelts; i++) {
        const connpool_serving_t *serving = &APR_ARRAY_IDX(servings, i,
                                                           connpool_serving_t);
        const connpool_server_t *sc = connpool_server(serving->server);
        apr_hash_t *names = needs == CONNPOOL_NEEDS_UPSTREAM ? sc->all_upstreams
                                                             : sc->all_queries;

        if (may_serve(handling, serving)
            && (needs == CONNPOOL_NEEDS_EITHER
                || apr_hash_get(names, serving->name, APR_HASH_KEY_STRING))) {
            return 1;
        }
    }
    return 0;
}

static const char *check_handling(apr_pool_t *p, const handling_t *handling,
                                  const connpool_handler_t *table)
{
    static const char *const wanted[] = {
        [CONNPOOL_NEEDS_NOTHING] = "",
        [CONNPOOL_NEEDS_QUERY] = "no query",
        [CONNPOOL_NEEDS_UPSTREAM] = "no upstream",
        [CONNPOOL_NEEDS_EITHER] = "nothing",
    };
    const connpool_handler_t *handler = connpool_find_handler(table,
                                                              handling->name);

    if (!handler) {
        return check_name(p, handling, table);
    }
    if (handler->needs == CONNPOOL_NEEDS_NOTHING
        || is_served(handling, handler->needs)) {
        return NULL;
    }
    return apr_psprintf(p,
                        "%s %s: ConnPoolServe names %s here that it could "
                        "serve",
                        handling->directive, handling->name,
                        wanted[handler->needs]);
}

int connpool_check_handlers(apr_pool_t *p, const connpool_handler_t *table)
{
    for (int i = 0; i < handlings->nelts; i++) {
        const handling_t *handling = &APR_ARRAY_IDX(handlings, i, handling_t);
        const char *error = check_handling(p, handling, table);

        if (error) {
            return connpool_refuse(handling->server, handling->where, error);
        }
    }
    return OK;
}

/* --- what follows the place --- */

/* The path of a location that holds for this URL, or NULL. */
static const char *location_of(const request_rec *r,
                               const connpool_place_t *place)
{
    return place->kind == CONNPOOL_PLACE_LOCATION && place->path
                   && strncmp(r->uri, place->path, strlen(place->path)) == 0
               ? place->path
               : NULL;
}

/* Where no location tells the place, the file system does: what follows a name
 * that exists, or stands below a directory and does not exist. */
static int is_beyond_file(const request_rec *r, const connpool_dir_t *dir)
{
    if (r->path_info && *r->path_info) {
        return 1;
    }
    return dir->handled.kind == CONNPOOL_PLACE_DIRECTORY
           && r->finfo.filetype == APR_NOFILE;
}

int connpool_has_extra_path(request_rec *r)
{
    const connpool_dir_t *dir = connpool_dir(r);
    const char *set = location_of(r, &dir->handled);
    const char *served = location_of(r, &dir->served);

    if (r->used_path_info == AP_REQ_ACCEPT_PATH_INFO
        || dir->handled.kind == CONNPOOL_PLACE_PATTERN
        || dir->served.kind == CONNPOOL_PLACE_PATTERN) {
        return 0;
    }
    if (!set && !served) {
        return is_beyond_file(r, dir);
    }
    if (!set || (served && strlen(served) > strlen(set))) {
        set = served;
    }
    return r->uri[strlen(set)] != '\0';
}
