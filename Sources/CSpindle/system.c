#define _GNU_SOURCE
#include "spindle.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

int spindle_reap(int pidfd, int *status, struct rusage *usage) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    // glibc's waitid has no rusage; the system call does.
    if (syscall(SYS_waitid, P_PIDFD, pidfd, &info, WEXITED | WNOHANG, usage) < 0) return -errno;
    if (info.si_pid == 0) return 0;
    *status = info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f;
    return 1;
}

pid_t spindle_peek_ended_child(void) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0) return 0;
    return info.si_pid;
}

int spindle_pidfd_open(pid_t pid) {
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return fd < 0 ? -errno : fd;
}

int spindle_is_child(pid_t pid) {
    siginfo_t info;
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

int spindle_pidfd_signal(int pidfd, int signal) {
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

int spindle_become_subreaper(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ? -errno : 0; }

int spindle_socketpair(int pair[2]) {
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0;
}

int spindle_pipe(int ends[2]) {
    if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    return 0;
}

int spindle_shared_memory(size_t bytes) {
    int fd = memfd_create("spindle-worker", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return -errno;
    if (ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int spindle_is_in_memory(const char *path) {
    struct statfs system;
    return statfs(path, &system) == 0 && system.f_type == TMPFS_MAGIC;
}

int spindle_send_descriptors(int socket, const void *bytes, size_t count, const int *descriptors, int number) {
    enum { most = 8 };
    union {
        char space[CMSG_SPACE(sizeof(int) * most)];
        struct cmsghdr align;
    } control = {0};
    if (number < 1 || number > most) return -EINVAL;
    struct iovec data = {(void *)bytes, count};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control.space,
                             .msg_controllen = CMSG_SPACE(sizeof(int) * number)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * number);
    memcpy(CMSG_DATA(header), descriptors, sizeof(int) * number);
    ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) return -errno;
    return (size_t)sent == count ? 0 : -EMSGSIZE;
}

int spindle_has_unread(int socket) {
    char byte;
    return recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

enum spindle_peer spindle_peer(int socket) {
    struct pollfd state = {.fd = socket, .events = POLLRDHUP};
    if (poll(&state, 1, 0) <= 0) return SPINDLE_PEER_OPEN;
    if (state.revents & (POLLERR | POLLHUP | POLLNVAL)) return SPINDLE_PEER_GONE;
    return state.revents & POLLRDHUP ? SPINDLE_PEER_FINISHED : SPINDLE_PEER_OPEN;
}

int spindle_accept(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int spindle_exchange(const char *one, const char *other) {
    return renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) < 0 ? -errno : 0;
}

void spindle_thread_usage(struct rusage *usage) {
    getrusage(RUSAGE_THREAD, usage);
    // Some kernels count user and system time in ticks; the clock is exact everywhere.
    struct timespec cpu;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    usage->ru_utime = (struct timeval){cpu.tv_sec, cpu.tv_nsec / 1000};
    usage->ru_stime = (struct timeval){0, 0};
}

ssize_t spindle_send(int socket, const void *bytes, size_t count) { return send(socket, bytes, count, MSG_NOSIGNAL); }

ssize_t spindle_receive(int socket, void *bytes, size_t count, int waits) {
    return recv(socket, bytes, count, waits ? 0 : MSG_DONTWAIT);
}

static volatile sig_atomic_t end_status[NSIG];
static volatile sig_atomic_t interrupt_descriptor = -1;
static volatile sig_atomic_t interrupts;

static void end(int signal) { _exit(end_status[signal]); }

static void interrupted(int signal) {
    (void)signal;
    if (interrupts++) _exit(130);
    int error = errno;
    if (write(interrupt_descriptor, "!", 1) < 0) _exit(130);
    errno = error;
}

void spindle_end_on(int signal, int status) {
    end_status[signal] = status;
    struct sigaction action = {.sa_handler = end};
    sigaction(signal, &action, NULL);
}

void spindle_watch_interrupts(int pipe) {
    interrupt_descriptor = pipe;
    struct sigaction action = {.sa_handler = interrupted};
    sigaction(SIGINT, &action, NULL);
}
