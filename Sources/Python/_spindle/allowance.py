"""What each call may take of the CPU, and what it took."""
import time

try:
    import resource
except ImportError:  # not on every system
    resource = None

#: Of ours, not a call's: nobody is to take note.
_setrlimit = resource and resource.setrlimit
#: What the limit is checked against, which may count by ticks and be a good part away from `time.process_time`: this
#: process's (0) clock of the kind that ITIMER_PROF runs by. Source: Linux, include/linux/posix-timers_types.h.
_CLOCK = ~0 << 3


class CPUAllowance:
    """The kernel's limit counts from the start of the process, so it is moved as a call begins: what earlier calls took is
    not charged to the next one. What the process was started with is what each call gets."""

    def __init__(self):
        self.soft, self.hard = resource.getrlimit(resource.RLIMIT_CPU) if resource else (-1, -1)
        is_limited = resource and self.soft != resource.RLIM_INFINITY and self.soft != self.hard
        #: Of one call; 0: no limit.
        self.seconds = self.soft if is_limited else 0

    def renew(self):
        if not self.seconds:
            return
        # In whole seconds, as the kernel has it; the one that has begun is given.
        moved = int(time.clock_gettime(_CLOCK)) + 1 + self.seconds
        if moved != self.soft:
            self.soft = moved if self.hard == resource.RLIM_INFINITY else min(moved, self.hard)
            _setrlimit(resource.RLIMIT_CPU, (self.soft, self.hard))


#: This thread, where the system can tell.
_WHOSE = resource and getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


def usage(before=None, children=(0, 0)):
    """What this thread has taken until now; with what it said before, JSON of what was taken since, in bytes."""
    if resource is None:
        return None
    now = resource.getrusage(_WHOSE)
    # Some kernels count what getrusage says in ticks; the clock is exact everywhere.
    cpu = time.thread_time()
    if before is None:
        return now, cpu
    before, began = before
    # By hand: it is said of every call. What is not there is 0, as it mostly is.
    said = b'{"cpu_seconds":%.9f,"max_rss_bytes":%d' % (
        cpu - began + children[0], max(now.ru_maxrss * 1024, children[1]))
    if now.ru_nvcsw != before.ru_nvcsw or now.ru_nivcsw != before.ru_nivcsw:
        said += b',"voluntary_switches":%d,"involuntary_switches":%d' % (
            now.ru_nvcsw - before.ru_nvcsw, now.ru_nivcsw - before.ru_nivcsw)
    return said + b"}"
