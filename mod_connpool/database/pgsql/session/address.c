/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/session/address.h"

#include "base/option.h"
#include "database/pgsql/session/keys.h"

#include <string.h>

#include <apr_file_io.h>
#include <apr_strings.h>
#include <libpq-fe.h>

enum {
    KEYWORDS = 64,      /* more than libpq knows */
    PASSWORD_MAX = 1024 /* bytes of a password in a file */
};

#define DEFAULT_PORT  "5432"
#define SYSTEM_BUNDLE "/etc/ssl/certs/ca-certificates.crt"

int cp_pg_is_socket(const char *host)
{
    return host[0] == '/' || host[0] == '@';
}

/* --- words of the address --- */

/* What is said otherwise here, or would be ours no more. */
static const struct {
    const char *keyword;
    const char *why;
} refused[] = {
    {"service", "service= is not read: write what it stands for"},
    {"passfile", "passfile= is not read: write password=@FILE"},
    {"connect_timeout", "connect_timeout= is the key connect= here"},
    {"client_encoding", "client_encoding= is always UTF8"},
    {"replication", "replication= makes no connection that runs queries"},
    {"load_balance_hosts", "load_balance_hosts= cannot be chosen: servers are "
                           "tried in their order"},
};

static const char *why_refused(const char *keyword)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (strcmp(refused[i].keyword, keyword) == 0) {
            return refused[i].why;
        }
    }
    return NULL;
}

static const char *read_password(apr_pool_t *p, const char *path,
                                 cp_resolve_fn resolve, const char **ppassword)
{
    const char *full = resolve(p, path);
    apr_size_t size = PASSWORD_MAX;
    char *text = apr_palloc(p, PASSWORD_MAX + 1);
    apr_file_t *file;
    apr_status_t rv = full ? apr_file_open(&file, full, APR_FOPEN_READ,
                                           APR_FPROT_OS_DEFAULT, p)
                           : APR_EBADPATH;
    char why[120];

    if (rv == APR_SUCCESS) {
        rv = apr_file_read_full(file, text, PASSWORD_MAX, &size);
        rv = rv == APR_EOF ? APR_SUCCESS : rv;
        apr_file_close(file);
    }
    if (rv != APR_SUCCESS) {
        return apr_psprintf(p, "password=@%s: the file cannot be read: %s",
                            path, apr_strerror(rv, why, sizeof(why)));
    }
    text[size] = '\0';
    text[strcspn(text, "\r\n")] = '\0';
    *ppassword = text;
    return *text ? NULL
                 : apr_psprintf(p, "password=@%s: the file is empty", path);
}

static const char *read_role(apr_pool_t *p, cp_pg_config_t *config,
                             const char *value)
{
    static const struct {
        const char *word;
        cp_pg_role_t role;
    } roles[] = {
        {"any", CP_PG_ANY},         {"read-write", CP_PG_PRIMARY},
        {"primary", CP_PG_PRIMARY}, {"read-only", CP_PG_STANDBY},
        {"standby", CP_PG_STANDBY}, {"prefer-standby", CP_PG_PREFER_STANDBY}};

    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (strcmp(roles[i].word, value) == 0) {
            config->role = (int)roles[i].role;
            return NULL;
        }
    }
    return "target_session_attrs= takes any, read-write, read-only, primary, "
           "standby or prefer-standby";
}

static void pass_on(cp_pg_config_t *config, const char *keyword,
                    const char *value)
{
    config->keywords[config->keyword_count] = keyword;
    config->values[config->keyword_count++] = value;
}

/* Where the words stay that are not only passed on. */
static const char **field_of(cp_pg_config_t *config, const char *keyword)
{
    const struct {
        const char *keyword;
        const char **field;
    } fields[] = {{"user", &config->user},
                  {"dbname", &config->dbname},
                  {"options", &config->options},
                  {"sslmode", &config->sslmode},
                  {"sslrootcert", &config->rootcert}};

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(fields[i].keyword, keyword) == 0) {
            return fields[i].field;
        }
    }
    return NULL;
}

