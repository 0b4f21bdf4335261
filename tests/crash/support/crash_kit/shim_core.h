/* The state behind shim.c: which directory is watched, which call is to fail, what is recorded, and who is told.
 *
 *     faults_arm(root, at, kind, sticky, record)   from now on, below `root`; `at` 0 strikes nowhere, `record` -1 records nothing
 *     faults_lift()                                no more strikes; what is below the root is still followed and recorded
 *     faults_mark(text)                            a line of the caller's in the record, in order with the calls
 *     faults_disarm()
 *     faults_control()                             struct control, shared with processes forked later
 *
 * A process that cannot call these is armed by its environment: VDB_FAULTS_ROOT, _AT, _KIND, _STICKY, _RECORD (a file to
 * append to), _CONTROL (a file of 4,096 bytes that holds struct control).
 */
#pragma once
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum kind { NOTHING, FAIL_EIO, FAIL_ENOSPC, SHORT_WRITE, KILL_BEFORE, KILL_AFTER, FAIL_FLUSH, FAIL_ROOT_FLUSH };
enum need { ROOM = 1, WRITES = 2, FLUSHES = 4 };
enum operation { OPEN = 1, CLOSE, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, MKDIR, RMDIR, LINK, MARK, DUPLICATE };

struct control {
    int64_t count;   /* mutating calls since it was armed */
    int64_t writes;  /* those of them that a short write can strike */
    int64_t flushes; /* those of them that are fsync or fdatasync; FAIL_FLUSH counts these alone */
    int64_t root_flushes; /* those of the root itself; FAIL_ROOT_FLUSH counts these alone */
    int64_t struck;  /* how many failed or were cut short */
    int64_t unseen;  /* calls that cannot be followed */
    char name[64];   /* the first that was struck */
    char path[1024];
};

struct record {
    uint8_t operation;
    uint8_t failed;
    uint16_t flags;
    int32_t descriptor;
    int64_t offset;
    uint32_t first;  /* bytes of a path, or of data */
    uint32_t second; /* bytes of another path */
} __attribute__((packed));

