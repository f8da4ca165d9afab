/* SPDX-License-Identifier: Apache-2.0
 * Lines of the configuration: words, key=value options, and complaints. */
#ifndef CONNPOOL_OPTION_H
#define CONNPOOL_OPTION_H

#include "glue.h"
#include "base/option.h"

/** What overflow= says, for an int. */
extern const char *const connpool_overflow_names[];

/** A table and the struct that it fills. */
typedef struct connpool_keys_t {
    const cp_option_t *options;
    void *target;
} connpool_keys_t;

/** The words of a definition's line: a directive that stands in a server, not
 * in a place; the first word is a name, `needed` must be there at least.
 * @param syntax what to write, for the complaint
 * @return NULL, or the complaint; so do all below */
const char *connpool_read_words(cmd_parms *cmd, const char *line, int needed,
                                const char *syntax, const char ***pwords);

/** Read key=value words, up to NULL, by tables that end with {NULL}.
 * @param name of what is defined */
const char *connpool_read_options(cmd_parms *cmd, const char *name,
                                  const char **words,
                                  const connpool_keys_t *keys);

/** Read the value of a directive that is a row of a table by its name. */
const char *connpool_read_setting(cmd_parms *cmd, const cp_option_t *settings,
                                  void *target, const char *value);

/** What neither Define nor the environment knows: saying "not a number" would
 * hide the cause.
 * @return NULL, or the complaint, with the name */
const char *connpool_unset_variable(cmd_parms *cmd, const char *name,
                                    const char *word);

/** "ConnPoolX NAME: key=...: sentence"; name and key may be NULL. */
const char *connpool_complaint(cmd_parms *cmd, const char *name,
                               const char *key, const char *sentence);

/** "FILE:LINE" of this directive. */
const char *connpool_where(cmd_parms *cmd);

/** From check_config: log what is wrong, and where (or NULL).
 * @return what the hook has to return */
int connpool_refuse(server_rec *s, const char *where, const char *error);

#endif
