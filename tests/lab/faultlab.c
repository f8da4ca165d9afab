/* SPDX-License-Identifier: Apache-2.0
 * The fault injector: loaded with LD_PRELOAD, it makes chosen calls of libc
 * fail, stop short, lie or take their time. What is chosen stands in the file
 * that FAULTLAB names (faultlab.h). Without it nothing happens. */
#include "faultlab.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* In place before main: set once, by the constructor. */
static faultlab_t *lab;

__attribute__((constructor)) static void attach(void)
{
    const char *path = getenv("FAULTLAB");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

    if (fd >= 0) {
        void *place = mmap(NULL, sizeof(*lab), PROT_READ | PROT_WRITE,
                           MAP_SHARED, fd, 0);

        lab = place == MAP_FAILED ? NULL : place;
        close(fd);
    }
}

/* The function that would have been called. */
#define REAL(name)                                                             \
    static __typeof__(&name) real;                                             \
    if (!__atomic_load_n(&real, __ATOMIC_RELAXED)) {                           \
        __atomic_store_n(&real, (__typeof__(&name))dlsym(RTLD_NEXT, #name),    \
                         __ATOMIC_RELAXED);                                    \
    }

/* --- which rule --- */

/* What a call is about. Told only when a rule asks for it: it costs. */
typedef struct subject_t {
    int fd;           /* -1: none */
    const char *path; /* NULL: of fd */
    const void *caller;
    const struct sockaddr *address;
} subject_t;

static int describe_address(const struct sockaddr *address, char *text,
                            size_t size)
{
    char host[INET6_ADDRSTRLEN];

    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;

        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(text, size, "%s:%d", host, ntohs(in->sin_port));
        return 1;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)address;

        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(text, size, "[%s]:%d", host, ntohs(in6->sin6_port));
        return 1;
    }
    return 0;
}

static int describe_fd(int fd, char *text, size_t size)
{
    union {
        struct sockaddr any;
        struct sockaddr_storage storage;
    } peer;
    socklen_t length = sizeof(peer);
    char link[64];
    ssize_t n;

    if (getpeername(fd, &peer.any, &length) == 0) {
        return describe_address(&peer.any, text, size);
    }
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, text, size - 1);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static int is_about(const faultlab_rule_t *rule, const subject_t *subject)
{
    char text[1024];
    Dl_info info;

    if (!rule->name[0]) {
        return 1;
    }
    if (subject->caller) {
        return dladdr(subject->caller, &info) && info.dli_fname
               && strstr(info.dli_fname, rule->name);
    }
    if (subject->path) {
        return strstr(subject->path, rule->name) != NULL;
    }
    if (subject->address) {
        return describe_address(subject->address, text, sizeof(text))
               && strstr(text, rule->name);
    }
    return subject->fd >= 0 && describe_fd(subject->fd, text, sizeof(text))
           && strstr(text, rule->name);
}

static int strikes(faultlab_rule_t *rule)
{
    uint64_t before = __atomic_fetch_add(&rule->seen, 1, __ATOMIC_RELAXED);

    if (before < rule->skip
        || (rule->limit > 0 && before >= rule->skip + rule->limit)) {
        return 0;
    }
    __atomic_fetch_add(&rule->fired, 1, __ATOMIC_RELAXED);
    return 1;
}

/* The rule that strikes this call, or NULL. Its delay is over then. */
static faultlab_rule_t *choose(const char *call, uint64_t bytes,
                               const subject_t *subject)
{
    int saved = errno;

    for (int i = 0; lab && i < FAULTLAB_RULES; i++) {
        faultlab_rule_t *rule = &lab->rules[i];

        if (!__atomic_load_n(&rule->is_active, __ATOMIC_ACQUIRE)
            || bytes < rule->least
            || strncmp(rule->call, call, sizeof(rule->call)) != 0
            || !is_about(rule, subject) || !strikes(rule)) {
            continue;
        }
        if (rule->delay_us > 0) {
            struct timespec pause = {(time_t)(rule->delay_us / 1000000),
                                     (long)(rule->delay_us % 1000000) * 1000};

            nanosleep(&pause, NULL);
        }
        errno = saved;
        return rule;
    }
    errno = saved;
    return NULL;
}