#define DESCRIPTORS 65536
static unsigned char watched[DESCRIPTORS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct control *control;
static char root[PATH_MAX];
static size_t root_length;
static volatile int armed;
static long strike_at;
static int strike_kind, strike_sticky, record_to = -1;
static int after_short = -1; /* the descriptor whose next write finds no room */

#define REAL(result, name, ...)                                     \
    static result (*real_##name)(__VA_ARGS__);                      \
    if (!real_##name) real_##name = dlsym(RTLD_NEXT, #name);

/* ---- where a call goes ---------------------------------------------------------------------------------------- */

static int below(const char *path) {
    return armed && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int follows(int descriptor) {
    return armed && descriptor >= 0 && descriptor < DESCRIPTORS && watched[descriptor];
}

static void path_of(int descriptor, char *out) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, out, PATH_MAX - 1);
    out[length > 0 ? length : 0] = 0;
}

/* The absolute path of what a call names; false where that is not below the root. */
static int resolve(int directory, const char *path, char *out) {
    if (!armed || !path) return 0;
    if (path[0] == '/') {
        snprintf(out, PATH_MAX, "%s", path);
    } else {
        char base[PATH_MAX];
        if (directory == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            path_of(directory, base);
        }
        if (snprintf(out, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
    }
    return below(out);
}

/* ---- before and after a call ---------------------------------------------------------------------------------- */

static void end_now(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static void strike(const char *name, const char *path) {
    if (!control->struck++) {
        snprintf(control->name, sizeof control->name, "%s", name);
        snprintf(control->path, sizeof control->path, "%.1000s", path);
    }
}

/* Takes the lock and counts the call: 0 do it, 1 do half of it (a write), -1 fail with errno. */
static int enter(const char *name, const char *path, int needs) {
    pthread_mutex_lock(&lock);
    long number = ++control->count;
    if (needs & WRITES) control->writes++;
    int flushes = !!(needs & FLUSHES), of_root = flushes && !path[root_length];
    control->flushes += flushes;
    control->root_flushes += of_root;
    if (strike_kind == FAIL_FLUSH) number = flushes ? control->flushes : 0;
    if (strike_kind == FAIL_ROOT_FLUSH) number = of_root ? control->root_flushes : 0;
    int chosen = strike_at && (number == strike_at || (strike_sticky && number > strike_at));
    if (!chosen) return 0;
    switch (strike_kind) {
    case FAIL_EIO:
    case FAIL_FLUSH:
    case FAIL_ROOT_FLUSH:
        strike(name, path);
        errno = EIO;
        return -1;
    case FAIL_ENOSPC:
        if (strike_sticky && !(needs & ROOM)) return 0; /* a full disk still lets go of files */
        strike(name, path);
        errno = ENOSPC;
        return -1;
    case SHORT_WRITE:
        if (!(needs & WRITES)) return 0;
        strike(name, path);
        return 1;
    case KILL_BEFORE:
        strike(name, path);
        end_now();
    }
    return 0;
}

static void put(const void *data, size_t length) {
    REAL(ssize_t, write, int, const void *, size_t)
    const char *at = data;
    while (length) {
        ssize_t written = real_write(record_to, at, length);
        if (written <= 0) abort(); /* a record with a hole would prove nothing */
        at += written;
        length -= (size_t)written;
    }
}

static void note(int operation, int failed, int flags, int descriptor, int64_t offset, const void *first,
                 size_t first_length, const char *second) {
    if (record_to < 0) return;
    struct record head = {(uint8_t)operation, (uint8_t)failed, (uint16_t)flags, descriptor, offset,
                          (uint32_t)first_length, second ? (uint32_t)strlen(second) : 0};
    put(&head, sizeof head);
    put(first, first_length);
    if (second) put(second, head.second);
}

/* Ends what enter() began; the lock is free afterwards, and errno is what the call left. */
static void leave(const char *name, const char *path) {
    int error = errno;
    if (strike_at && control->count == strike_at && strike_kind == KILL_AFTER) {
        strike(name, path);
        end_now();
    }
    pthread_mutex_unlock(&lock);
    errno = error;
}

static void unseen(const char *name, const char *path) {
    pthread_mutex_lock(&lock);
    if (!control->unseen++) fprintf(stderr, "faults: %s of %s cannot be followed\n", name, path);
    pthread_mutex_unlock(&lock);
}

/* ---- what callers of the library see -------------------------------------------------------------------------- */

void faults_arm(const char *directory, long at, int kind, int sticky, int record) {
    pthread_mutex_lock(&lock);
    snprintf(root, sizeof root, "%s", directory);
    root_length = strlen(root);
    memset(watched, 0, sizeof watched);
    memset(control, 0, sizeof *control);
    strike_at = at;
    strike_kind = kind;
    strike_sticky = sticky;
    record_to = record;
    after_short = -1;
    armed = 1;
    pthread_mutex_unlock(&lock);
}

void faults_lift(void) {
    pthread_mutex_lock(&lock);
    strike_at = 0;
    after_short = -1;
    pthread_mutex_unlock(&lock);
}

void faults_disarm(void) { armed = 0; }

void faults_mark(const char *text) {
    pthread_mutex_lock(&lock);
    note(MARK, 0, 0, -1, 0, text, strlen(text), NULL);
    pthread_mutex_unlock(&lock);
}

struct control *faults_control(void) { return control; }

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

__attribute__((constructor)) static void begin(void) {
    const char *shared = getenv("VDB_FAULTS_CONTROL"), *directory = getenv("VDB_FAULTS_ROOT");
    const char *record = getenv("VDB_FAULTS_RECORD");
    int file = shared ? open(shared, O_RDWR | O_CLOEXEC) : -1;
    int flags = MAP_SHARED | (file < 0 ? MAP_ANONYMOUS : 0);
    control = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags, file, 0);
    if (control == MAP_FAILED) abort();
    if (!directory) return;
    int to = record ? open(record, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    faults_arm(directory, number("VDB_FAULTS_AT"), (int)number("VDB_FAULTS_KIND"), (int)number("VDB_FAULTS_STICKY"), to);
}
