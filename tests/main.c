/* SPDX-License-Identifier: Apache-2.0
 * unit [SUITE...]: runs the named suites, or all that are linked in.
 * The exit status is the number of failed tests. */
#include <stdio.h>
#include <string.h>

#include <apr_general.h>

#include "suites.h"

static const struct {
    const char *name;
    Suite *(*make)(void);
} suites[] = {
    /* clang-format off */
    {"number", number_suite},
    {"scan", scan_suite},
    {"value", value_suite},
    {"encode", encode_suite},
    {"json", json_suite},
    {"column", column_suite},
    {"web", web_suite},
    {"address", address_suite},
    {"clock", clock_suite},
    {"gate", gate_suite},
    {"group", group_suite},
    {"pool", pool_suite},
    {"stats", stats_suite},
    {"segment", segment_suite},
    {"succession", succession_suite},
    {"error", error_suite},
    {"sqlite", sqlite_suite},
    {"http", http_suite},
    {"loop", loop_suite},
    {"transfer", transfer_suite},
    {"kept", kept_suite},
    {"condition", condition_suite},
    {"recent", recent_suite},
    {"hash", hash_suite},
    {"flight", flight_suite},
    {"key", key_suite},
    {"entry", entry_suite},
    {"store", store_suite},
    {"sentinel", sentinel_suite},
    {"breaker", breaker_suite},
    {"option", option_suite},
    {"origin", origin_suite},
    {"utf8", utf8_suite},
    {"rate", rate_suite},
    {"permits", permits_suite},
    {"seam", seam_suite},
    {"gunzip", gunzip_suite},
    {"upload", upload_suite},
    {"inherit", inherit_suite},
    {"check", check_suite},
    {"page", page_suite},
    {"fork", fork_suite},
    {"schema", schema_suite},
    {"sqlite_time", sqlite_time_suite},
    {"log", log_suite},
    {"state", state_suite},
    {"standing", standing_suite},
    {"pg_sql", pg_sql_suite},
    {"pg_json", pg_json_suite},
    {"pg_state", pg_state_suite},
    {"pg_address", pg_address_suite},
    /* clang-format on */
};

#define SUITES ((int)(sizeof(suites) / sizeof(suites[0])))

/* A misspelt name must not pass as "0 failures". */
static int add_named(SRunner *runner, const char *name)
{
    for (int i = 0; i < SUITES; i++) {
        if (!strcmp(name, suites[i].name) && suites[i].make) {
            srunner_add_suite(runner, suites[i].make());
            return 1;
        }
    }
    fprintf(stderr, "unit: no suite named '%s' here; there are:", name);
    for (int i = 0; i < SUITES; i++) {
        if (suites[i].make) {
            fprintf(stderr, " %s", suites[i].name);
        }
    }
    fprintf(stderr, "\n");
    return 0;
}

static void add_all(SRunner *runner)
{
    for (int i = 0; i < SUITES; i++) {
        if (suites[i].make) {
            srunner_add_suite(runner, suites[i].make());
        }
    }
}

static int run(SRunner *runner)
{
    srunner_run_all(runner, CK_NORMAL);
    if (srunner_ntests_run(runner) == 0) {
        fprintf(stderr, "unit: no test was run\n");
        return 1;
    }
    int failed = srunner_ntests_failed(runner);
    return failed < 125 ? failed : 125;
}

int main(int argc, const char *const *argv)
{
    apr_initialize();
    SRunner *runner = srunner_create(NULL);
    int status = 0;
    for (int i = 1; i < argc; i++) {
        if (!add_named(runner, argv[i])) {
            status = 125;
        }
    }
    if (argc == 1) {
        add_all(runner);
    }
    if (status == 0) {
        status = run(runner);
    }
    srunner_free(runner);
    apr_terminate();
    return status;
}