static int does(const faultlab_rule_t *rule, const char *action)
{
    return rule && strcmp(rule->action, action) == 0;
}

static int fails(const faultlab_rule_t *rule)
{
    if (does(rule, "fail")) {
        errno = rule->error;
        return 1;
    }
    return 0;
}

/* So many of size bytes are taken. */
static size_t cut(const faultlab_rule_t *rule, size_t size)
{
    return does(rule, "short") && (size_t)rule->value < size
               ? (size_t)rule->value
               : size;
}

#define OF_FD(number)                                                          \
    &(subject_t)                                                               \
    {                                                                          \
        .fd = (number)                                                         \
    }
#define OF_PATH(text)                                                          \
    &(subject_t)                                                               \
    {                                                                          \
        .fd = -1, .path = (text)                                               \
    }

/* --- memory --- */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);

static int lacks_memory(size_t size, const void *caller)
{
    return lab
           && fails(choose("malloc", size,
                           &(subject_t){.fd = -1, .caller = caller}));
}

void *malloc(size_t size)
{
    return lacks_memory(size, __builtin_return_address(0))
               ? NULL
               : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    size_t bytes;

    return !__builtin_mul_overflow(count, size, &bytes)
                   && lacks_memory(bytes, __builtin_return_address(0))
               ? NULL
               : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    return lacks_memory(size, __builtin_return_address(0))
               ? NULL
               : __libc_realloc(block, size);
}

/* --- files --- */

#define WRITES(name, offset_t)                                                 \
    ssize_t name(int fd, const void *data, size_t size, offset_t offset)       \
    {                                                                          \
        REAL(name)                                                             \
        const faultlab_rule_t *rule = choose("pwrite", size, OF_FD(fd));       \
                                                                               \
        if (fails(rule)) {                                                     \
            return -1;                                                         \
        }                                                                      \
        return does(rule, "lie") ? (ssize_t)size                               \
                                 : real(fd, data, cut(rule, size), offset);    \
    }
WRITES(pwrite, off_t)
WRITES(pwrite64, off64_t)

#define READS(name, offset_t)                                                  \
    ssize_t name(int fd, void *data, size_t size, offset_t offset)             \
    {                                                                          \
        REAL(name)                                                             \
        const faultlab_rule_t *rule = choose("pread", size, OF_FD(fd));        \
                                                                               \
        return fails(rule) ? -1 : real(fd, data, cut(rule, size), offset);     \
    }
READS(pread, off_t)
READS(pread64, off64_t)

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(write)
    const faultlab_rule_t *rule = choose("write", size, OF_FD(fd));

    return fails(rule) ? -1 : real(fd, data, cut(rule, size));
}

ssize_t read(int fd, void *data, size_t size)
{
    REAL(read)
    const faultlab_rule_t *rule = choose("read", size, OF_FD(fd));

    return fails(rule) ? -1 : real(fd, data, cut(rule, size));
}

#define SYNCS(name)                                                            \
    int name(int fd)                                                           \
    {                                                                          \
        REAL(name)                                                             \
        const faultlab_rule_t *rule = choose("sync", 0, OF_FD(fd));            \
                                                                               \
        return fails(rule) ? -1 : does(rule, "lie") ? 0 : real(fd);            \
    }
SYNCS(fsync)
SYNCS(fdatasync)

#define TRUNCATES(name, offset_t)                                              \
    int name(int fd, offset_t size)                                            \
    {                                                                          \
        REAL(name)                                                             \
                                                                               \
        return fails(choose("ftruncate", 0, OF_FD(fd))) ? -1 : real(fd, size); \
    }
TRUNCATES(ftruncate, off_t)
TRUNCATES(ftruncate64, off64_t)

#define MAPS(name, offset_t)                                                   \
    void *name(void *place, size_t size, int protection, int flags, int fd,    \
               offset_t offset)                                                \
    {                                                                          \
        REAL(name)                                                             \
                                                                               \
        return fd >= 0 && fails(choose("mmap", size, OF_FD(fd)))               \
                   ? MAP_FAILED                                                \
                   : real(place, size, protection, flags, fd, offset);         \
    }
