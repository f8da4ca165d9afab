/* SPDX-License-Identifier: Apache-2.0
 * Preloaded into a server that callgrind counts: what the benchmark writes into
 * the pipe BENCH_MARKS makes callgrind begin, or write down what it has counted
 * so far and begin anew. (callgrind_control cannot: it waits for ever for a
 * process whose threads all sleep.) */
#include <valgrind/callgrind.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void *follow(void *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char mark;

    while (fd >= 0 && read(fd, &mark, 1) == 1) {
        if (mark == 'b') {
            CALLGRIND_START_INSTRUMENTATION;
        }
        else {
            CALLGRIND_DUMP_STATS;
        }
    }
    return NULL;
}

/* The server's own threads take its signals. */
__attribute__((constructor)) static void start(void)
{
    char *path = getenv("BENCH_MARKS");
    sigset_t all, before;
    pthread_t thread;

    if (path) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        if (pthread_create(&thread, NULL, follow, path) == 0) {
            pthread_detach(thread);
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
}