static const char *take_word(apr_pool_t *p, cp_pg_config_t *config,
                             const char *keyword, const char *value,
                             cp_resolve_fn resolve)
{
    const char *why = why_refused(keyword);
    const char **field = field_of(config, keyword);

    if (why) {
        return why;
    }
    if (field) {
        *field = value;
        return NULL;
    }
    if (strcmp(keyword, "target_session_attrs") == 0) {
        return read_role(p, config, value);
    }
    if (strcmp(keyword, "password") == 0 && *value == '@') {
        why = read_password(p, value + 1, resolve, &value);
    }
    pass_on(config, keyword, value);
    return why;
}

/* --- servers --- */

static const char *const no_list[] = {NULL};

/* "a,b": its words, which may be empty. */
static const char **split(apr_pool_t *p, const char *list, int *pcount)
{
    const char **words;
    int count = 1;

    for (const char *c = list; *c; c++) {
        count += *c == ',';
    }
    words = apr_pcalloc(p, ((apr_size_t)count + 1) * sizeof(*words));
    for (int i = 0; i < count; i++) {
        apr_size_t size = strcspn(list, ",");

        words[i] = apr_pstrmemdup(p, list, size);
        list += size + 1;
    }
    *pcount = count;
    return words;
}

static const char *take_servers(apr_pool_t *p, cp_pg_config_t *config,
                                const char *hosts, const char *addresses,
                                const char *ports)
{
    int count = 0, others = 0, port_count = 1;
    const char **host = hosts ? split(p, hosts, &count)
                              : (const char **)no_list;
    const char **address = addresses ? split(p, addresses, &others)
                                     : (const char **)no_list;
    const char **port = split(p, ports && *ports ? ports : DEFAULT_PORT,
                              &port_count);

    if (count && others && count != others) {
        return "host= and hostaddr= name different numbers of servers";
    }
    count = count > others ? count : others;
    if (count == 0) {
        return "no server is named: write host=";
    }
    if (port_count != 1 && port_count != count) {
        return "port= and host= name different numbers of servers";
    }
    config->hosts = apr_pcalloc(p, (apr_size_t)count * sizeof(*config->hosts));
    config->host_count = count;
    for (int i = 0; i < count; i++) {
        cp_pg_host_t *it = &config->hosts[i];

        it->hostaddr = others && *address[i] ? address[i] : NULL;
        it->host = hosts && *host[i] ? host[i] : it->hostaddr;
        it->port = port[port_count == 1 ? 0 : i];
        it->port = *it->port ? it->port : DEFAULT_PORT;
        if (!it->host) {
            return "no server is named between two commas of host=";
        }
        config->shown = apr_pstrcat(p, config->shown, i ? "," : "", it->host,
                                    ":", it->port, NULL);
    }
    return NULL;
}

static const char *take_all(apr_pool_t *p, cp_pg_config_t *config,
                            const PQconninfoOption *found,
                            cp_resolve_fn resolve)
{
    const char *hosts = NULL, *addresses = NULL, *ports = NULL;
    const char *error = NULL;

    for (; found->keyword && !error; found++) {
        const char *value = found->val ? apr_pstrdup(p, found->val) : NULL;

        if (!value || !*value) {
            continue;
        }
        if (strcmp(found->keyword, "host") == 0) {
            hosts = value;
        }
        else if (strcmp(found->keyword, "hostaddr") == 0) {
            addresses = value;
        }
        else if (strcmp(found->keyword, "port") == 0) {
            ports = value;
        }
        else {
            error = take_word(p, config, apr_pstrdup(p, found->keyword), value,
                              resolve);
        }
    }
    return error ? error : take_servers(p, config, hosts, addresses, ports);
}

