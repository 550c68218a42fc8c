// The child launcher: what runs between fork and exec. See spindle_spawn in spindle.h for the promises.
#define _GNU_SOURCE
#include "spindle.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { stack_bytes = 64 * 1024, first_free_descriptor = 5 };

// Thread sanitizer keeps books on clone and cannot follow a child that shares its memory: there the child gets a copy.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define memory_flags 0
#endif
#endif
#ifndef memory_flags
#define memory_flags CLONE_VM
#endif

struct launch {
    const struct spindle_child *child;
    pid_t parent;
    volatile int error;
};

static void limit(int resource, uint64_t value) {
    struct rlimit bound = {value, value};
    setrlimit(resource, &bound);
}

/// At the soft limit comes SIGXCPU, which says why; at the hard one SIGKILL (setrlimit(2)).
static void limit_cpu(uint64_t seconds, int moves) {
    struct rlimit bound;
    if (getrlimit(RLIMIT_CPU, &bound)) return;
    if (seconds < bound.rlim_cur) bound.rlim_cur = seconds;
    if (!moves && seconds + 1 < bound.rlim_max) bound.rlim_max = seconds + 1;
    setrlimit(RLIMIT_CPU, &bound);
}

/// Puts the wanted descriptors at 0 to 4, wherever they stand now, and closes all others.
static int arrange_descriptors(const int wanted[first_free_descriptor]) {
    int moved[first_free_descriptor];
    for (int i = 0; i < first_free_descriptor; i++) {
        if (wanted[i] < 0) {
            moved[i] = -1;
            continue;
        }
        moved[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, first_free_descriptor);
        if (moved[i] < 0) return errno;
    }
    for (int i = 0; i < first_free_descriptor; i++) {
        if (moved[i] < 0) {
            close(i);
        } else if (dup2(moved[i], i) < 0) {
            return errno;
        }
    }
    syscall(SYS_close_range, first_free_descriptor, ~0U, 0);
    return 0;
}

/// By system call: glibc's functions would ask every thread of the parent, whose memory we share, to follow.
static int drop_privileges(const struct spindle_child *child) {
    gid_t gid = child->gid;
    uid_t uid = child->uid;
    if (gid && (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, gid, gid, gid) < 0)) return errno;
    if (uid && syscall(SYS_setresuid, uid, uid, uid) < 0) return errno;
    return 0;
}

static int launch(void *argument) {
    struct launch *launch = argument;
    const struct spindle_child *child = launch->child;
    setsid();
    for (int signal = 1; signal < NSIG; signal++) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        sigaction(signal, &action, NULL);
    }
    limit(RLIMIT_CORE, 0);
    if (child->brand) limit(RLIMIT_LOCKS, child->brand);
    if (child->limit_memory) limit(RLIMIT_AS, child->limit_memory);
    if (child->limit_cpu) limit_cpu(child->limit_cpu, child->moves_limit_cpu);
    if ((launch->error = drop_privileges(child))) _exit(127);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    // After setuid, which clears it. The parent may have died before this line: then nobody would tell us.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != launch->parent) _exit(127);
    if ((launch->error = arrange_descriptors(child->descriptors))) _exit(127);
    // Only now: the parent's descriptors, copied until a moment ago, may have been more than the child may have.
    if (child->limit_files) limit(RLIMIT_NOFILE, child->limit_files);
    if (child->directory && chdir(child->directory) < 0) {
        launch->error = errno;
        _exit(127);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(child->path, child->argv, child->envp);
    launch->error = errno;
    _exit(127);
}

pid_t spindle_spawn(const struct spindle_child *child, int *pidfd) {
    // One stack for each spawning thread, kept: with CLONE_VFORK the child has left it when clone returns. Shared, with
    // the launch's state at its lower end, so that a child with a copy of the memory can report its error too.
    static __thread char *stack;
    if (!stack) {
        stack = mmap(NULL, stack_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (stack == MAP_FAILED) {
            stack = NULL;
            return -ENOMEM;
        }
    }
    struct launch *state = (struct launch *)stack;
    *state = (struct launch){child, getpid(), 0};
    // No handler of ours may run in the child while it shares our memory.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = clone(launch, stack + stack_bytes, memory_flags | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, state, pidfd);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) return -error;
    if (state->error) {
        int status;
        struct rusage usage;
        while (spindle_reap(*pidfd, &status, &usage) == 0) {}
        close(*pidfd);
        return -state->error;
    }
    return pid;
}
