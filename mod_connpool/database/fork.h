/* SPDX-License-Identifier: Apache-2.0
 * Forks of a child, by whomever, as they concern a library with locks and open
 * files. */
#ifndef CP_FORK_H
#define CP_FORK_H

typedef enum cp_fork_step_t {
    CP_FORK_COMES,   /**< take the library's locks, lest one be inherited from a
                          thread that is not there */
    CP_FORK_IS_DONE, /**< give them back, in both processes */
    CP_FORK_BEGINS, /**< to work: in the new process, before its first database,
                         which must touch nothing that was open */
} cp_fork_step_t;

#endif
