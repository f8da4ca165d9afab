/* SPDX-License-Identifier: Apache-2.0
 * Where the parameters of a statement stand, and what for. */
#include "database/sqlite/text/scan.h"

#include "database/sqlite/text/token.h"

#include <string.h>

#include <apr_cstr.h>

enum {
    FRAMES = 32 /* of parentheses; deeper ones are one */
};

typedef struct frame_t {
    token_t call; /* the function whose arguments these are; size 0: none */
    int argument;
    cp_sql_role_t clause, operation;
} frame_t;

typedef struct places_t {
    frame_t frames[FRAMES];
    int depth;
    token_t last; /* the token before */
} places_t;

typedef struct role_word_t {
    const char *word;
    int is_clause;
    cp_sql_role_t role;
} role_word_t;

static const role_word_t role_words[] = {
    {"VALUES", 1, CP_SQL_STORED},   {"SET", 1, CP_SQL_STORED},
    {"LIMIT", 1, CP_SQL_LIMIT},     {"OFFSET", 1, CP_SQL_LIMIT},
    {"SELECT", 1, CP_SQL_PLAIN},    {"FROM", 1, CP_SQL_PLAIN},
    {"WHERE", 1, CP_SQL_PLAIN},     {"GROUP", 1, CP_SQL_PLAIN},
    {"HAVING", 1, CP_SQL_PLAIN},    {"ORDER", 1, CP_SQL_PLAIN},
    {"RETURNING", 1, CP_SQL_PLAIN}, {"MATCH", 0, CP_SQL_MATCHED},
    {"LIKE", 0, CP_SQL_PATTERN},    {"GLOB", 0, CP_SQL_PATTERN},
    {"ESCAPE", 0, CP_SQL_PLAIN},    {"AND", 0, CP_SQL_PLAIN},
    {"OR", 0, CP_SQL_PLAIN},        {"WHEN", 0, CP_SQL_PLAIN},
    {"THEN", 0, CP_SQL_PLAIN},      {"ELSE", 0, CP_SQL_PLAIN},
};

/* Parentheses that only group change nothing. */
static void enter(places_t *places)
{
    frame_t frame = places->frames[places->depth % FRAMES];

    if (places->last.kind == KIND_WORD) {
        frame.call = places->last;
        frame.argument = 0;
    }
    places->depth++;
    places->frames[places->depth % FRAMES] = frame;
}

static void note_role(frame_t *frame, const token_t *token)
{
    for (size_t i = 0; i < sizeof(role_words) / sizeof(role_words[0]); i++) {
        const role_word_t *word = &role_words[i];

        if (!cp_sql_is_word(token, word->word)) {
            continue;
        }
        frame->operation = word->is_clause ? CP_SQL_PLAIN : word->role;
        frame->clause = word->is_clause ? word->role : frame->clause;
        if (cp_sql_is_word(token, "SELECT")) {
            frame->call.size = 0; /* a query of its own */
        }
    }
}

static int is_other(const token_t *token, char c)
{
    return token->kind == KIND_OTHER && *token->start == c;
}

/* The second token of -> or the third of ->>. */
static int ends_arrow(const token_t *token)
{
    return is_other(token, '>')
           && (token->start[-1] == '-'
               || (token->start[-1] == '>' && token->start[-2] == '-'));
}

static cp_sql_place_t place_at(const places_t *places, const token_t *token)
{
    const frame_t *frame = &places->frames[places->depth % FRAMES];
    token_t next = cp_sql_token_behind(token);
    cp_sql_place_t place = {.name = token->start + 1,
                            .size = token->size - 1,
                            .call = frame->call.start,
                            .call_size = frame->call.size,
                            .argument = frame->argument};

    place.is_alone = (places->last.kind == KIND_OPEN
                      || is_other(&places->last, ','))
                     && (next.kind == KIND_CLOSE || is_other(&next, ','));
    place.role = frame->operation ? frame->operation : frame->clause;
    if (is_other(&next, '-') && next.start[1] == '>') {
        place.role = CP_SQL_DOCUMENT;
    }
    else if (ends_arrow(&places->last)) {
        place.role = CP_SQL_PATH;
    }
    return place;
}

void cp_sql_places(const char *sql, cp_sql_place_fn fn, void *baton)
{
    places_t places = {.depth = 0};

    for (token_t token = cp_sql_next_token(sql); token.kind != KIND_END;
         token = cp_sql_token_behind(&token)) {
        frame_t *frame = &places.frames[places.depth % FRAMES];

        if (token.kind == KIND_OPEN) {
            enter(&places);
        }
        else if (token.kind == KIND_CLOSE && places.depth > 0) {
            places.depth--;
        }
        else if (token.kind == KIND_WORD) {
            note_role(frame, &token);
        }
        else if (is_other(&token, ',')) {
            frame->argument++;
            frame->operation = CP_SQL_PLAIN;
        }
        else if (token.kind == KIND_PARAMETER) {
            cp_sql_place_t place = place_at(&places, &token);

            fn(&place, baton);
        }
        else if (token.kind == KIND_OPEN_COMMENT) {
            return;
        }
        places.last = token;
    }
}

int cp_sql_place_is_in(const cp_sql_place_t *place, const char *call)
{
    return place->call_size == strlen(call)
           && !apr_cstr_casecmpn(place->call, call, place->call_size);
}
