/* SPDX-License-Identifier: Apache-2.0 */
#include "http/job/bell.h"

#include "base/clock.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of one poll. */
#define LONGEST apr_time_from_sec(1)
#define BLIND   apr_time_from_msec(5)

enum {
    SILENT,
    AWAITED, /* silent, and its thread sleeps, or is about to */
    RUNG,
};

/* A condition with its mutex would take twice as many system calls: who waits
 * wakes up for one, and often stops at the other. */
struct cp_bell_t {
    int refs;       /* atomic */
    uint32_t state; /* atomic; what the sleeper sleeps on */
    int event_fd;   /* atomic; -1: who waits has looked at no descriptor yet */
    int inline_count; /* of the thread that waits */
};

cp_bell_t *cp_bell_create(void)
{
    cp_bell_t *bell = calloc(1, sizeof(*bell));

    if (bell) {
        bell->refs = 1;
        bell->event_fd = -1;
    }
    return bell;
}

void cp_bell_ref(cp_bell_t *bell)
{
    __atomic_fetch_add(&bell->refs, 1, __ATOMIC_RELAXED);
}

void cp_bell_unref(cp_bell_t *bell)
{
    if (bell && __atomic_sub_fetch(&bell->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        if (bell->event_fd >= 0) {
            close(bell->event_fd);
        }
        free(bell);
    }
}

/* Where times have 64 bits and words have not, it is another one. */
#ifdef SYS_futex_time64
#define FUTEX_CALL                                                             \
    (sizeof(time_t) > sizeof(long) ? SYS_futex_time64 : SYS_futex)
#else
#define FUTEX_CALL SYS_futex
#endif

static int futex(cp_bell_t *bell, int what, uint32_t value,
                 const struct timespec *until)
{
    return (int)syscall(FUTEX_CALL, &bell->state, what | FUTEX_PRIVATE_FLAG,
                        value, until, NULL, FUTEX_BITSET_MATCH_ANY);
}

/* In one order with what begin_polling does: either it sees the ring, or the
 * ring sees its descriptor. */
void cp_bell_ring(cp_bell_t *bell)
{
    uint32_t was = __atomic_exchange_n(&bell->state, RUNG, __ATOMIC_SEQ_CST);
    int fd;

    if (was == RUNG) {
        return;
    }
    if (was == AWAITED) {
        futex(bell, FUTEX_WAKE, 1, NULL);
    }
    fd = __atomic_load_n(&bell->event_fd, __ATOMIC_SEQ_CST);
    if (fd >= 0) {
        eventfd_write(fd, 1);
    }
}

static int take_ring(cp_bell_t *bell)
{
    return __atomic_exchange_n(&bell->state, SILENT, __ATOMIC_ACQ_REL) == RUNG;
}

apr_status_t cp_bell_wait(cp_bell_t *bell, cp_clock_t until)
{
    struct timespec when = cp_clock_timespec(until);
    uint32_t silent = SILENT;

    while (__atomic_compare_exchange_n(&bell->state, &silent, AWAITED, 0,
                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
           || silent == AWAITED) {
        if (futex(bell, FUTEX_WAIT_BITSET, AWAITED, &when) != 0
            && errno == ETIMEDOUT) {
            break;
        }
        silent = SILENT;
    }
    return take_ring(bell) ? APR_SUCCESS : APR_TIMEUP;
}

/* Rings from now on can be polled for; has it rung already? */
static int begin_polling(cp_bell_t *bell)
{
    if (bell->event_fd < 0) {
        __atomic_store_n(&bell->event_fd,
                         eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                         __ATOMIC_SEQ_CST);
    }
    return __atomic_load_n(&bell->state, __ATOMIC_SEQ_CST) == RUNG;
}

static int end_polling(cp_bell_t *bell)
{
    eventfd_t rings;

    if (bell->event_fd >= 0) {
        eventfd_read(bell->event_fd, &rings);
    }
    return take_ring(bell);
}

apr_status_t cp_bell_wait_also(cp_bell_t *bell, int fd, cp_clock_t until)
{
    int has_rung = begin_polling(bell);
    struct pollfd fds[2] = {{.fd = bell->event_fd, .events = POLLIN},
                            {.fd = fd, .events = POLLIN}};
    apr_interval_time_t left = cp_clock_left(until);

    /* Without a descriptor for the bell: often enough. */
    if (left > (bell->event_fd < 0 ? BLIND : LONGEST)) {
        left = bell->event_fd < 0 ? BLIND : LONGEST;
    }
    if (!has_rung) {
        poll(fds, 2, (int)((left + 999) / 1000));
    }
    return end_polling(bell) ? APR_SUCCESS
           : fds[1].revents  ? APR_EAGAIN
                             : APR_TIMEUP;
}

int cp_bell_count_inline(cp_bell_t *bell, int delta)
{
    bell->inline_count += delta;
    return bell->inline_count;
}
