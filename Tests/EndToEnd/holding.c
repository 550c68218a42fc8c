// Holds up calls of the process that was started with it, where a test wants to see what goes on meanwhile.
//
// A call is held while there is a pipe with its name in SPINDLE_GATES, until somebody has opened and closed it: fsync,
// fdatasync, unlinkat of what is called "held", and, as "read-4096", pread from that byte on another thread than the first: so
// the store's readers read a page.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char gates[PATH_MAX - 16];
static pid_t owner;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SPINDLE_GATES");
    if (path && strlen(path) < sizeof gates) strcpy(gates, path);
    owner = getpid();
    // What is started from here is not meant.
    unsetenv("SPINDLE_GATES");
    unsetenv("LD_PRELOAD");
}

static void hold(const char *call) {
    if (!gates[0]) return;
    char path[PATH_MAX], byte;
    snprintf(path, sizeof path, "%s/%s", gates, call);
    int gate = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (gate < 0) return;
    ssize_t count;
    while ((count = syscall(SYS_read, gate, &byte, 1)) > 0 || (count < 0 && errno == EINTR)) continue;
    syscall(SYS_close, gate);
}

int fsync(int fd) {
    hold("fsync");
    return syscall(SYS_fsync, fd);
}

int fdatasync(int fd) {
    hold("fdatasync");
    return syscall(SYS_fdatasync, fd);
}

int unlinkat(int directory, const char *name, int flags) {
    if (strcmp(name, "held") == 0) hold("unlinkat");
    return syscall(SYS_unlinkat, directory, name, flags);
}

ssize_t pread64(int fd, void *bytes, size_t count, off_t offset) {
    if (syscall(SYS_gettid) != owner) {
        char call[32];
        snprintf(call, sizeof call, "read-%lld", (long long)offset);
        hold(call);
    }
    return syscall(SYS_pread64, fd, bytes, count, offset);
}
