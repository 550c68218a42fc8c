// Lets the n-th system call of a kind that can fail for want of something fail, in the process that was started with it.
//
// The plan stands in a file that the test has mapped too (SPINDLE_FAILING names it): how many calls from now, how many there
// were, how many were made to fail, and how often a descriptor was closed that was not open.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct plan {
    _Atomic int64_t countdown, calls, failed, closed_badly;
    char last[32];
};

static struct plan *plan;
static pid_t owner;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SPINDLE_FAILING");
    if (!path) return;
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof(struct plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    // What is started from here is not meant.
    unsetenv("SPINDLE_FAILING");
    unsetenv("LD_PRELOAD");
    if (map == MAP_FAILED) return;
    owner = getpid();
    plan = map;
}

// Between clone and exec a child has our memory, and calls of its own.
static int fails(const char *what) {
    if (!plan || syscall(SYS_getpid) != owner) return 0;
    atomic_fetch_add(&plan->calls, 1);
    if (atomic_load(&plan->countdown) <= 0 || atomic_fetch_sub(&plan->countdown, 1) != 1) return 0;
    atomic_fetch_add(&plan->failed, 1);
    strncpy(plan->last, what, sizeof plan->last - 1);
    return 1;
}

// The loop's thread. On threads of its own libdispatch, which the store's library brings along, ends the process when it
// cannot have what it wants to wait with.
static int is_loop(void) { return !plan || syscall(SYS_gettid) == owner; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(what, code) \
    if (fails(what)) { \
        errno = code; \
        return -1; \
    }

int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, mode_t);
    va_end(list);
    FAIL("open", EMFILE)
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, mode_t);
    va_end(list);
    FAIL("open", EMFILE)
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = va_arg(list, mode_t);
    va_end(list);
    FAIL("openat", EMFILE)
    return syscall(SYS_openat, directory, path, flags, mode);
}

int socket(int domain, int type, int protocol) {
    FAIL("socket", EMFILE)
    return syscall(SYS_socket, domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int pair[2]) {
    FAIL("socketpair", EMFILE)
    return syscall(SYS_socketpair, domain, type, protocol, pair);
}

int accept4(int fd, struct sockaddr *restrict address, socklen_t *restrict size, int flags) {
    FAIL("accept4", EMFILE)
    return syscall(SYS_accept4, fd, address, size, flags);
}

int pipe2(int pair[2], int flags) {
    FAIL("pipe2", EMFILE)
    return syscall(SYS_pipe2, pair, flags);
}

int eventfd(unsigned count, int flags) {
    if (is_loop()) FAIL("eventfd", EMFILE)
    return syscall(SYS_eventfd2, count, flags);
}

int epoll_create1(int flags) {
    if (is_loop()) FAIL("epoll_create1", EMFILE)
    return syscall(SYS_epoll_create1, flags);
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event) {
    // To stop watching takes no memory.
    if (operation != EPOLL_CTL_DEL && is_loop()) FAIL("epoll_ctl", ENOMEM)
    return syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}

static int control(int fd, int command, void *argument) {
    if (command == F_DUPFD_CLOEXEC || command == F_DUPFD) FAIL("fcntl", EMFILE)
    return syscall(SYS_fcntl, fd, command, argument);
}

int fcntl(int fd, int command, ...) {
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    return control(fd, command, argument);
}

int fcntl64(int fd, int command, ...) {
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    return control(fd, command, argument);
}

int clone(int (*function)(void *), void *stack, int flags, void *argument, ...) {
    va_list list;
    va_start(list, argument);
    void *first = va_arg(list, void *), *second = va_arg(list, void *), *third = va_arg(list, void *);
    va_end(list);
    FAIL("clone", EAGAIN)
    return REAL(clone)(function, stack, flags, argument, first, second, third);
}

long syscall(long number, ...) {
    static long (*real)(long, ...);
    if (!real) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    va_list list;
    va_start(list, number);
    long a[6];
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (plan && (number == SYS_pidfd_open || number == SYS_memfd_create) && real(SYS_getpid) == owner) {
        FAIL(number == SYS_pidfd_open ? "pidfd_open" : "memfd_create", EMFILE)
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int close(int fd) {
    int code = syscall(SYS_close, fd);
    if (code < 0 && errno == EBADF && plan && syscall(SYS_getpid) == owner) atomic_fetch_add(&plan->closed_badly, 1);
    return code;
}
