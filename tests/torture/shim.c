/* Counts the file calls of one process below some folders, and makes one of them fail: LD_PRELOAD for sermill alone.
 *
 *   cc -shared -fPIC -O2 -o shim.so shim.c -ldl
 *
 * TORTURE_ROOT  folders or files, colon separated: a call counts if its path, or the path behind its descriptor, lies there
 * TORTURE_SET   groups that count: w changes the disk, o opens, r reads and lists, s asks for facts (stat)
 * TORTURE_AT    the fault strikes at this counted call, from 1; 0 or none: count only
 * TORTURE_MODE  kill: SIGKILL before the call; torn: half of a write, then SIGKILL; enospc, eio, emfile, eacces: that error,
 *               once; with -sticky (eio-sticky): from that call on for ever
 * TORTURE_LOG   gets a line `number groups name size path` for each call when counting, else one line with FIRED before it
 *
 * Calls that bypass libc (inline assembly), and mapped memory, are not seen.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { W = 1, O = 2, R = 4, S = 8 };
enum { COUNT, KILL, TORN, FAIL };
/* What a strike tells its caller to do. */
enum { GO_ON = 0, TEAR = -1 };

static long (*raw)(long, ...);
static char roots[16][PATH_MAX];
static int n_roots, groups_on, mode, fault, sticky, log_fd = -1;
static long at, counted;

static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static void read_roots(const char *text) {
    while (text && *text && n_roots < 16) {
        size_t length = strcspn(text, ":");
        if (length > 1 && length < PATH_MAX) {
            memcpy(roots[n_roots], text, length);
            roots[n_roots][length] = 0;
            if (roots[n_roots][length - 1] == '/') roots[n_roots][length - 1] = 0;
            n_roots++;
        }
        text += length + (text[length] == ':');
    }
}

static void read_mode(const char *text) {
    static const struct { const char *name; int number; } errors[] = {
        {"enospc", ENOSPC}, {"eio", EIO}, {"emfile", EMFILE}, {"eacces", EACCES}};
    if (!text || !at) return;
    if (!strcmp(text, "kill")) mode = KILL;
    if (!strcmp(text, "torn")) mode = TORN;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        size_t length = strlen(errors[i].name);
        if (strncmp(text, errors[i].name, length)) continue;
        mode = FAIL;
        fault = errors[i].number;
        sticky = !strcmp(text + length, "-sticky");
    }
    if (mode == COUNT) {
        fprintf(stderr, "torture: TORTURE_MODE=%s is not known\n", text);
        abort();
    }
}

