/* SPDX-License-Identifier: Apache-2.0
 * What is counted of writes that are committed together. */
#ifndef CP_GROUPS_H
#define CP_GROUPS_H

/** Where somebody may wait: at each part of a pool, and for who leads. */
#define CP_WAIT_GROUP CP_POOL_PARTS
#define CP_WAITS      (CP_POOL_PARTS + 1)

/** By how many they were: "2", "4", ... "64" at the most. */
#define CP_GROUP_SIZES 6
const char *cp_group_size_name(int i);

#endif