const char *cp_pg_take_address(apr_pool_t *p, void *data, const char *name,
                               const char *text, cp_resolve_fn resolve)
{
    cp_pg_config_t *config = data;
    const char *dsn = strncmp(text, "//", 2) == 0
                          ? apr_pstrcat(p, "postgresql:", text, NULL)
                          : text;
    char *message = NULL;
    PQconninfoOption *found;
    const char *error;

    config->name = name;
    config->role = CP_UNSET;
    config->shown = "";
    config->keywords = apr_pcalloc(p, KEYWORDS * sizeof(char *));
    config->values = apr_pcalloc(p, KEYWORDS * sizeof(char *));
    found = PQconninfoParse(dsn, &message);
    /* It quotes what it did not understand: half of a password, perhaps. */
    PQfreemem(message);
    if (!found) {
        return "the address behind postgresql: is not understood: it takes "
               "KEYWORD=VALUE ... in libpq's words, or a URI "
               "//USER@HOST:PORT/NAME; a value with blanks stands in ''";
    }
    error = take_all(p, config, found, resolve);
    PQconninfoFree(found);
    config->shown = apr_pstrcat(
        p, config->shown, "/", config->dbname ? config->dbname : "",
        config->user ? " as " : "", config->user ? config->user : "", NULL);
    return error;
}

/* --- together with the keys --- */

static int has_tcp(const cp_pg_config_t *config)
{
    for (int i = 0; i < config->host_count; i++) {
        if (config->hosts[i].hostaddr
            || !cp_pg_is_socket(config->hosts[i].host)) {
            return 1;
        }
    }
    return 0;
}

static int is_written(const cp_pg_config_t *config, const char *keyword)
{
    for (int i = 0; i < config->keyword_count; i++) {
        if (strcmp(config->keywords[i], keyword) == 0) {
            return 1;
        }
    }
    return 0;
}

static void pass_default(cp_pg_config_t *config, const char *keyword,
                         const char *value)
{
    if (!is_written(config, keyword)) {
        pass_on(config, keyword, value);
    }
}

static const char *check_keys(const cp_pg_config_t *config)
{
    if (config->read == CP_PG_READ_STANDBY && config->role != CP_UNSET) {
        return "read=standby and target_session_attrs= say the same thing "
               "twice: write one of them";
    }
    if (config->read == CP_PG_READ_STANDBY && config->is_readonly) {
        return "read=standby is for databases that are written, too; with "
               "readonly=on write target_session_attrs=prefer-standby";
    }
    if (config->writers > 0 && config->read != CP_PG_READ_STANDBY) {
        return "writers= needs read=standby: otherwise all connections may "
               "write";
    }
    if (config->pooler == CP_PG_POOLER_TRANSACTION && config->options) {
        return "options= does not reach the server through pooler=transaction: "
               "set them for the role (ALTER ROLE ... SET)";
    }
    if (config->ca && config->rootcert) {
        return "ca= and sslrootcert= are the same: write one of them";
    }
    return NULL;
}

const char *cp_pg_check_address(apr_pool_t *p, const void *config)
{
    return check_keys(config);
}

void cp_pg_complete_address(apr_pool_t *p, cp_pg_config_t *config)
{
    config->keywords = apr_pmemdup(p, config->keywords,
                                   KEYWORDS * sizeof(char *));
    config->values = apr_pmemdup(p, config->values, KEYWORDS * sizeof(char *));
    if (!config->sslmode) {
        config->sslmode = has_tcp(config) ? "verify-full" : "prefer";
    }
    if (config->ca) {
        config->rootcert = config->ca;
    }
    if (!config->rootcert && strncmp(config->sslmode, "verify", 6) == 0) {
        config->rootcert = SYSTEM_BUNDLE;
    }
    pass_on(config, "sslmode", config->sslmode);
    if (config->rootcert) {
        pass_on(config, "sslrootcert", config->rootcert);
    }
    if (config->dbname) {
        pass_on(config, "dbname", config->dbname);
    }
    pass_on(config, "client_encoding", "UTF8");
    /* Nobody's home directory fills gaps. */
    pass_on(config, "passfile", "/dev/null/none");
    pass_default(config, "gssencmode", "disable");
    pass_default(config, "application_name",
                 apr_pstrcat(p, "connpool/", config->name, NULL));
    pass_default(config, "tcp_user_timeout", "30000");
    pass_default(config, "keepalives_idle", "60");
}
