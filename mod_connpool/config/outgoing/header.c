/* SPDX-License-Identifier: Apache-2.0
 * set-headers= of an upstream: what each request is sent with. Values may be
 * secrets: no message says more of them than where they stand. */
#include "glue.h"
#include "config/outgoing/outgoing.h"
#include "http/job/fetch.h"
#include "http/upstream/upstream.h"

#include <apr_file_io.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

#define FILE_MAX (16 * 1024)

typedef struct reading_t {
    cmd_parms *cmd;
    apr_array_header_t *headers; /* cp_http_header_t */
} reading_t;

int connpool_is_own_header(const char *name)
{
    static const char *const names[] = {"host",
                                        "connection",
                                        "keep-alive",
                                        "te",
                                        "trailer",
                                        "upgrade",
                                        "transfer-encoding",
                                        "expect",
                                        "trailers",
                                        "proxy-connection",
                                        "http2-settings",
                                        "content-length",
                                        "accept-encoding"};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strcasecmp(name, names[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

/* --- files --- */

static void warn_of_readers(const reading_t *reading, const char *path,
                            const apr_finfo_t *info)
{
    if (info->protection & APR_FPROT_WREAD && connpool_is_last_reading()) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_WARNING, 0,
                     reading->cmd->server,
                     "%s: set-headers: everybody may read the file %s: it is "
                     "read at start, by who starts the server, so chmod 600 it",
                     reading->cmd->cmd->name, path);
    }
}

static const char *read_file(const reading_t *reading, const char *name,
                             char **ptext)
{
    apr_pool_t *p = reading->cmd->pool;
    const char *path = ap_server_root_relative(p, name);
    apr_size_t size = FILE_MAX + 1;
    apr_finfo_t info;
    apr_file_t *file;
    apr_status_t rv;
    char why[120];

    rv = path ? apr_file_open(&file, path, APR_FOPEN_READ, 0,
                              reading->cmd->temp_pool)
              : APR_EBADPATH;
    if (rv == APR_SUCCESS) {
        rv = apr_file_info_get(&info, APR_FINFO_TYPE | APR_FINFO_PROT, file);
        *ptext = apr_palloc(p, size + 1);
        if (rv == APR_SUCCESS && info.filetype != APR_REG) {
            rv = APR_EBADPATH;
        }
        if (rv == APR_SUCCESS) {
            rv = apr_file_read_full(file, *ptext, size, &size);
        }
        apr_file_close(file);
    }
    if (rv != APR_SUCCESS && !APR_STATUS_IS_EOF(rv)) {
        return apr_psprintf(p, "the file '%s' cannot be read: %s", name,
                            apr_strerror(rv, why, sizeof(why)));
    }
    if (size > FILE_MAX || memchr(*ptext, '\0', size)) {
        return apr_psprintf(p, "the file '%s' is no text of 16K at most", name);
    }
    (*ptext)[size] = '\0';
    warn_of_readers(reading, path, &info);
    return NULL;
}

static void cut_newline(char *text)
{
    apr_size_t size = strlen(text);

    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r')) {
        text[--size] = '\0';
    }
}

/* --- headers --- */

static const char *check_header(const reading_t *reading, const char *name,
                                const char *value)
{
    apr_pool_t *p = reading->cmd->pool;

    if (!*name || *ap_scan_http_token(name)) {
        return "write \"Name: value; Name: value\", or @FILE";
    }
    if (connpool_is_own_header(name) || strcasecmp(name, "range") == 0
        || strcasecmp(name, "if-range") == 0) {
        return apr_psprintf(p,
                            "'%s' cannot be set: it is about the "
                            "connection or its bytes",
                            name);
    }
    for (int i = 0; i < reading->headers->nelts; i++) {
        if (strcasecmp(
                APR_ARRAY_IDX(reading->headers, i, cp_http_header_t).name, name)
            == 0) {
            return apr_psprintf(p, "'%s' is set twice", name);
        }
    }
    if (!*value || *ap_scan_http_field_content(value)) {
        return apr_psprintf(p,
                            "the value of '%s' is empty, or holds what no "
                            "header may",
                            name);
    }
    return NULL;
}

