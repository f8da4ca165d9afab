/* SPDX-License-Identifier: Apache-2.0
 * Threads of our own in a child of the server. */
#ifndef CP_THREAD_H
#define CP_THREAD_H

#include <features.h>
#include <pthread.h>

/** For the few variables of a thread that are looked at with every row: found
 * without a call. glibc keeps half a kilobyte of such places for modules that
 * are loaded later; other libraries keep none. */
#ifdef __GLIBC__
#define CP_THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define CP_THREAD_LOCAL _Thread_local
#endif

/** pthread_create for a thread that takes no signals: those are for the MPM's
 * own threads. The caller joins it, or detaches it.
 * @return 0, or an errno */
int cp_thread_start(pthread_t *thread, void *(*run)(void *), void *data);

#endif
