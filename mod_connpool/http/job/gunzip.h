/* SPDX-License-Identifier: Apache-2.0
 * The coding gzip, piece by piece into as much room as there is: so that a
 * decoder never holds more than it was given room for, and that a body which
 * ends before its coding does is known to be cut. */
#ifndef CP_GUNZIP_H
#define CP_GUNZIP_H

#include <stddef.h>

typedef struct cp_gunzip_t cp_gunzip_t;

typedef enum cp_gunzip_state_t {
    CP_GUNZIP_GOING,
    CP_GUNZIP_DAMAGED, /**< not gzip, or a checksum or length is wrong */
    CP_GUNZIP_NO_MEMORY,
} cp_gunzip_state_t;

/** NULL without memory. */
cp_gunzip_t *cp_gunzip_create(void);

/** NULL is none. */
void cp_gunzip_free(cp_gunzip_t *gunzip);

/** Decode from *pdata, which moves on together with *psize, into room. Members
 * may follow each other, nothing else may.
 * @param proom how much fits; then how much has come. As much as fitted: there
 * may be more, also without more data */
cp_gunzip_state_t cp_gunzip_run(cp_gunzip_t *gunzip, const char **pdata,
                                size_t *psize, char *room, size_t *proom);

/** A member has ended, and nothing has come behind it. */
int cp_gunzip_is_complete(const cp_gunzip_t *gunzip);

#endif
