/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/statement/bind.h"

#include "base/error.h"
#include "database/pgsql/session/pgsql.h"
#include "database/value.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The shortest text that reads back as it; a whole number without a fraction,
 * so that it may stand where the server expects an integer. The point is the
 * locale's. */
static void write_real(char text[32], double real)
{
    int precision = 15;

    do {
        snprintf(text, 32, "%.*g", precision, real);
    } while (precision++ < 17 && strtod(text, NULL) != real);
    for (char *c = text; *c; c++) {
        if (!strchr("0123456789+-einfa", *c)) {
            *c = '.';
        }
    }
}

static int find(const cp_statement_t *st, const char *name)
{
    size_t size = strlen(name);

    for (int i = 0; i < st->param_count; i++) {
        if (st->params[i].size == size
            && memcmp(st->params[i].name, name, size) == 0) {
            return i;
        }
    }
    return -1;
}

/* Text goes out with a NUL behind it, which it need not have. */
static int copy_text(cp_statement_t *st, int i, const cp_value_t *value)
{
    apr_size_t at = st->terminated.size;

    if (at >= INT_MAX || value->as.bytes.size > INT_MAX) {
        return 0;
    }
    cp_buffer_append(&st->terminated, value->as.bytes.data,
                     value->as.bytes.size);
    cp_buffer_append(&st->terminated, "", 1);
    st->lengths[i] = (int)at + 1; /* of no use to libpq: it looks for the NUL */
    return !st->terminated.has_failed;
}

static int take(cp_statement_t *st, int i, const cp_value_t *value)
{
    st->formats[i] = 0;
    st->lengths[i] = 0;
    st->values[i] = NULL;
    switch (value->storage) {
    case CP_INTEGER:
        snprintf(st->numbers[i], sizeof(st->numbers[i]), "%lld",
                 (long long)value->as.integer);
        st->values[i] = st->numbers[i];
        return 1;
    case CP_REAL:
        write_real(st->numbers[i], value->as.real);
        st->values[i] = st->numbers[i];
        return 1;
    case CP_BLOB:
        st->values[i] = value->as.bytes.data ? value->as.bytes.data : "";
        st->lengths[i] = (int)value->as.bytes.size;
        st->formats[i] = 1;
        return value->as.bytes.size <= INT_MAX;
    case CP_TEXT:
    case CP_JSON:
        return copy_text(st, i, value);
    case CP_NULL:
        break;
    }
    return 1;
}

apr_status_t cp_pg_bind(cp_statement_t *st, const char *name, cp_type_t type,
                        const cp_value_t *value, cp_error_t *err)
{
    int i = find(st, name);

    if (i < 0) {
        cp_error_set(err, CP_ERR_INPUT, APR_NOTFOUND, "unknown parameter",
                     "database '%s': the query has no parameter :%.64s",
                     st->conn->db->config.name, name);
        return APR_NOTFOUND;
    }
    st->declared[i] = type;
    return take(st, i, value) ? APR_SUCCESS
                              : cp_error_memory(err, "a parameter's value");
}

void cp_pg_settle_values(cp_statement_t *st)
{
    for (int i = 0; i < st->param_count; i++) {
        if (st->formats[i] == 0 && st->lengths[i] > 0) {
            st->values[i] = st->terminated.data + st->lengths[i] - 1;
        }
    }
}
