/* SPDX-License-Identifier: Apache-2.0
 * Which descriptors belong to libcurl is not said by it: a pair is found by
 * what happens in it. Nothing else in the process is touched. */
#include "http/inherit.h"

#include "base/clock.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

typedef struct fds_t {
    int *list;
    int count, room;
} fds_t;

static void add(fds_t *fds, int fd)
{
    if (fds->count == fds->room) {
        int room = fds->room ? 2 * fds->room : 64;
        int *grown = realloc(fds->list, (size_t)room * sizeof(*grown));

        if (!grown) {
            return;
        }
        fds->list = grown;
        fds->room = room;
    }
    fds->list[fds->count++] = fd;
}

static int has(const fds_t *fds, int fd)
{
    for (int i = 0; i < fds->count; i++) {
        if (fds->list[i] == fd) {
            return 1;
        }
    }
    return 0;
}

static int option_of(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

static int is_inherited(int fd)
{
    int flags = fcntl(fd, F_GETFD);

    return flags >= 0 && !(flags & FD_CLOEXEC);
}

static int may_be_of_pair(int fd)
{
    return option_of(fd, SO_DOMAIN) == AF_UNIX
           && option_of(fd, SO_TYPE) == SOCK_STREAM;
}

static void set_private(int fd)
{
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* All that a program would inherit and that may be half of a pair. */
static fds_t inherited_pairs(void)
{
    fds_t fds = {NULL, 0, 0};
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        int fd = atoi(entry->d_name);

        if (*entry->d_name != '.' && is_inherited(fd) && may_be_of_pair(fd)) {
            add(&fds, fd);
        }
    }
    if (dir) {
        closedir(dir);
    }
    return fds;
}

/* The one among these that what is written to fd arrives at, or -1. */
static int find_peer(int fd, const fds_t *among)
{
    const uint64_t token[2] = {(uint64_t)cp_clock_now(), (uintptr_t)&token};
    uint64_t seen[2];

    if (send(fd, token, sizeof(token), MSG_DONTWAIT | MSG_NOSIGNAL)
        != sizeof(token)) {
        return -1;
    }
    for (int i = 0; i < among->count; i++) {
        int peer = among->list[i];

        if (peer != fd
            && recv(peer, seen, sizeof(seen), MSG_PEEK | MSG_DONTWAIT)
                   == sizeof(seen)
            && memcmp(seen, token, sizeof(seen)) == 0) {
            recv(peer, seen, sizeof(seen), MSG_DONTWAIT);
            return peer;
        }
    }
    return -1;
}

void cp_http_keep_private(int fd)
{
    fds_t fds;
    int peer;

    if (!is_inherited(fd)) {
        return;
    }
    set_private(fd);
    if (may_be_of_pair(fd)) {
        fds = inherited_pairs();
        peer = find_peer(fd, &fds);
        if (peer >= 0) {
            set_private(peer);
        }
        free(fds.list);
    }
}

static int readable(int fd)
{
    int bytes = 0;

    return ioctl(fd, FIONREAD, &bytes) == 0 ? bytes : 0;
}

/* The descriptor that a wake-up can be read from is one that was not there
 * before, was silent, and is not after it. */
static void keep_wakeup_private(CURLM *multi, const fds_t *before)
{
    fds_t fds = inherited_pairs();
    int silent = 0;

    for (int i = 0; i < fds.count; i++) {
        if (!has(before, fds.list[i]) && readable(fds.list[i]) == 0) {
            fds.list[silent++] = fds.list[i];
        }
    }
    fds.count = silent;
    if (silent > 0 && curl_multi_wakeup(multi) == CURLM_OK) {
        for (int i = 0; i < fds.count; i++) {
            if (readable(fds.list[i]) > 0) {
                cp_http_keep_private(fds.list[i]);
            }
        }
    }
    free(fds.list);
}

CURLM *cp_http_multi_create(void)
{
    fds_t before = inherited_pairs();
    CURLM *multi = curl_multi_init();

    if (multi) {
        keep_wakeup_private(multi, &before);
    }
    free(before.list);
    return multi;
}