__attribute__((constructor)) static void begin(void) {
    raw = next("syscall");
    const char *set = getenv("TORTURE_SET"), *number = getenv("TORTURE_AT"), *log = getenv("TORTURE_LOG");
    for (; set && *set; set++) groups_on |= *set == 'w' ? W : *set == 'o' ? O : *set == 'r' ? R : *set == 's' ? S : 0;
    at = number ? atol(number) : 0;
    read_mode(getenv("TORTURE_MODE"));
    if (log) log_fd = raw(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    read_roots(getenv("TORTURE_ROOT"));
    /* Whatever the process starts is not counted. */
    unsetenv("LD_PRELOAD");
}

static int below_a_root(const char *path) {
    for (int i = 0; i < n_roots; i++) {
        size_t length = strlen(roots[i]);
        if (!strncmp(path, roots[i], length) && (path[length] == 0 || path[length] == '/')) return 1;
    }
    return 0;
}

static void path_of_fd(int fd, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = raw(SYS_readlinkat, AT_FDCWD, link, out, PATH_MAX - 1);
    out[length > 0 ? length : 0] = 0;
}

/* `path` as seen from the folder `fd`; an empty path is what the descriptor itself is. */
static void path_at(int fd, const char *path, char *out) {
    char folder[PATH_MAX] = "";
    if (path && *path == '/') {
        snprintf(out, PATH_MAX, "%s", path);
        return;
    }
    if (fd != AT_FDCWD) path_of_fd(fd, folder);
    else if (raw(SYS_getcwd, folder, sizeof folder) < 0) *folder = 0;
    if (path && *path) snprintf(out, PATH_MAX, "%.*s/%s", (int)strlen(folder), folder, path);
    else snprintf(out, PATH_MAX, "%s", folder);
}

static void note(const char *mark, long number, int groups, const char *name, size_t size, const char *path) {
    char line[PATH_MAX + 128];
    if (log_fd < 0) return;
    int length = snprintf(line, sizeof line, "%s%ld %s%s%s%s %s %zu %s", mark, number, groups & W ? "w" : "",
                          groups & O ? "o" : "", groups & R ? "r" : "", groups & S ? "s" : "", name, size, path);
    if (length > (int)sizeof line - 2) length = sizeof line - 2;
    for (int i = 0; i < length; i++) if (line[i] == '\n') line[i] = '?';
    line[length] = '\n';
    raw(SYS_write, log_fd, line, (size_t)length + 1);
}

static void die(void) {
    raw(SYS_kill, raw(SYS_getpid), SIGKILL);
    for (;;) pause();
}

/* Counts a call; gives the error it must end with, or what else to do. */
static int strike(int groups, const char *name, size_t size, const char *path) {
    if (!n_roots || !(groups & groups_on) || !below_a_root(path)) return GO_ON;
    long number = __atomic_add_fetch(&counted, 1, __ATOMIC_SEQ_CST);
    if (mode == COUNT) {
        note("", number, groups, name, size, path);
        return GO_ON;
    }
    if (number < at || (number > at && !sticky)) return GO_ON;
    /* A full disk lets files go. */
    if (number > at && fault == ENOSPC && (!strncmp(name, "unlink", 6) || !strcmp(name, "rmdir"))) return GO_ON;
    if (number == at) note("FIRED ", number, groups, name, size, path);
    if (mode == TORN && size > 1) return TEAR;
    if (mode != FAIL) die();
    return fault;
}

static int strike_at(int groups, const char *name, int fd, const char *path) {
    char full[PATH_MAX];
    int saved = errno;
    if (!n_roots || !(groups & groups_on)) return GO_ON;
    path_at(fd, path, full);
    int blow = strike(groups, name, 0, full);
    errno = blow > 0 ? blow : saved;
    return blow;
}

static int strike_fd(int groups, const char *name, int fd, size_t size) {
    char full[PATH_MAX];
    int saved = errno;
    if (!n_roots || !(groups & groups_on)) return GO_ON;
    path_of_fd(fd, full);
    int blow = strike(groups, name, size, full);
    errno = blow > 0 ? blow : saved;
    return blow;
}

static int opens(int flags) { return flags & (O_CREAT | O_TRUNC) ? W | O : O; }

#define REAL(kind, name, types) \
    static kind (*real) types;  \
    if (!real) real = next(name)

/* A call on a path, one on two paths, one on a descriptor, one on a buffer that is read. */
#define ON_PATH(groups, name, types, args, fd, path)                \
    int name types {                                                \
        REAL(int, #name, types);                                    \
        return strike_at(groups, #name, fd, path) > 0 ? -1 : real args; \
    }
#define ON_FD(groups, kind, name, types, args, fd, size)                \
    kind name types {                                                   \
        REAL(kind, #name, types);                                       \
        return strike_fd(groups, #name, fd, size) > 0 ? -1 : real args; \
    }
/* A write that can be torn: `half` are the arguments of its first half. */
#define WRITES(name, types, args, half, fd, size)     \
    ssize_t name types {                              \
        REAL(ssize_t, #name, types);                  \
        int blow = strike_fd(W, #name, fd, size);     \
        if (blow == TEAR) {                           \
            if (real half < 0) abort();               \
            die();                                    \
        }                                             \
        return blow > 0 ? -1 : real args;             \
    }
#define OPENS(name)                                                          \
    int name(const char *path, int flags, ...) {                             \
        REAL(int, #name, (const char *, int, ...));                          \
        va_list list;                                                        \
        va_start(list, flags);                                               \
        int bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, int) : 0;    \
        va_end(list);                                                        \
        return strike_at(opens(flags), #name, AT_FDCWD, path) > 0 ? -1 : real(path, flags, bits); \
    }
#define OPENS_AT(name)                                                       \
    int name(int fd, const char *path, int flags, ...) {                     \
        REAL(int, #name, (int, const char *, int, ...));                     \
        va_list list;                                                        \
        va_start(list, flags);                                               \
        int bits = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, int) : 0;    \
        va_end(list);                                                        \
        return strike_at(opens(flags), #name, fd, path) > 0 ? -1 : real(fd, path, flags, bits); \
    }
#define LISTS(name, kind)                                            \
    struct kind *name(DIR *folder) {                                 \
        REAL(struct kind *, #name, (DIR *));                         \
        return strike_fd(R, #name, dirfd(folder), 0) > 0 ? NULL : real(folder); \
    }

OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
ON_PATH(W | O, creat, (const char *path, mode_t bits), (path, bits), AT_FDCWD, path)
ON_PATH(W | O, creat64, (const char *path, mode_t bits), (path, bits), AT_FDCWD, path)

FILE *fopen(const char *path, const char *how) {
    REAL(FILE *, "fopen", (const char *, const char *));
    return strike_at(*how == 'r' ? O : W | O, "fopen", AT_FDCWD, path) > 0 ? NULL : real(path, how);
}
FILE *fopen64(const char *path, const char *how) {
    REAL(FILE *, "fopen64", (const char *, const char *));
    return strike_at(*how == 'r' ? O : W | O, "fopen64", AT_FDCWD, path) > 0 ? NULL : real(path, how);
}

DIR *opendir(const char *path) {
    REAL(DIR *, "opendir", (const char *));
    return strike_at(O, "opendir", AT_FDCWD, path) > 0 ? NULL : real(path);
}
DIR *fdopendir(int fd) {
    REAL(DIR *, "fdopendir", (int));
    return strike_fd(O, "fdopendir", fd, 0) > 0 ? NULL : real(fd);
}
LISTS(readdir, dirent)
LISTS(readdir64, dirent64)

ON_FD(R, ssize_t, read, (int fd, void *to, size_t n), (fd, to, n), fd, n)
ON_FD(R, ssize_t, pread, (int fd, void *to, size_t n, off_t from), (fd, to, n, from), fd, n)
ON_FD(R, ssize_t, pread64, (int fd, void *to, size_t n, off64_t from), (fd, to, n, from), fd, n)
ON_FD(R, ssize_t, readv, (int fd, const struct iovec *to, int n), (fd, to, n), fd, 0)
ON_FD(R, ssize_t, preadv, (int fd, const struct iovec *to, int n, off_t from), (fd, to, n, from), fd, 0)

WRITES(write, (int fd, const void *from, size_t n), (fd, from, n), (fd, from, n / 2), fd, n)
WRITES(pwrite, (int fd, const void *from, size_t n, off_t to), (fd, from, n, to), (fd, from, n / 2, to), fd, n)
WRITES(pwrite64, (int fd, const void *from, size_t n, off64_t to), (fd, from, n, to), (fd, from, n / 2, to), fd, n)
WRITES(writev, (int fd, const struct iovec *from, int n), (fd, from, n), (fd, from, 1), fd, n)
WRITES(copy_file_range, (int in, off64_t *from, int out, off64_t *to, size_t n, unsigned flags),
       (in, from, out, to, n, flags), (in, from, out, to, n > 4096 ? 4096 : n / 2, flags), out, n)
WRITES(sendfile, (int out, int in, off_t *from, size_t n), (out, in, from, n), (out, in, from, n > 4096 ? 4096 : n / 2), out, n)
WRITES(sendfile64, (int out, int in, off64_t *from, size_t n), (out, in, from, n),
       (out, in, from, n > 4096 ? 4096 : n / 2), out, n)

ON_FD(W, int, fsync, (int fd), (fd), fd, 0)
ON_FD(W, int, fdatasync, (int fd), (fd), fd, 0)
ON_FD(W, int, ftruncate, (int fd, off_t n), (fd, n), fd, 0)
ON_FD(W, int, ftruncate64, (int fd, off64_t n), (fd, n), fd, 0)
ON_FD(W, int, fallocate, (int fd, int how, off_t from, off_t n), (fd, how, from, n), fd, 0)
ON_FD(W, int, fallocate64, (int fd, int how, off64_t from, off64_t n), (fd, how, from, n), fd, 0)

ON_PATH(W, rename, (const char *from, const char *to), (from, to), AT_FDCWD, to)
ON_PATH(W, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), b, to)
ON_PATH(W, renameat2, (int a, const char *from, int b, const char *to, unsigned how), (a, from, b, to, how), b, to)
ON_PATH(W, link, (const char *from, const char *to), (from, to), AT_FDCWD, to)
ON_PATH(W, linkat, (int a, const char *from, int b, const char *to, int how), (a, from, b, to, how), b, to)
ON_PATH(W, symlink, (const char *from, const char *to), (from, to), AT_FDCWD, to)
ON_PATH(W, symlinkat, (const char *from, int b, const char *to), (from, b, to), b, to)
ON_PATH(W, unlink, (const char *path), (path), AT_FDCWD, path)
ON_PATH(W, unlinkat, (int fd, const char *path, int how), (fd, path, how), fd, path)
ON_PATH(W, rmdir, (const char *path), (path), AT_FDCWD, path)
ON_PATH(W, mkdir, (const char *path, mode_t bits), (path, bits), AT_FDCWD, path)
ON_PATH(W, mkdirat, (int fd, const char *path, mode_t bits), (fd, path, bits), fd, path)
ON_PATH(W, truncate, (const char *path, off_t n), (path, n), AT_FDCWD, path)
ON_PATH(W, truncate64, (const char *path, off64_t n), (path, n), AT_FDCWD, path)

ON_PATH(S, stat, (const char *path, struct stat *to), (path, to), AT_FDCWD, path)
ON_PATH(S, stat64, (const char *path, struct stat64 *to), (path, to), AT_FDCWD, path)
ON_PATH(S, lstat, (const char *path, struct stat *to), (path, to), AT_FDCWD, path)
ON_PATH(S, lstat64, (const char *path, struct stat64 *to), (path, to), AT_FDCWD, path)
ON_PATH(S, fstatat, (int fd, const char *path, struct stat *to, int how), (fd, path, to, how), fd, path)
ON_PATH(S, fstatat64, (int fd, const char *path, struct stat64 *to, int how), (fd, path, to, how), fd, path)
ON_PATH(S, access, (const char *path, int how), (path, how), AT_FDCWD, path)
ON_PATH(S, faccessat, (int fd, const char *path, int bits, int how), (fd, path, bits, how), fd, path)
ON_FD(S, int, fstat, (int fd, struct stat *to), (fd, to), fd, 0)
ON_FD(S, int, fstat64, (int fd, struct stat64 *to), (fd, to), fd, 0)

/* Rust's std tries statx with empty arguments first, to see whether there is such a call. */
int statx(int fd, const char *path, int how, unsigned mask, struct statx *to) {
    REAL(int, "statx", (int, const char *, int, unsigned, struct statx *));
    const char *volatile given = path; /* The header says that it is never null. */
    return given && strike_at(S, "statx", fd, given) > 0 ? -1 : real(fd, path, how, mask, to);
}

/* Libraries that call the kernel by number through libc. */
static int strike_number(long number, const long *a) {
    switch (number) {
#ifdef SYS_open
    case SYS_open: return strike_at(opens((int)a[1]), "open", AT_FDCWD, (const char *)a[0]);
    case SYS_rename: return strike_at(W, "rename", AT_FDCWD, (const char *)a[1]);
    case SYS_unlink: return strike_at(W, "unlink", AT_FDCWD, (const char *)a[0]);
    case SYS_mkdir: return strike_at(W, "mkdir", AT_FDCWD, (const char *)a[0]);
#endif
    case SYS_openat: return strike_at(opens((int)a[2]), "openat", (int)a[0], (const char *)a[1]);
#ifdef SYS_openat2
    case SYS_openat2: return strike_at(opens((int)*(const long *)a[2]), "openat2", (int)a[0], (const char *)a[1]);
#endif
    case SYS_renameat2: return strike_at(W, "renameat2", (int)a[2], (const char *)a[3]);
    case SYS_linkat: return strike_at(W, "linkat", (int)a[2], (const char *)a[3]);
    case SYS_symlinkat: return strike_at(W, "symlinkat", (int)a[1], (const char *)a[2]);
    case SYS_unlinkat: return strike_at(W, "unlinkat", (int)a[0], (const char *)a[1]);
    case SYS_mkdirat: return strike_at(W, "mkdirat", (int)a[0], (const char *)a[1]);
    case SYS_fsync: return strike_fd(W, "fsync", (int)a[0], 0);
    case SYS_fdatasync: return strike_fd(W, "fdatasync", (int)a[0], 0);
    case SYS_ftruncate: return strike_fd(W, "ftruncate", (int)a[0], 0);
    case SYS_write: return strike_fd(W, "write", (int)a[0], 0);
    case SYS_pwrite64: return strike_fd(W, "pwrite64", (int)a[0], 0);
    case SYS_copy_file_range: return strike_fd(W, "copy_file_range", (int)a[2], 0);
    case SYS_read: return strike_fd(R, "read", (int)a[0], (size_t)a[2]);
    case SYS_pread64: return strike_fd(R, "pread64", (int)a[0], (size_t)a[2]);
    case SYS_getdents64: return strike_fd(R, "getdents64", (int)a[0], 0);
    case SYS_statx: return a[1] ? strike_at(S, "statx", (int)a[0], (const char *)a[1]) : GO_ON;
    default: return GO_ON;
    }
}

long syscall(long number, ...) {
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (!raw) raw = next("syscall");
    return strike_number(number, a) > 0 ? -1 : raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
