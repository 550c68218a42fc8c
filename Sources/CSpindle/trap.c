#define _GNU_SOURCE
#include "spindle.h"
#include <elf.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

// A trap ends the process, as it should; before that this writes one line of the log that says where it was. Nothing here
// takes a lock or allocates: whatever trapped may have been in the middle of that.

enum { most_frames = 12, line_bytes = 8192 };

extern const char __ehdr_start[] __attribute__((visibility("hidden")));

struct line {
    char bytes[line_bytes];
    size_t count;
};

static void put(struct line *line, const char *text) {
    while (*text && line->count < line_bytes - 1) line->bytes[line->count++] = *text++;
}

static void put_number(struct line *line, uint64_t number, unsigned base, int width) {
    char digits[24];
    int count = 0;
    do digits[count++] = "0123456789abcdef"[number % base];
    while ((number /= base) || count < width);
    while (count && line->count < line_bytes - 1) line->bytes[line->count++] = digits[--count];
}

// Days since 1970 to a date: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
static void put_time(struct line *line) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec < 0) now.tv_sec = 0;
    uint64_t days = (uint64_t)now.tv_sec / 86400 + 719468, clock = (uint64_t)now.tv_sec % 86400;
    uint64_t era = days / 146097, day = days % 146097;
    uint64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    uint64_t of_year = day - (365 * year + year / 4 - year / 100), shifted = (5 * of_year + 2) / 153;
    uint64_t month = shifted < 10 ? shifted + 3 : shifted - 9;
    put_number(line, year + era * 400 + (month <= 2), 10, 4);
    put(line, "-"), put_number(line, month, 10, 2);
    put(line, "-"), put_number(line, of_year - (153 * shifted + 2) / 5 + 1, 10, 2);
    put(line, "T"), put_number(line, clock / 3600, 10, 2);
    put(line, ":"), put_number(line, clock / 60 % 60, 10, 2);
    put(line, ":"), put_number(line, clock % 60, 10, 2);
    put(line, "."), put_number(line, (uint64_t)now.tv_nsec / 1000000, 10, 3), put(line, "Z");
}

// The program's own file, mapped when the first place is looked up.
struct image {
    const char *bytes;
    size_t size;
};

static struct image map_self(void) {
    struct image image = {NULL, 0};
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (file < 0) return image;
    if (fstat(file, &status) == 0 && status.st_size > (off_t)sizeof(ElfW(Ehdr))) {
        void *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
        if (bytes != MAP_FAILED) image = (struct image){bytes, (size_t)status.st_size};
    }
    close(file);
    return image;
}

// The symbol that a place is in, by the file's table; an offset alone when the table has been stripped.
static void put_place(struct line *line, const struct image *image, uint64_t place) {
    const ElfW(Ehdr) *head = (const ElfW(Ehdr) *)image->bytes;
    const char *best_name = NULL;
    uint64_t best = 0;
    size_t sections = image->bytes && head->e_shoff < image->size ? head->e_shnum : 0;
    for (size_t s = 0; s < sections; s++) {
        if (head->e_shoff + (s + 1) * sizeof(ElfW(Shdr)) > image->size) break;
        const ElfW(Shdr) *table = (const ElfW(Shdr) *)(image->bytes + head->e_shoff) + s;
        if (table->sh_type != SHT_SYMTAB || table->sh_link >= sections) continue;
        const ElfW(Shdr) *names = (const ElfW(Shdr) *)(image->bytes + head->e_shoff) + table->sh_link;
        if (table->sh_offset + table->sh_size > image->size || names->sh_offset + names->sh_size > image->size) continue;
        const ElfW(Sym) *symbols = (const ElfW(Sym) *)(image->bytes + table->sh_offset);
        for (size_t i = 0; i < table->sh_size / sizeof *symbols; i++) {
            const ElfW(Sym) *symbol = symbols + i;
            if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_value > place) continue;
            // Of a library's place the number has to do.
            if (place - symbol->st_value >= symbol->st_size || symbol->st_value < best) continue;
            if (symbol->st_name >= names->sh_size) continue;
            best = symbol->st_value;
            best_name = image->bytes + names->sh_offset + symbol->st_name;
        }
    }
    if (best_name) {
        // Names of symbols need no escapes.
        put(line, best_name), put(line, "+0x"), put_number(line, place - best, 16, 1);
    } else {
        put(line, "0x"), put_number(line, place, 16, 1);
    }
}

