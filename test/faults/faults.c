/*
 * Makes the n-th system call on files below a directory fail, write less than asked, or end the process there.
 *
 *   cc -shared -fPIC -O1 -o libfaults.so faults.c -ldl
 *   FAULT_DIR=/dir FAULT_AT=19 FAULT_HOW=ENOSPC LD_PRELOAD=./libfaults.so node …
 *
 * FAULT_HOW: ENOSPC, EROFS, EIO, EINTR, EMFILE, EACCES, SHORT (half of the bytes), KILL (SIGKILL), TERM or INT (the signal,
 * and the call goes on), TWICE (SIGINT and SIGTERM at once, as somebody who does not wait), CLOCK (from here on the wall clock is a day early at every other look).
 * FAULT_ON: "write" (what changes files: write, fsync, rename, link, mkdir, …), "read" (open for reading, read), or "all".
 * FAULT_COUNT: a file that gets the number of calls when the process ends by itself.
 * Only calls that can fail so are counted: reads cannot run out of space.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum Kind { kREAD, kWRITE };
enum How { kNOTHING, kERRNO, kSHORT, kSIGNAL, kTWICE, kCLOCK };
enum Outcome { kGO_ON, kFAIL, kHALF };

static struct
{
    char dir[PATH_MAX];
    size_t dirLength;
    long at;
    enum How how;
    int number;
    int onRead;
    int onWrite;
    char count[PATH_MAX];
    pid_t owner;
} gSettings;

static atomic_long gCalls;
static atomic_int gClockJumps;

static const struct
{
    char const* name;
    enum How how;
    int number;
} kHOWS[] = {{"ENOSPC", kERRNO, ENOSPC}, {"EROFS", kERRNO, EROFS}, {"EIO", kERRNO, EIO}, {"EINTR", kERRNO, EINTR},
    {"EMFILE", kERRNO, EMFILE}, {"EACCES", kERRNO, EACCES}, {"SHORT", kSHORT, 0}, {"KILL", kSIGNAL, SIGKILL},
    {"TERM", kSIGNAL, SIGTERM}, {"INT", kSIGNAL, SIGINT}, {"TWICE", kTWICE, SIGINT}, {"CLOCK", kCLOCK, 0}};

static char const* setting(char const* name)
{
    char const* value = getenv(name);
    return value == NULL ? "" : value;
}

__attribute__((constructor)) static void readSettings(void)
{
    if (realpath(setting("FAULT_DIR"), gSettings.dir) == NULL)
        return;
    gSettings.dirLength = strlen(gSettings.dir);
    gSettings.at = atol(setting("FAULT_AT"));
    for (size_t i = 0; i < sizeof kHOWS / sizeof kHOWS[0]; i++)
    {
        if (strcmp(kHOWS[i].name, setting("FAULT_HOW")) != 0)
            continue;
        gSettings.how = kHOWS[i].how;
        gSettings.number = kHOWS[i].number;
    }
    gSettings.onRead = strcmp(setting("FAULT_ON"), "write") != 0;
    gSettings.onWrite = strcmp(setting("FAULT_ON"), "read") != 0;
    snprintf(gSettings.count, sizeof gSettings.count, "%s", setting("FAULT_COUNT"));
    gSettings.owner = getpid();
}

__attribute__((destructor)) static void writeCount(void)
{
    if (gSettings.count[0] == '\0' || getpid() != gSettings.owner)
        return;
    FILE* file = fopen(gSettings.count, "w");
    if (file == NULL)
        return;
    fprintf(file, "%ld\n", atomic_load(&gCalls));
    fclose(file);
}

static int isInside(char const* path)
{
    return gSettings.dirLength > 0 && strncmp(path, gSettings.dir, gSettings.dirLength) == 0
        && (path[gSettings.dirLength] == '/' || path[gSettings.dirLength] == '\0');
}

/* Relative names count as inside: the program is started in the directory. */
static int pathCounts(char const* path)
{
    return gSettings.dirLength > 0 && path != NULL && (path[0] != '/' || isInside(path));
}

