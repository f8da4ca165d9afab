/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/text/state.h"

#include "base/bytes/utf8.h"
#include "base/error.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#define VIOLATES "the values violate a constraint of the database: "
#define MISFITS  "the query does not fit the database"
#define REFUSES  "the database refused the values"
#define FAILS    "the query fails"
#define LOST     "the connection to the database was lost"
#define MANY     "the database has no room for more"
#define BELONGS  VIOLATES "a row that belongs to it is missing, or depends on it"

/* Single states go before their class. */
static const cp_pg_outcome_t outcomes[] = {
    {"23505", CP_ERR_CONFLICT, VIOLATES "there is a row like this already",
     "unique", 0},
    {"23503", CP_ERR_CONFLICT, BELONGS, "foreign_key", 0},
    {"23001", CP_ERR_CONFLICT, BELONGS, "foreign_key", 0},
    {"23P01", CP_ERR_CONFLICT, VIOLATES "there is a row that excludes it",
     "exclusion", 0},
    {"23502", CP_ERR_INPUT, VIOLATES "a value is missing", "not_null", 0},
    {"23514", CP_ERR_INPUT, VIOLATES "a value is not allowed", "check", 0},
    {"23", CP_ERR_INPUT, "the values violate a constraint of the database",
     "other", 0},
    {"44", CP_ERR_INPUT, VIOLATES "a value is not allowed", "check", 0},
    {"P0001", CP_ERR_INPUT, "the values violate a constraint of the database",
     "trigger", CP_PG_MESSAGE},
    {"P0", CP_ERR_INTERNAL, FAILS, NULL, 0},
    {"22", CP_ERR_INPUT, REFUSES, NULL, CP_PG_VALUES},
    {"21", CP_ERR_INTERNAL, FAILS, NULL, 0},
    {"54", CP_ERR_SIZE, "a value is too large", NULL, 0},
    {"42501", CP_ERR_REFUSED, "the query does what is not allowed", NULL, 0},
    {"42P08", CP_ERR_STORAGE, MISFITS, NULL, CP_PG_UNTYPED | CP_PG_FOREIGN},
    {"42P18", CP_ERR_STORAGE, MISFITS, NULL, CP_PG_UNTYPED | CP_PG_FOREIGN},
    {"42725", CP_ERR_STORAGE, MISFITS, NULL, CP_PG_UNTYPED | CP_PG_FOREIGN},
    {"42883", CP_ERR_STORAGE, MISFITS, NULL, CP_PG_UNTYPED | CP_PG_FOREIGN},
    {"42804", CP_ERR_STORAGE, MISFITS, NULL, CP_PG_UNTYPED | CP_PG_FOREIGN},
    {"42P01", CP_ERR_STORAGE, MISFITS, NULL, CP_PG_FOREIGN},
    {"42P02", CP_ERR_STORAGE, MISFITS, NULL, CP_PG_FOREIGN},
    {"42P10", CP_ERR_STORAGE, MISFITS, NULL, CP_PG_FOREIGN},
    {"42703", CP_ERR_STORAGE, MISFITS, NULL, CP_PG_FOREIGN},
    {"42704", CP_ERR_STORAGE, MISFITS, NULL, CP_PG_FOREIGN},
    {"42601", CP_ERR_STORAGE, MISFITS, NULL, CP_PG_FOREIGN},
    {"3F", CP_ERR_STORAGE, MISFITS, NULL, CP_PG_FOREIGN},
    {"42", CP_ERR_STORAGE, MISFITS, NULL, CP_PG_FOREIGN},
    {"0A", CP_ERR_INTERNAL, FAILS, NULL, 0},
    {"26", CP_ERR_STORAGE, "the database failed", NULL, 0},
    {"25006", CP_ERR_REFUSED, "the query would write", NULL, 0},
    {"25P03", CP_ERR_DEADLINE, "the query took longer than its limit", NULL,
     CP_PG_BROKEN},
    {"25", CP_ERR_STORAGE, "the write was rolled back", NULL, CP_PG_BROKEN},
    {"40001", CP_ERR_CAPACITY, "others change the same rows", NULL,
     CP_PG_AGAIN},
    {"40P01", CP_ERR_CAPACITY, "others change the same rows", NULL,
     CP_PG_AGAIN},
    {"40003", CP_ERR_STORAGE, "it is not known whether the write was kept",
     NULL, CP_PG_BROKEN},
    {"40", CP_ERR_CAPACITY, "the write was rolled back", NULL, 0},
    {"53300", CP_ERR_CAPACITY, "the database takes no more connections", NULL,
     CP_PG_BROKEN},
    {"53100", CP_ERR_STORAGE, "the disk is full", NULL, 0},
    {"53", CP_ERR_CAPACITY, MANY, NULL, 0},
    {"55P03", CP_ERR_CAPACITY, "the database is busy with other writes", NULL,
     0},
    {"55", CP_ERR_STORAGE, "the database is in use by others", NULL, 0},
    {"57014", CP_ERR_DEADLINE, "the query took longer than its limit", NULL, 0},
    {"57", CP_ERR_STORAGE, LOST, NULL, CP_PG_BROKEN},
    {"08", CP_ERR_STORAGE, LOST, NULL, CP_PG_BROKEN},
    {"28", CP_ERR_STORAGE, "the database cannot be opened", NULL,
     CP_PG_BROKEN | CP_PG_PAUSE},
    {"3D", CP_ERR_STORAGE, "the database cannot be opened", NULL,
     CP_PG_BROKEN | CP_PG_PAUSE},
    {"58", CP_ERR_STORAGE, "the database failed", NULL, CP_PG_BROKEN},
    {"XX", CP_ERR_STORAGE, "the database failed", NULL, CP_PG_BROKEN},
    {"F0", CP_ERR_STORAGE, "the database failed", NULL, CP_PG_BROKEN},
};

const cp_pg_outcome_t *cp_pg_outcome(const char *state)
{
    static const cp_pg_outcome_t other = {
        "", CP_ERR_STORAGE, "the database failed", NULL, CP_PG_BROKEN};

    for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
        if (strncmp(outcomes[i].state, state, strlen(outcomes[i].state)) == 0) {
            return &outcomes[i];
        }
    }
    return &other;
}

int cp_pg_subject(const char *table, const char *detail, char *subject,
                  size_t size)
{
    const char *c = detail ? strchr(detail, '(') : NULL;
    size_t used = 0, prefix = table ? strlen(table) : 0;

    if (!c || !prefix) {
        return 0;
    }
    do {
        size_t length;

        c++;
        c += strspn(c, " ");
        length = strspn(c, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXY"
                           "Z0123456789_$");
        if (length == 0 || used + prefix + length + 4 > size) {
            return 0;
        }
        used += (size_t)apr_snprintf(subject + used, size - used, "%s%s.%.*s",
                                     used ? ", " : "", table, (int)length, c);
        c += length;
    } while (*c == ',');
    return strncmp(c, ")=", 2) == 0;
}

void cp_pg_show(char *to, size_t size, const char *text)
{
    size_t used = 0;

    while (used + 4 < size && text[used] && text[used] != '\n') {
        to[used] = apr_iscntrl(text[used]) ? '?' : text[used];
        used++;
    }
    if (text[used] && text[used] != '\n') {
        while (used > 0 && ((unsigned char)text[used] & 0xc0) == 0x80) {
            used--;
        }
        memcpy(to + used, "...", 3);
        used += 3;
    }
    to[used] = '\0';
    for (size_t i = 0; !cp_utf8_is_valid(to, used) && i < used; i++) {
        to[i] = (unsigned char)to[i] < 0x80 ? to[i] : '?';
    }
}