static const char *add_header(const reading_t *reading, const char *name,
                              const char *value)
{
    const char *error = check_header(reading, name, value);

    if (!error) {
        APR_ARRAY_PUSH(reading->headers,
                       cp_http_header_t) = (cp_http_header_t){name, value};
    }
    return error;
}

/* Cut blanks off both ends. */
static char *trim(char *text)
{
    char *end;

    while (*text == ' ' || *text == '\t') {
        text++;
    }
    end = text + strlen(text);
    while (end > text && (end[-1] == ' ' || end[-1] == '\t')) {
        *--end = '\0';
    }
    return text;
}

/* The last word of a value may be a file's name: "Bearer @token". A word that
 * begins with @@ is a text that begins with @. */
static const char *fill_in_file(const reading_t *reading, char **pvalue)
{
    char *blank = strrchr(*pvalue, ' ');
    char *word = blank ? blank + 1 : *pvalue;
    char *text;
    const char *error;

    if (word[0] != '@') {
        return NULL;
    }
    if (word[1] == '@') {
        memmove(word, word + 1, strlen(word));
        return NULL;
    }
    error = read_file(reading, word + 1, &text);
    if (!error) {
        *word = '\0';
        cut_newline(text);
        *pvalue = apr_pstrcat(reading->cmd->pool, *pvalue, text, NULL);
    }
    return error;
}

static const char *read_line(const reading_t *reading, char *line,
                             int may_name_file)
{
    char *colon = strchr(line, ':');
    const char *error = NULL;
    char *value;

    if (!colon) {
        return "write \"Name: value; Name: value\", or @FILE";
    }
    *colon = '\0';
    value = trim(colon + 1);
    if (may_name_file) {
        error = fill_in_file(reading, &value);
    }
    return error ? error : add_header(reading, trim(line), value);
}

/* The next header of the text, cut off; ";;" is a semicolon of its value. */
static char *next_header(char **ptext)
{
    char *begin = *ptext;
    char *in = begin, *out = begin;

    while (*in && (*in != ';' || in[1] == ';')) {
        in += *in == ';';
        *out++ = *in++;
    }
    *ptext = *in ? in + 1 : in;
    *out = '\0';
    return begin;
}

static const char *read_all(const reading_t *reading, char *text)
{
    const char *error = NULL;

    while (!error && *text) {
        char *header = trim(next_header(&text));

        if (*header) {
            error = read_line(reading, header, 1);
        }
    }
    return error;
}

static const char *read_lines(const reading_t *reading, const char *file)
{
    char *text, *line, *state;
    const char *error = read_file(reading, file, &text);

    if (error) {
        return error;
    }
    for (line = apr_strtok(text, "\n", &state); line && !error;
         line = apr_strtok(NULL, "\n", &state)) {
        cut_newline(line);
        line = trim(line);
        if (*line && *line != '#') {
            error = read_line(reading, line, 0);
        }
    }
    return error ? apr_psprintf(reading->cmd->pool, "the file '%s': %s", file,
                                error)
                 : NULL;
}

const char *connpool_read_set_headers(cmd_parms *cmd, const char *text,
                                      cp_upstream_config_t *http)
{
    reading_t reading = {
        cmd, apr_array_make(cmd->pool, 4, sizeof(cp_http_header_t))};
    const char *error = *text == '@'
                            ? read_lines(&reading, text + 1)
                            : read_all(&reading, apr_pstrdup(cmd->pool, text));

    if (!error && reading.headers->nelts == 0) {
        error = "no header is named";
    }
    http->set_headers = (const cp_http_header_t *)reading.headers->elts;
    http->set_header_count = reading.headers->nelts;
    return error;
}