static int fdCounts(int fd)
{
    if (gSettings.dirLength == 0 || fd < 3)
        return 0;
    char name[32];
    char target[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t const length = readlink(name, target, sizeof target - 1);
    if (length <= 0)
        return 0;
    target[length] = '\0';
    return isInside(target);
}

/* `transfers`: the call moves bytes, so it may move fewer than asked. */
static enum Outcome next(enum Kind kind, int counts, int transfers)
{
    if (!counts || (kind == kREAD ? !gSettings.onRead : !gSettings.onWrite))
        return kGO_ON;
    if (atomic_fetch_add(&gCalls, 1) + 1 != gSettings.at)
        return kGO_ON;
    switch (gSettings.how)
    {
    case kERRNO:
        /* A read neither fills the disk nor writes to it. */
        errno = kind == kREAD && (gSettings.number == ENOSPC || gSettings.number == EROFS) ? EIO : gSettings.number;
        return kFAIL;
    case kSHORT: return transfers ? kHALF : kGO_ON;
    case kSIGNAL: kill(getpid(), gSettings.number); return kGO_ON;
    case kTWICE:
        kill(getpid(), SIGINT);
        kill(getpid(), SIGTERM);
        return kGO_ON;
    case kCLOCK: atomic_store(&gClockJumps, 1); return kGO_ON;
    default: return kGO_ON;
    }
}

#define REAL(name)                                                                                                     \
    static __typeof__(&name) real;                                                                                     \
    if (real == NULL)                                                                                                  \
    real = (__typeof__(&name)) dlsym(RTLD_NEXT, #name)

static size_t half(enum Outcome outcome, size_t length)
{
    return outcome == kHALF && length > 1 ? length / 2 : length;
}

#define TRANSFER(name, kind, params, args, fd, length)                                                                 \
    ssize_t name params                                                                                                \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        enum Outcome const outcome = next(kind, fdCounts(fd), 1);                                                      \
        if (outcome == kFAIL)                                                                                          \
            return -1;                                                                                                 \
        length = half(outcome, length);                                                                                \
        return real args;                                                                                              \
    }

TRANSFER(read, kREAD, (int fd, void* to, size_t n), (fd, to, n), fd, n)
TRANSFER(pread, kREAD, (int fd, void* to, size_t n, off_t at), (fd, to, n, at), fd, n)
TRANSFER(pread64, kREAD, (int fd, void* to, size_t n, off64_t at), (fd, to, n, at), fd, n)
TRANSFER(write, kWRITE, (int fd, void const* from, size_t n), (fd, from, n), fd, n)
TRANSFER(pwrite, kWRITE, (int fd, void const* from, size_t n, off_t at), (fd, from, n, at), fd, n)
TRANSFER(pwrite64, kWRITE, (int fd, void const* from, size_t n, off64_t at), (fd, from, n, at), fd, n)
TRANSFER(copy_file_range, kWRITE, (int in, off64_t* inAt, int out, off64_t* outAt, size_t n, unsigned flags),
    (in, inAt, out, outAt, n, flags), out, n)
TRANSFER(sendfile, kWRITE, (int out, int in, off_t* at, size_t n), (out, in, at, n), out, n)
TRANSFER(sendfile64, kWRITE, (int out, int in, off64_t* at, size_t n), (out, in, at, n), out, n)

#define VECTOR(name, kind, params, args)                                                                               \
    ssize_t name params                                                                                                \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        enum Outcome const outcome = next(kind, fdCounts(fd), 1);                                                      \
        if (outcome == kFAIL)                                                                                          \
            return -1;                                                                                                 \
        count = (int) half(outcome, (size_t) count);                                                                   \
        return real args;                                                                                              \
    }

VECTOR(readv, kREAD, (int fd, struct iovec const* list, int count), (fd, list, count))
VECTOR(writev, kWRITE, (int fd, struct iovec const* list, int count), (fd, list, count))
VECTOR(pwritev, kWRITE, (int fd, struct iovec const* list, int count, off_t at), (fd, list, count, at))
VECTOR(pwritev64, kWRITE, (int fd, struct iovec const* list, int count, off64_t at), (fd, list, count, at))

#define PLAIN(name, kind, params, args, counts)                                                                        \
    int name params                                                                                                    \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        return next(kind, counts, 0) == kFAIL ? -1 : real args;                                                        \
    }

PLAIN(fsync, kWRITE, (int fd), (fd), fdCounts(fd))
PLAIN(fdatasync, kWRITE, (int fd), (fd), fdCounts(fd))
PLAIN(ftruncate, kWRITE, (int fd, off_t size), (fd, size), fdCounts(fd))
PLAIN(ftruncate64, kWRITE, (int fd, off64_t size), (fd, size), fdCounts(fd))
PLAIN(rename, kWRITE, (char const* from, char const* to), (from, to), pathCounts(to))
PLAIN(link, kWRITE, (char const* from, char const* to), (from, to), pathCounts(to))
PLAIN(symlink, kWRITE, (char const* from, char const* to), (from, to), pathCounts(to))
PLAIN(mkdir, kWRITE, (char const* path, mode_t mode), (path, mode), pathCounts(path))
PLAIN(rmdir, kWRITE, (char const* path), (path), pathCounts(path))
PLAIN(unlink, kWRITE, (char const* path), (path), pathCounts(path))

static enum Kind kindOfOpen(int flags)
{
    return (flags & O_ACCMODE) == O_RDONLY ? kREAD : kWRITE;
}

#define OPEN(name)                                                                                                     \
    int name(char const* path, int flags, ...)                                                                         \
    {                                                                                                                  \
        REAL(name);                                                                                                    \
        va_list list;                                                                                                  \
        va_start(list, flags);                                                                                         \
        mode_t const mode = (mode_t) va_arg(list, int);                                                                \
        va_end(list);                                                                                                  \
        return next(kindOfOpen(flags), pathCounts(path), 0) == kFAIL ? -1 : real(path, flags, mode);                   \
    }

OPEN(open)
OPEN(open64)

/* A clock that goes back by a day at every other look. */
static long jump(void)
{
    int const jumps = atomic_load(&gClockJumps);
    if (jumps == 0)
        return 0;
    return atomic_fetch_add(&gClockJumps, 1) % 2 == 1 ? -86400 : 0;
}

int clock_gettime(clockid_t clock, struct timespec* time)
{
    REAL(clock_gettime);
    int const status = real(clock, time);
    if (status == 0 && clock == CLOCK_REALTIME)
        time->tv_sec += jump();
    return status;
}

int gettimeofday(struct timeval* restrict time, void* restrict zone)
{
    REAL(gettimeofday);
    int const status = real(time, zone);
    if (status == 0)
        time->tv_sec += jump();
    return status;
}
