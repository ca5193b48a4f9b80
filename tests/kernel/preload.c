/* Lets calls of the C library fail: a library that is loaded before it (LD_PRELOAD).

   PFN_FAULT is CALL:PART:ACTION:SKIP:TIMES, or several of them with blanks between. CALL is write, readv, fsync, close,
   posix_fadvise or open_direct (an opening with O_DIRECT); it fails where the path of its file contains PART, after
   SKIP calls were let through, TIMES times (-1: for ever). ACTION is the number of an error, or
     short=N  no more than N bytes are taken
     none     nothing is done, and that is said (0)
     lie      nothing is done, and success is reported
     flip=N   the byte at N of the file is another one; other calls pass and do not count
     hang     for ever
   Each fault that fires is a line in the file PFN_FAULT_LOG, before the caller hears of it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MOST = 8 };

struct fault {
    char call[24], part[128], action[16];
    long value;
    atomic_long skip, times;
};

static struct fault faults[MOST];
static int count;

__attribute__((constructor)) static void read_faults(void) {
    const char *text = getenv("PFN_FAULT");
    while (text && *text && count < MOST) {
        struct fault *fault = &faults[count];
        char action[32] = "";
        long skip = 0, times = -1;
        int length = 0;
        if (sscanf(text, " %23[^:]:%127[^:]:%31[^:]:%ld:%ld%n", fault->call, fault->part, action, &skip, &times,
                   &length) != 5)
            abort();
        char *equals = strchr(action, '=');
        fault->value = equals ? atol(equals + 1) : atol(action);
        if (equals)
            *equals = 0;
        snprintf(fault->action, sizeof fault->action, "%.15s", action);
        fault->skip = skip;
        fault->times = times;
        text += length;
        count++;
    }
}

static void tell(const struct fault *fault, const char *path) {
    const char *log = getenv("PFN_FAULT_LOG");
    char line[512];
    int length = snprintf(line, sizeof line, "%s %s %.300s\n", fault->call, fault->action, path);
    int fd = log ? (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
    if (fd >= 0) {
        syscall(SYS_write, fd, line, length);
        syscall(SYS_close, fd);
    }
}

/* The fault that this call has, or none. */
static struct fault *find(const char *call, int fd, const char *name, off_t from, off_t to) {
    char link[40], path[4097];
    for (int i = 0; i < count; i++) {
        struct fault *fault = &faults[i];
        if (strcmp(fault->call, call))
            continue;
        if (name) {
            snprintf(path, sizeof path, "%s", name);
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            ssize_t length = readlink(link, path, sizeof path - 1);
            if (length < 0)
                continue;
            path[length] = 0;
        }
        if (!strstr(path, fault->part))
            continue;
        if (!strcmp(fault->action, "flip") && !(from <= fault->value && fault->value < to))
            continue;
        if (atomic_fetch_sub(&fault->skip, 1) > 0)
            continue;
        fault->skip = 0;
        if (fault->times == 0)
            continue;
        if (fault->times > 0)
            fault->times--;
        tell(fault, path);
        return fault;
    }
    return NULL;
}

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static int fails(const struct fault *fault) {
    while (!strcmp(fault->action, "hang"))
        pause();
    return fault->action[0] >= '0' && fault->action[0] <= '9';
}

ssize_t write(int fd, const void *data, size_t size) {
    static ssize_t (*next)(int, const void *, size_t);
    if (!next)
        next = real("write");
    off_t at = count ? lseek(fd, 0, SEEK_CUR) : 0;
    int was = errno;
    struct fault *fault = find("write", fd, NULL, at, at + (off_t)size);
    errno = was;
    if (!fault)
        return next(fd, data, size);
    if (fails(fault)) {
        errno = (int)fault->value;
        return -1;
    }
    if (!strcmp(fault->action, "none"))
        return 0;
    if (!strcmp(fault->action, "lie"))
        return (ssize_t)size;
    if (!strcmp(fault->action, "short"))
        return next(fd, data, size < (size_t)fault->value ? size : (size_t)fault->value);
    char *other = malloc(size);
    memcpy(other, data, size);
    other[fault->value - at] ^= 1;
    ssize_t taken = next(fd, other, size);
    free(other);
    return taken;
}

ssize_t readv(int fd, const struct iovec *parts, int number) {
    static ssize_t (*next)(int, const struct iovec *, int);
    if (!next)
        next = real("readv");
    off_t at = count ? lseek(fd, 0, SEEK_CUR) : 0, end = at;
    for (int i = 0; i < number; i++)
        end += (off_t)parts[i].iov_len;
    struct fault *fault = find("readv", fd, NULL, at, end);
    if (!fault)
        return next(fd, parts, number);
    if (fails(fault)) {
        errno = (int)fault->value;
        return -1;
    }
    ssize_t got = next(fd, parts, number);
    if (!strcmp(fault->action, "flip") && at + got > fault->value && number == 1)
        ((char *)parts[0].iov_base)[fault->value - at] ^= 1;
    return got;
}

int fsync(int fd) {
    static int (*next)(int);
    if (!next)
        next = real("fsync");
    struct fault *fault = find("fsync", fd, NULL, 0, 0);
    if (!fault)
        return next(fd);
    if (fails(fault)) {
        errno = (int)fault->value;
        return -1;
    }
    return 0;
}

int close(int fd) {
    static int (*next)(int);
    if (!next)
        next = real("close");
    int was = errno;
    struct fault *fault = find("close", fd, NULL, 0, 0);
    errno = was;
    int answer = next(fd);
    if (fault && fails(fault)) {
        errno = (int)fault->value;
        return -1;
    }
    return answer;
}

static int advise(const char *name, int fd, off_t offset, off_t length, int advice) {
    int (*next)(int, off_t, off_t, int) = real(name);
    struct fault *fault = find("posix_fadvise", fd, NULL, 0, 0);
    if (!fault)
        return next(fd, offset, length, advice);
    return fails(fault) ? (int)fault->value : 0;
}

int posix_fadvise(int fd, off_t offset, off_t length, int advice) {
    return advise("posix_fadvise", fd, offset, length, advice);
}

int posix_fadvise64(int fd, off_t offset, off_t length, int advice) {
    return advise("posix_fadvise64", fd, offset, length, advice);
}

static int open_at(const char *name, int folder, const char *path, int flags, mode_t mode) {
    int (*next)(int, const char *, int, ...) = real(name);
    struct fault *fault = flags & O_DIRECT ? find("open_direct", -1, path, 0, 0) : NULL;
    if (fault && fails(fault)) {
        errno = (int)fault->value;
        return -1;
    }
    return next(folder, path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open_at("openat", folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open_at("openat64", folder, path, flags, mode);
}
