// What Swift cannot express or reach: see each function.
#pragma once
#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/resource.h>

/// How a child is to be made. Descriptors of -1 are not passed on.
struct spindle_child {
    const char *path;            ///< Executable, absolute or with a slash; no search.
    char *const *argv;           ///< NULL-terminated.
    char *const *envp;           ///< NULL-terminated.
    const char *directory;       ///< Working directory, or NULL to keep the parent's.
    int descriptors[5];          ///< What becomes 0, 1, 2, 3 and 4 in the child.
    uint64_t limit_memory;       ///< RLIMIT_AS in bytes; 0: none.
    uint64_t limit_cpu;          ///< RLIMIT_CPU in seconds; 0: none. SIGXCPU then, and SIGKILL a second later.
    int moves_limit_cpu;         ///< The child may raise that itself, and nobody sends SIGKILL.
    uint64_t limit_files;        ///< RLIMIT_NOFILE; 0: as the parent.
    uint64_t brand;              ///< RLIMIT_LOCKS, which Linux does not ask for; 0: as the parent.
    uid_t uid;                   ///< To become, when the parent is root; 0: stay.
    gid_t gid;
};

/// Starts a child in a session and process group of its own and returns its pid, or -errno.
///
/// Between fork and exec only C runs, on a stack of its own, in the parent's memory (CLONE_VFORK): nothing is copied and
/// no lock of the parent is touched. The child gets no_new_privs, no core dumps, default signals, no descriptor but
/// those named, and SIGKILL when the calling *thread* ends: call it from a thread that never does.
/// On success *pidfd is open in the parent, close-on-exec.
pid_t spindle_spawn(const struct spindle_child *child, int *pidfd);

/// Reaps the child behind a pidfd if it has ended: 1 and its status as of wait(2) and usage, 0 if it still runs, -errno.
int spindle_reap(int pidfd, int *status, struct rusage *usage);

/// The pid of some child that has ended and is not yet reaped, 0 if there is none. Leaves it unreaped.
pid_t spindle_peek_ended_child(void);

int spindle_pidfd_open(pid_t pid);
/// Whether it is a child of this process, ended or not; nothing is reaped.
int spindle_is_child(pid_t pid);
/// Sends a signal through a pidfd: it cannot hit a stranger that got the same number. 0 or -errno.
int spindle_pidfd_signal(int pidfd, int signal);

/// Children that lose their parent become ours instead of init's. 0 or -errno.
int spindle_become_subreaper(void);

/// Lets a trap of this process leave one line of the log, with its place, before it ends the process as it always does.
void spindle_tell_traps(void);

/// A pair of connected, close-on-exec stream sockets. 0 or -errno.
int spindle_socketpair(int pair[2]);
/// A pipe, close-on-exec; the read end does not block. 0 or -errno.
int spindle_pipe(int pipe[2]);

/// Memory to be shared by mapping it, of so many bytes for ever, close-on-exec: its descriptor or -errno. Nobody who has it
/// can make it shorter, so that reading it never ends a process.
int spindle_shared_memory(size_t bytes);

/// Whether files there are memory, and stay it.
int spindle_is_in_memory(const char *path);
/// A word that another process may be writing.
static inline uint64_t spindle_load(const void *word) {
    return __atomic_load_n((const uint64_t *)word, __ATOMIC_ACQUIRE);
}
/// Everything that was written before is seen by whoever sees this.
static inline void spindle_store(void *word, uint64_t value) {
    __atomic_store_n((uint64_t *)word, value, __ATOMIC_RELEASE);
}

/// send without SIGPIPE: bytes taken or -1 and errno. Here, because Swift sees the flags' names in some builds only.
ssize_t spindle_send(int socket, const void *bytes, size_t count);
/// recv, waiting for bytes or not: bytes read, 0 at the end, -1 and errno.
ssize_t spindle_receive(int socket, void *bytes, size_t count, int waits);

/// Sends bytes with descriptors beside them (SCM_RIGHTS), at most eight, over a unix socket: 0 or -errno.
int spindle_send_descriptors(int socket, const void *bytes, size_t count, const int *descriptors, int number);

/// Whether bytes wait to be read: 1 or 0.
int spindle_has_unread(int socket);

/// What is known of the other end of a stream socket, without reading.
enum spindle_peer {
    SPINDLE_PEER_OPEN,
    SPINDLE_PEER_FINISHED,  ///< It sends nothing more; whether it still reads, only a write can find out.
    SPINDLE_PEER_GONE,      ///< It was reset, or nobody has the socket any more.
};
enum spindle_peer spindle_peer(int socket);

/// accept4 with SOCK_NONBLOCK and SOCK_CLOEXEC: the descriptor or -errno.
int spindle_accept(int listener);

/// What the calling thread alone has used (RUSAGE_THREAD); its CPU time stands in ru_utime, all of it.
void spindle_thread_usage(struct rusage *usage);

/// Lets two paths change what they name, at once (RENAME_EXCHANGE): 0 or -errno.
int spindle_exchange(const char *one, const char *other);

/// From now on the signal ends the process with this status, at once: for a time in which there is nothing to lose.
/// Unlike the system's own way it also ends process 1, and says how. Here, because a handler may not run Swift.
void spindle_end_on(int signal, int status);

/// From now on the first SIGINT is written to a pipe, and any further one ends the process with 130, whatever it does.
void spindle_watch_interrupts(int pipe);
