/* SPDX-License-Identifier: Apache-2.0
 * Which names have which place in a segment. */
#include "stats/parent/succession.h"
#include "stats/segment.h"
#include "stats/inside.h"

#include <string.h>

static int same_name(const char *kept, const char *name)
{
    return strncmp(kept, name, NAME_SIZE - 1) == 0;
}

static void keep_name(char *kept, const char *name)
{
    size_t length = strnlen(name, NAME_SIZE - 1);

    memcpy(kept, name, length);
    kept[length] = '\0';
}

int cp_segment_find(cp_segment_t *seg, int kind, const char *server,
                    const char *name)
{
    int used = cp_used_entries(seg, kind);

    for (int i = 0; i < used; i++) {
        const entry_t *entry = cp_entry_at(seg, kind, i);

        if (same_name(entry->server, server) && same_name(entry->name, name)) {
            return i;
        }
    }
    return -1;
}

int cp_segment_entry(cp_segment_t *seg, cp_entry_kind_t kind,
                     const char *server, const char *name)
{
    int used = cp_used_entries(seg, kind);
    int known = cp_segment_find(seg, kind, server, name);
    entry_t *entry;

    if (known >= 0 || used >= seg->layout.entries[kind]) {
        return known;
    }
    entry = cp_entry_at(seg, kind, used);
    keep_name(entry->server, server);
    keep_name(entry->name, name);
    entry->before = seg->before
                        ? cp_segment_find(seg->before, kind, server, name)
                        : -1;
    __atomic_store_n(&seg->used_entries[kind], used + 1, __ATOMIC_RELEASE);
    return used;
}