MAPS(mmap, off_t)
MAPS(mmap64, off64_t)

#define OPENS(name)                                                            \
    int name(const char *path, int flags, ...)                                 \
    {                                                                          \
        REAL(name)                                                             \
        va_list args;                                                          \
        mode_t mode;                                                           \
                                                                               \
        va_start(args, flags);                                                 \
        mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;       \
        va_end(args);                                                          \
        return fails(choose("open", 0, OF_PATH(path)))                         \
                   ? -1                                                        \
                   : real(path, flags, mode);                                  \
    }
OPENS(open)
OPENS(open64)

int unlink(const char *path)
{
    REAL(unlink)

    return fails(choose("unlink", 0, OF_PATH(path))) ? -1 : real(path);
}

/* --- the network --- */

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    REAL(connect)
    const subject_t subject = {.fd = -1, .address = address};

    return fails(choose("connect", 0, &subject)) ? -1
                                                 : real(fd, address, length);
}

ssize_t recv(int fd, void *data, size_t size, int flags)
{
    REAL(recv)
    const faultlab_rule_t *rule = choose("recv", size, OF_FD(fd));

    return fails(rule) ? -1 : real(fd, data, cut(rule, size), flags);
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    REAL(send)
    const faultlab_rule_t *rule = choose("send", size, OF_FD(fd));

    return fails(rule) ? -1 : real(fd, data, cut(rule, size), flags);
}

int getaddrinfo(const char *host, const char *service,
                const struct addrinfo *hints, struct addrinfo **result)
{
    REAL(getaddrinfo)
    const faultlab_rule_t *rule = choose("getaddrinfo", 0,
                                         OF_PATH(host ? host : ""));

    if (does(rule, "fail")) {
        return rule->error;
    }
    return real(does(rule, "loopback") ? "127.0.0.1" : host, service, hints,
                result);
}

/* --- threads --- */

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*start)(void *), void *argument)
{
    REAL(pthread_create)
    const subject_t subject = {.fd = -1, .caller = __builtin_return_address(0)};
    const faultlab_rule_t *rule = choose("pthread_create", 0, &subject);

    return does(rule, "fail") ? rule->error
                              : real(thread, attributes, start, argument);
}

/* --- the wall clock --- */

/* By how much it is set forward or, negative, back. */
static int64_t shift_us(void)
{
    const subject_t nobody = {.fd = -1};
    const faultlab_rule_t *rule = lab ? choose("clock", 0, &nobody) : NULL;

    return does(rule, "shift") ? rule->value : 0;
}

static void shift_by(struct timespec *time, int64_t us)
{
    int64_t ns = time->tv_nsec + us % 1000000 * 1000;

    time->tv_sec += (time_t)(us / 1000000);
    if (ns < 0 || ns >= 1000000000) {
        time->tv_sec += ns < 0 ? -1 : 1;
        ns += ns < 0 ? 1000000000 : -1000000000;
    }
    time->tv_nsec = (long)ns;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    REAL(clock_gettime)
    int rc = real(clock, now);

    if (rc == 0
        && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        shift_by(now, shift_us());
    }
    return rc;
}

int gettimeofday(struct timeval *now, void *zone)
{
    struct timespec time;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &time);
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (result) {
        *result = now.tv_sec;
    }
    return now.tv_sec;
}

/* The kernel knows nothing of the shift: whoever waits until a time of the wall
 * clock must wait until the kernel's. A condition of the monotonic clock is
 * told by its times, which are those since the machine was started. */
int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                           const struct timespec *until)
{
    REAL(pthread_cond_timedwait)
    struct timespec kernels = *until;

    if (kernels.tv_sec > 1000000000) {
        shift_by(&kernels, -shift_us());
    }
    return real(condition, mutex, &kernels);
}

/* --- libraries --- */

unsigned long OpenSSL_version_num(void);

/* As if another release had been installed than mod_ssl was built with. */
unsigned long OpenSSL_version_num(void)
{
    REAL(OpenSSL_version_num)
    const subject_t nobody = {.fd = -1};
    const faultlab_rule_t *rule = choose("openssl", 0, &nobody);

    return real() + (does(rule, "shift") ? (unsigned long)rule->value : 0UL);
}
