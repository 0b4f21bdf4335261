/* Counts, fails, stops at or records every call that changes something below one directory.
 *
 * Loaded before everything else (LD_PRELOAD), so that SQLite, Python, NumPy and Rust all come through here. There is one
 * counter for all threads. What is called is really done, unless it is the call that was chosen to fail; the lock is held
 * meanwhile, so that the record is in the order in which things happened.
 *
 * What cannot be followed is counted as unseen, where it can be told: writable shared mappings and copies within the
 * kernel. A test compares the replay of a record with the real directory, byte for byte.
 */
#define _GNU_SOURCE
#include "shim_core.h"

#include <stdarg.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* ---- descriptors ---------------------------------------------------------------------------------------------- */

static int open_any(const char *name, int directory, const char *given, int flags, mode_t mode) {
    REAL(int, openat64, int, const char *, int, ...)
    char path[PATH_MAX];
    if (!resolve(directory, given, path)) return real_openat64(directory, given, flags, mode);
    /* Opening for reading changes nothing, and is not counted; the descriptor may still be synced. */
    int changes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
    int verdict = 0;
    if (changes) verdict = enter(name, path, flags & O_CREAT ? ROOM : 0);
    else pthread_mutex_lock(&lock);
    int descriptor = verdict < 0 ? -1 : real_openat64(directory, given, flags, mode);
    if (descriptor >= DESCRIPTORS) abort();
    if (descriptor >= 0) {
        watched[descriptor] = 1;
        int kept = (flags & O_CREAT ? 1 : 0) | (flags & O_TRUNC ? 2 : 0) | (changes ? 4 : 0);
        note(OPEN, 0, kept, descriptor, 0, path, strlen(path), NULL);
    }
    if (changes) leave(name, path);
    else pthread_mutex_unlock(&lock);
    return descriptor;
}

#define MODE                                   \
    mode_t mode = 0;                           \
    if (flags & (O_CREAT | O_TMPFILE)) {       \
        va_list rest;                          \
        va_start(rest, flags);                 \
        mode = (mode_t)va_arg(rest, int);      \
        va_end(rest);                          \
    }

int open(const char *path, int flags, ...) { MODE return open_any("open", AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return open_any("open", AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE return open_any("open", at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE return open_any("open", at, path, flags, mode); }
int creat(const char *path, mode_t mode) {
    return open_any("open", AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

static void forget(int descriptor) {
    watched[descriptor] = 0;
    if (after_short == descriptor) after_short = -1;
    note(CLOSE, 0, 0, descriptor, 0, "", 0, NULL);
}

int close(int descriptor) {
    REAL(int, close, int)
    if (!follows(descriptor)) {
        if (descriptor >= 0 && descriptor < DESCRIPTORS) watched[descriptor] = 0;
        return real_close(descriptor);
    }
    pthread_mutex_lock(&lock);
    forget(descriptor);
    int result = real_close(descriptor);
    pthread_mutex_unlock(&lock);
    return result;
}

/* A second descriptor of a file is followed as the first is; of a directory there is nothing to follow. */
static int copied(int from, int to) {
    struct stat found;
    if (to < 0 || !follows(from) || fstat(from, &found) || S_ISDIR(found.st_mode)) return to;
    if (to >= DESCRIPTORS) abort();
    pthread_mutex_lock(&lock);
    watched[to] = 1;
    note(DUPLICATE, 0, 0, to, from, "", 0, NULL);
    pthread_mutex_unlock(&lock);
    return to;
}
int fcntl64(int descriptor, int command, ...) {
    REAL(int, fcntl64, int, int, ...)
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    int result = real_fcntl64(descriptor, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? copied(descriptor, result) : result;
}
int fcntl(int descriptor, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return fcntl64(descriptor, command, argument);
}
int dup(int descriptor) { return fcntl64(descriptor, F_DUPFD, 0); }

/* ---- bytes ---------------------------------------------------------------------------------------------------- */

static ssize_t write_any(const char *name, int descriptor, const void *data, size_t length, int64_t at, int placed) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, int64_t)
    REAL(ssize_t, write, int, const void *, size_t)
    char path[PATH_MAX];
    path_of(descriptor, path);
    int verdict = enter(name, path, ROOM | WRITES);
    ssize_t written = -1;
    if (after_short == descriptor) {
        after_short = -1;
        strike(name, path);
        errno = ENOSPC;
        verdict = -1;
    }
    if (verdict == 1) {
        after_short = descriptor;
        length /= 2;
    }
    int64_t offset = at;
    if (!placed) {
        struct stat found;
        offset = fcntl(descriptor, F_GETFL) & O_APPEND && !fstat(descriptor, &found) ? found.st_size
                                                                                  : lseek(descriptor, 0, SEEK_CUR);
    }
    if (verdict >= 0) {
        written = placed ? real_pwrite64(descriptor, data, length, at) : real_write(descriptor, data, length);
    }
    if (written > 0) note(WRITE, 0, 0, descriptor, offset, data, (size_t)written, NULL);
    leave(name, path);
    return written;
}

ssize_t write(int descriptor, const void *data, size_t length) {
    REAL(ssize_t, write, int, const void *, size_t)
    if (!follows(descriptor)) return real_write(descriptor, data, length);
    return write_any("write", descriptor, data, length, 0, 0);
}
ssize_t pwrite64(int descriptor, const void *data, size_t length, __off64_t at) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, int64_t)
    if (!follows(descriptor)) return real_pwrite64(descriptor, data, length, at);
    return write_any("pwrite", descriptor, data, length, at, 1);
}
ssize_t pwrite(int descriptor, const void *data, size_t length, off_t at) {
    return pwrite64(descriptor, data, length, at);
}

/* Several pieces are written as one: the kernel may do the same, or less. */
static ssize_t write_pieces(int descriptor, const struct iovec *pieces, int count, int64_t at, int placed) {
    size_t length = 0;
    for (int i = 0; i < count; i++) length += pieces[i].iov_len;
    char *joined = malloc(length ? length : 1), *end = joined;
    if (!joined) abort();
    for (int i = 0; i < count; i++) {
        memcpy(end, pieces[i].iov_base, pieces[i].iov_len);
        end += pieces[i].iov_len;
    }
    ssize_t written = write_any("writev", descriptor, joined, length, at, placed);
    free(joined);
    return written;
}
ssize_t writev(int descriptor, const struct iovec *pieces, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int)
    if (!follows(descriptor)) return real_writev(descriptor, pieces, count);
    return write_pieces(descriptor, pieces, count, 0, 0);
}
ssize_t pwritev64(int descriptor, const struct iovec *pieces, int count, __off64_t at) {
    REAL(ssize_t, pwritev64, int, const struct iovec *, int, int64_t)
    if (!follows(descriptor)) return real_pwritev64(descriptor, pieces, count, at);
    return write_pieces(descriptor, pieces, count, at, 1);
}
ssize_t pwritev(int descriptor, const struct iovec *pieces, int count, off_t at) {
    return pwritev64(descriptor, pieces, count, at);
}

/* The C library's own buffers are not seen from here (NumPy writes arrays through them): what is followed has none. */
size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    REAL(size_t, fwrite, const void *, size_t, size_t, FILE *)
    int descriptor = armed ? fileno(file) : -1;
    if (!follows(descriptor)) return real_fwrite(data, size, count, file);
    size_t length = size * count, done = 0;
    while (done < length) {
        ssize_t written = write_any("fwrite", descriptor, (const char *)data + done, length - done, 0, 0);
        if (written <= 0) break;
        done += (size_t)written;
    }
    return size ? done / size : 0;
}
int fclose(FILE *file) {
    REAL(int, fclose, FILE *)
    int descriptor = armed ? fileno(file) : -1;
    if (follows(descriptor)) {
        pthread_mutex_lock(&lock);
        forget(descriptor);
        pthread_mutex_unlock(&lock);
    }
    return real_fclose(file);
}

