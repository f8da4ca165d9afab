/* SPDX-License-Identifier: Apache-2.0
 * Threads of our own in a child of the server. */
#ifndef CP_THREAD_H
#define CP_THREAD_H

#include <pthread.h>

/** pthread_create for a thread that takes no signals: those are for the MPM's
 * own threads. The caller joins it, or detaches it.
 * @return 0, or an errno */
int cp_thread_start(pthread_t *thread, void *(*run)(void *), void *data);

#endif
