/* SPDX-License-Identifier: Apache-2.0
 * What this process takes of the machine. */
#include "base/clock.h"
#include "child/child.h"
#include "child/upkeep.h"
#include "stats/cell.h"
#include "stats/segment.h"
#include "stats/stats.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static void set_gauge(uint64_t *gauge, uint64_t value)
{
    __atomic_store_n(gauge, value, __ATOMIC_RELAXED);
}

#define BASE_AFTER apr_time_from_sec(60)

static uint64_t count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint64_t count = 0;

    if (!dir) {
        return 0;
    }
    while (readdir(dir)) {
        count++;
    }
    closedir(dir);
    return count > 3 ? count - 3 : 0; /* ".", "..", and the directory's own */
}

/* "VmRSS:  1234 kB" and "VmHWM:" of /proc/self/status, in bytes. */
static void read_memory(uint64_t *rss, uint64_t *peak)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[128];

    *rss = *peak = 0;
    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            *rss = strtoull(line + 6, NULL, 10) * 1024;
        }
        else if (strncmp(line, "VmHWM:", 6) == 0) {
            *peak = strtoull(line + 6, NULL, 10) * 1024;
        }
    }
    if (file) {
        fclose(file);
    }
}

void connpool_measure_process(cp_clock_t started)
{
    cp_process_stats_t *stats = cp_segment_process(connpool_child.segment,
                                                   connpool_child.slot);
    uint64_t rss, peak;

    read_memory(&rss, &peak);
    set_gauge(&stats->rss_bytes, rss);
    set_gauge(&stats->rss_max_bytes, peak);
    set_gauge(&stats->descriptors, count_descriptors());
    if (cp_clock_now() - started >= BASE_AFTER
        && cp_stats_get(&stats->rss_base_bytes) == 0) {
        set_gauge(&stats->rss_base_bytes, rss);
    }
}
