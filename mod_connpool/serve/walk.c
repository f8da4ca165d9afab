/* SPDX-License-Identifier: Apache-2.0
 * walk=off: the URL of work of ours names no file, so none is looked for.
 *
 * httpd looks at each part of the path below the document root that a URL would
 * have as a file: sections for directories and files, .htaccess files and
 * symbolic links may say something of it. Where walk=off stands it goes on as
 * for a path of which nothing is there below the document root: all that it
 * knows without the file system holds as ever. It is not asked what is there,
 * in the place where httpd lets a module answer that question. */
#include "glue.h"
#include "config/line/option.h"
#include "config/setting.h"
#include "serve/serve.h"

#include <apr_file_info.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_request.h>

/* Of a request whose files are not looked for: its own record. */
static apr_size_t unwalked;

/* Behind whatever rewrites or maps the URL: what that has touched is walked, as
 * is what the location's own configuration does not serve. */
static int note_unwalked(request_rec *r)
{
    const connpool_dir_t *dir = connpool_dir(r);

    if (dir->is_walked == 0 && dir->is_ours == 1 && r->parsed_uri.path
        && strcmp(r->uri, r->parsed_uri.path) == 0) {
        *ap_get_request_note(r, unwalked) = r;
    }
    return DECLINED;
}

/* Is one the other, or a directory above it? */
static int is_above(const char *path, const char *longer)
{
    apr_size_t size = strlen(path);

    while (size > 0 && path[size - 1] == '/') {
        size--;
    }
    return strncmp(path, longer, size) == 0
           && (longer[size] == '/' || longer[size] == '\0');
}

static apr_status_t answer_stat(apr_finfo_t *finfo, request_rec *r,
                                apr_int32_t wanted)
{
    const char *root = *ap_get_request_note(r, unwalked) == r
                           ? ap_document_root(r)
                           : NULL;
    int is_root = root && is_above(r->filename, root);

    if (!root || (!is_root && !is_above(root, r->filename))) {
        return AP_DECLINED;
    }
    memset(finfo, 0, sizeof(*finfo));
    finfo->pool = r->pool;
    finfo->filetype = is_root ? APR_DIR : APR_NOFILE;
    finfo->valid = is_root ? APR_FINFO_TYPE : 0;
    return is_root ? APR_SUCCESS : APR_ENOENT;
}

/* --- what it leaves out --- */

static const core_server_config *core_of(const server_rec *s)
{
    return ap_get_core_module_config(s->module_config);
}

/* A section for a directory on the way to where the URL would have its file, or
 * below it, but not for what is above the document root. */
static int is_left_out(const core_dir_config *section, const char *root,
                       const char *file)
{
    return section->d && !section->r && !section->d_is_fnmatch
           && is_above(root, section->d) && !is_above(section->d, root)
           && (is_above(file, section->d) || is_above(section->d, file));
}

/* What would not hold any more must not be overlooked: it may deny. */
static int check_sections(const connpool_serving_t *serving,
                          const core_server_config *core, const char *file,
                          apr_pool_t *p)
{
    for (int i = 0; i < core->sec_dir->nelts; i++) {
        const core_dir_config *section = ap_get_core_module_config(
            APR_ARRAY_IDX(core->sec_dir, i, ap_conf_vector_t *));

        if (is_left_out(section, core->ap_document_root, file)) {
            return connpool_refuse(
                serving->server, serving->where,
                apr_psprintf(p,
                             "ConnPoolServe %s: with walk=off <Directory %s> "
                             "would not hold here; say in <Location %s> what "
                             "it says, or leave walk=on",
                             serving->name, section->d, serving->place.path));
        }
    }
    return OK;
}

/* The first part of the path: where it is not there, the walk ends as well. */
static void warn_of_file(const connpool_serving_t *serving, const char *root,
                         apr_pool_t *p)
{
    const char *path = serving->place.path;
    const char *file = apr_pstrcat(
        p, root, apr_pstrndup(p, path, 1 + strcspn(path + 1, "/")), NULL);
    apr_finfo_t info;
    apr_status_t rv = apr_stat(&info, file, APR_FINFO_LINK | APR_FINFO_TYPE, p);

    if (rv == APR_SUCCESS || rv == APR_INCOMPLETE) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_WARNING, 0,
                     serving->server,
                     "ConnPoolServe %s walk=off (%s): what .htaccess files and "
                     "patterns say of %s, which is there, does not hold",
                     serving->name, serving->where, file);
    }
}

static int check_serving(const connpool_serving_t *serving, const server_rec *s,
                         apr_pool_t *p)
{
    const core_server_config *core = core_of(s);
    const char *path = serving->place.path;
    int holds = serving->server == s || !serving->server->is_virtual;

    if (!holds || serving->dir->is_walked != 0 || !path || !path[1]
        || !core->ap_document_root) {
        return OK;
    }
    warn_of_file(serving, core->ap_document_root, p);
    return check_sections(
        serving, core, apr_pstrcat(p, core->ap_document_root, path, NULL), p);
}

int connpool_walk_check(apr_pool_t *p, server_rec *main_server)
{
    const apr_array_header_t *servings = connpool_servings();
    int status = OK;

    for (const server_rec *s = main_server; s; s = s->next) {
        for (int i = 0; i < servings->nelts && status == OK; i++) {
            status = check_serving(
                &APR_ARRAY_IDX(servings, i, connpool_serving_t), s, p);
        }
    }
    return status;
}

void connpool_walk_register(void)
{
    unwalked = ap_register_request_note();
    ap_hook_translate_name(note_unwalked, NULL, NULL, APR_HOOK_LAST);
    ap_hook_dirwalk_stat(answer_stat, NULL, NULL, APR_HOOK_MIDDLE);
}
