/* SPDX-License-Identifier: Apache-2.0
 * Dry runs: which are asked for, and where their answers go. */
#include "report/dump/dump.h"

#include "glue.h"
#include "config/line/origin.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <apr_portable.h>
#include <http_core.h>

/* Where stdout was before what is not for programs was kept out of it; -1: it
 * is where it was. */
static int answers = -1;

static int is_asked(const connpool_dump_t *dump)
{
    return ap_exists_config_define(dump->define)
           && ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_NORMAL;
}

/* Other modules print what they are asked for as well. */
static void keep_stdout_clean(void)
{
    if (answers < 0) {
        answers = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        if (answers >= 0) {
            dup2(STDERR_FILENO, STDOUT_FILENO);
        }
    }
}

void connpool_dump_prepare(const connpool_dump_t *table, apr_pool_t *pconf)
{
    int has_any = 0;

    for (; table->define; table++) {
        if (is_asked(table)) {
            has_any = 1;
            if (table->is_for_programs) {
                keep_stdout_clean();
            }
        }
    }
    connpool_origins_begin(has_any ? pconf : NULL);
}

static apr_file_t *open_answers(const connpool_dump_t *dump, apr_pool_t *p)
{
    apr_file_t *file = NULL;
    apr_os_file_t fd = dump->is_for_programs && answers >= 0 ? answers
                                                             : STDOUT_FILENO;

    return apr_os_file_put(&file, &fd, APR_FOPEN_WRITE, p) == APR_SUCCESS
               ? file
               : NULL;
}

void connpool_dump_run(const connpool_dump_t *table, apr_pool_t *pconf,
                       server_rec *main_server)
{
    int failed = 0;

    for (; table->define; table++) {
        apr_file_t *out = is_asked(table) ? open_answers(table, pconf) : NULL;

        if (out) {
            failed |= table->print(pconf, main_server, out) != 0;
        }
    }
    if (failed) {
        /* The hook has no result. All others have had their turn, and nothing
         * was begun that would have to be ended. */
        exit(1);
    }
}