int ftruncate64(int descriptor, __off64_t length) {
    REAL(int, ftruncate64, int, int64_t)
    if (!follows(descriptor)) return real_ftruncate64(descriptor, length);
    char path[PATH_MAX];
    path_of(descriptor, path);
    int result = enter("ftruncate", path, 0) ? -1 : real_ftruncate64(descriptor, length);
    if (!result) note(TRUNCATE, 0, 0, descriptor, length, "", 0, NULL);
    leave("ftruncate", path);
    return result;
}
int ftruncate(int descriptor, off_t length) { return ftruncate64(descriptor, length); }

static int sync_any(const char *name, int descriptor, int (*real)(int)) {
    char path[PATH_MAX];
    path_of(descriptor, path);
    int result = enter(name, path, FLUSHES) ? -1 : real(descriptor);
    note(SYNC, result != 0, 0, descriptor, 0, "", 0, NULL);
    leave(name, path);
    return result;
}
int fsync(int descriptor) {
    REAL(int, fsync, int)
    return follows(descriptor) ? sync_any("fsync", descriptor, real_fsync) : real_fsync(descriptor);
}
int fdatasync(int descriptor) {
    REAL(int, fdatasync, int)
    return follows(descriptor) ? sync_any("fdatasync", descriptor, real_fdatasync) : real_fdatasync(descriptor);
}

/* ---- names ---------------------------------------------------------------------------------------------------- */