static const char *name_of(int number) {
    switch (number) {
    case SIGILL: return "SIGILL";
    case SIGTRAP: return "SIGTRAP";
    case SIGSEGV: return "SIGSEGV";
    case SIGBUS: return "SIGBUS";
    case SIGFPE: return "SIGFPE";
    default: return "SIGABRT";
    }
}

static uint64_t place_in(void *context) {
#if defined(__x86_64__)
    return (uint64_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (uint64_t)((ucontext_t *)context)->uc_mcontext.pc;
#else
    return 0;
#endif
}

static const int signals[] = {SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGABRT};
enum { signal_count = sizeof signals / sizeof *signals };
// Who wanted to hear of them before us: a sanitizer, Swift's own backtraces.
static struct sigaction before[signal_count];

static void pass_on(int number, siginfo_t *info, void *context) {
    for (int i = 0; i < signal_count; i++) {
        if (signals[i] != number || before[i].sa_handler == SIG_DFL || before[i].sa_handler == SIG_IGN) continue;
        if (before[i].sa_flags & SA_SIGINFO) before[i].sa_sigaction(number, info, context);
        else before[i].sa_handler(number);
    }
}

static void trapped(int number, siginfo_t *info, void *context) {
    static struct line line;
    static volatile sig_atomic_t is_told;
    if (!is_told) {
        is_told = 1;
        uint64_t base = (uint64_t)(uintptr_t)__ehdr_start, place = place_in(context);
        struct image image = map_self();
        line.count = 0;
        put(&line, "{\"time\":\""), put_time(&line);
        put(&line, "\",\"level\":\"critical\",\"message\":\"the server has trapped and ends\",\"signal\":\"");
        put(&line, name_of(number)), put(&line, "\",\"place\":\"");
        put_place(&line, &image, place - base), put(&line, "\",\"from\":[");
        void *frames[most_frames + 4];
        int count = backtrace(frames, most_frames + 4), shown = 0, begins = 0;
        // What is above the place itself is this handler.
        for (int i = 0; i < count; i++) if ((uint64_t)(uintptr_t)frames[i] == place) begins = i + 1;
        for (int i = begins; i < count && shown < most_frames; i++, shown++) {
            put(&line, shown ? ",\"" : "\""), put_place(&line, &image, (uint64_t)(uintptr_t)frames[i] - base), put(&line, "\"");
        }
        put(&line, "]}\n");
        // An unread log keeps nobody from ending.
        fcntl(STDERR_FILENO, F_SETFL, fcntl(STDERR_FILENO, F_GETFL) | O_NONBLOCK);
        ssize_t written = write(STDERR_FILENO, line.bytes, line.count);
        (void)written;
    }
    pass_on(number, info, context);
    // Our action was forgotten when it was called: now the system's follows, and with it the status that was always there.
    signal(number, SIG_DFL);
    if (info->si_code <= 0) raise(number);
}

void spindle_tell_traps(void) {
    static char stack[64 * 1024];
    void *frame;
    // Loads what unwinds the stack, now and not in the middle of a trap.
    backtrace(&frame, 1);
    stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&own, NULL);
    for (int i = 0; i < signal_count; i++) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        sigemptyset(&action.sa_mask);
        action.sa_sigaction = trapped;
        action.sa_flags = SA_SIGINFO | SA_RESETHAND | SA_ONSTACK;
        sigaction(signals[i], &action, &before[i]);
    }
}