static int rename_any(int old_at, const char *old, int new_at, const char *new, unsigned flags) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned)
    char from[PATH_MAX], to[PATH_MAX];
    int inside = resolve(old_at, old, from), target = resolve(new_at, new, to);
    if (!inside && !target) return real_renameat2(old_at, old, new_at, new, flags);
    if (!inside || !target || flags) unseen("rename", from);
    int result = enter("rename", to, 0) ? -1 : real_renameat2(old_at, old, new_at, new, flags);
    if (!result) note(RENAME, 0, 0, -1, 0, from, strlen(from), to);
    leave("rename", to);
    return result;
}
int rename(const char *old, const char *new) { return rename_any(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int old_at, const char *old, int new_at, const char *new) {
    return rename_any(old_at, old, new_at, new, 0);
}
int renameat2(int old_at, const char *old, int new_at, const char *new, unsigned flags) {
    return rename_any(old_at, old, new_at, new, flags);
}

static int link_any(int old_at, const char *old, int new_at, const char *new, int flags) {
    REAL(int, linkat, int, const char *, int, const char *, int)
    char from[PATH_MAX], to[PATH_MAX];
    int inside = resolve(old_at, old, from), target = resolve(new_at, new, to);
    if (!target) return real_linkat(old_at, old, new_at, new, flags);
    if (!inside) unseen("link", from);
    int result = enter("link", to, ROOM) ? -1 : real_linkat(old_at, old, new_at, new, flags);
    if (!result) note(LINK, 0, 0, -1, 0, from, strlen(from), to);
    leave("link", to);
    return result;
}
int link(const char *old, const char *new) { return link_any(AT_FDCWD, old, AT_FDCWD, new, 0); }
int linkat(int old_at, const char *old, int new_at, const char *new, int flags) {
    return link_any(old_at, old, new_at, new, flags);
}

static int unlink_any(int at, const char *given, int flags) {
    REAL(int, unlinkat, int, const char *, int)
    char path[PATH_MAX];
    if (!resolve(at, given, path)) return real_unlinkat(at, given, flags);
    const char *name = flags & AT_REMOVEDIR ? "rmdir" : "unlink";
    int result = enter(name, path, 0) ? -1 : real_unlinkat(at, given, flags);
    if (!result) note(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, 0, -1, 0, path, strlen(path), NULL);
    leave(name, path);
    return result;
}
int unlink(const char *path) { return unlink_any(AT_FDCWD, path, 0); }
int unlinkat(int at, const char *path, int flags) { return unlink_any(at, path, flags); }
int rmdir(const char *path) { return unlink_any(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
    struct stat found;
    return unlink_any(AT_FDCWD, path, !lstat(path, &found) && S_ISDIR(found.st_mode) ? AT_REMOVEDIR : 0);
}

static int mkdir_any(int at, const char *given, mode_t mode) {
    REAL(int, mkdirat, int, const char *, mode_t)
    char path[PATH_MAX];
    if (!resolve(at, given, path)) return real_mkdirat(at, given, mode);
    int result = enter("mkdir", path, ROOM) ? -1 : real_mkdirat(at, given, mode);
    if (!result) note(MKDIR, 0, 0, -1, 0, path, strlen(path), NULL);
    leave("mkdir", path);
    return result;
}
int mkdir(const char *path, mode_t mode) { return mkdir_any(AT_FDCWD, path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { return mkdir_any(at, path, mode); }

/* ---- what cannot be followed ---------------------------------------------------------------------------------- */

static void refuse_to_be_blind(const char *name, int descriptor) {
    if (!follows(descriptor)) return;
    char path[PATH_MAX];
    path_of(descriptor, path);
    unseen(name, path);
}

void *mmap64(void *address, size_t length, int protection, int flags, int descriptor, __off64_t offset) {
    REAL(void *, mmap64, void *, size_t, int, int, int, __off64_t)
    if (protection & PROT_WRITE && (flags & MAP_TYPE) != MAP_PRIVATE && !(flags & MAP_ANONYMOUS)) {
        refuse_to_be_blind("mmap", descriptor);
    }
    return real_mmap64(address, length, protection, flags, descriptor, offset);
}
void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset) {
    return mmap64(address, length, protection, flags, descriptor, offset);
}
ssize_t copy_file_range(int from, __off64_t *from_at, int to, __off64_t *to_at, size_t length, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, __off64_t *, int, __off64_t *, size_t, unsigned)
    refuse_to_be_blind("copy_file_range", to);
    return real_copy_file_range(from, from_at, to, to_at, length, flags);
}
ssize_t sendfile64(int to, int from, __off64_t *at, size_t length) {
    REAL(ssize_t, sendfile64, int, int, __off64_t *, size_t)
    refuse_to_be_blind("sendfile", to);
    return real_sendfile64(to, from, at, length);
}
ssize_t sendfile(int to, int from, off_t *at, size_t length) { return sendfile64(to, from, at, length); }
int posix_fallocate64(int descriptor, __off64_t offset, __off64_t length) {
    REAL(int, posix_fallocate64, int, __off64_t, __off64_t)
    refuse_to_be_blind("posix_fallocate", descriptor);
    return real_posix_fallocate64(descriptor, offset, length);
}
int posix_fallocate(int descriptor, off_t offset, off_t length) {
    return posix_fallocate64(descriptor, offset, length);
}
int fallocate64(int descriptor, int mode, __off64_t offset, __off64_t length) {
    REAL(int, fallocate64, int, int, __off64_t, __off64_t)
    refuse_to_be_blind("fallocate", descriptor);
    return real_fallocate64(descriptor, mode, offset, length);
}
int fallocate(int descriptor, int mode, off_t offset, off_t length) {
    return fallocate64(descriptor, mode, offset, length);
}
int truncate64(const char *path, __off64_t length) {
    REAL(int, truncate64, const char *, __off64_t)
    if (below(path)) unseen("truncate", path);
    return real_truncate64(path, length);
}
int truncate(const char *path, off_t length) { return truncate64(path, length); }
