/* The limit: one file to several copies, as quickly as this design can be on this machine, in C.
 *
 *     roofline [--flush] [--read-back] SOURCE COPY [COPY ...]
 *
 * One reader takes XXH64 of what it reads; one thread for each copy writes it. All share a few buffers that are used
 * again and again, each when the last copy has it. --flush: every copy is on the medium at the end; its write-back
 * begins behind the writer. --read-back: every copy is then dropped from the page cache, read and compared. There is
 * no temporary name, no report and no second look at anything: this is what moving the bytes costs, not how to do it.
 *
 * Prints the digest. Ends with 1 when anything fails, and with 4 when a copy reads back differently.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK ((size_t)1 << 20)
#define CHUNKS 8
#define READ_BACK ((size_t)512 << 10)
#define WINDOW ((off_t)16 << 20)
#define WINDOWS_IN_FLIGHT 4
#define MOST_COPIES 64

static void fail(const char *what, const char *path) {
    fprintf(stderr, "roofline: %s: %s: %s\n", path, what, strerror(errno));
    exit(1);
}

/* XXH64 with seed 0, after its specification. All pieces but the last have to be a multiple of 32 bytes long. */
#define P1 0x9E3779B185EBCA87u
#define P2 0xC2B2AE3D27D4EB4Fu
#define P3 0x165667B19E3779F9u
#define P4 0x85EBCA77C2B2AE63u
#define P5 0x27D4EB2F165667C5u

typedef struct {
    uint64_t lane[4], total, tail_length;
    unsigned char tail[32];
} Digest;

static inline uint64_t rotated(uint64_t value, int bits) { return value << bits | value >> (64 - bits); }

static inline uint64_t mixed(uint64_t lane, uint64_t word) { return rotated(lane + word * P2, 31) * P1; }

static inline uint64_t little_endian(const unsigned char *bytes, size_t count) {
    uint64_t word = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(&word, bytes, count);
#else
    for (size_t at = count; at--;) word = word << 8 | bytes[at];
#endif
    return word;
}

static Digest new_digest(void) { return (Digest){.lane = {P1 + P2, P2, 0, 0 - P1}}; }

static void update(Digest *digest, const unsigned char *data, size_t length) {
    uint64_t a = digest->lane[0], b = digest->lane[1], c = digest->lane[2], d = digest->lane[3];
    digest->total += length;
    for (; length >= 32; data += 32, length -= 32) {
        a = mixed(a, little_endian(data, 8));
        b = mixed(b, little_endian(data + 8, 8));
        c = mixed(c, little_endian(data + 16, 8));
        d = mixed(d, little_endian(data + 24, 8));
    }
    digest->lane[0] = a, digest->lane[1] = b, digest->lane[2] = c, digest->lane[3] = d;
    memcpy(digest->tail, data, length);
    digest->tail_length = length;
}

static uint64_t value_of(const Digest *digest) {
    const uint64_t *lane = digest->lane;
    uint64_t hash = P5;
    if (digest->total >= 32) {
        hash = rotated(lane[0], 1) + rotated(lane[1], 7) + rotated(lane[2], 12) + rotated(lane[3], 18);
        for (int number = 0; number < 4; number++) hash = (hash ^ mixed(0, lane[number])) * P1 + P4;
    }
    hash += digest->total;
    const unsigned char *byte = digest->tail, *end = byte + digest->tail_length;
    for (; end - byte >= 8; byte += 8) hash = rotated(hash ^ mixed(0, little_endian(byte, 8)), 27) * P1 + P4;
    for (; end - byte >= 4; byte += 4) hash = rotated(hash ^ little_endian(byte, 4) * P1, 23) * P2 + P3;
    for (; byte < end; byte++) hash = rotated(hash ^ *byte * P5, 11) * P1;
    hash = (hash ^ hash >> 33) * P2;
    hash = (hash ^ hash >> 29) * P3;
    return hash ^ hash >> 32;
}

typedef struct {
    const char *path;
    uint64_t chunks_done;
    int differs;
    pthread_t thread;
} Copy;

static int flushes, reads_back;
static off_t source_size;
static unsigned char *buffers[CHUNKS];
static size_t lengths[CHUNKS];
static Copy copies[MOST_COPIES];
static int copy_count;

/* Guarded by the lock: chunks_done of each copy, and these. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER, room = PTHREAD_COND_INITIALIZER;
static uint64_t chunks_read, digest_of_source;
static int is_ended;

static size_t read_full(int fd, const char *path, unsigned char *buffer, size_t size) {
    size_t length = 0;
    while (length < size) {
        ssize_t got = read(fd, buffer + length, size - length);
        if (got < 0) fail("read", path);
        if (got == 0) break;
        length += (size_t)got;
    }
    return length;
}

static void start_write_back(int fd, off_t offset, off_t length) {
#ifdef __linux__
    posix_fadvise(fd, offset, length, POSIX_FADV_DONTNEED);
#else
    (void)fd, (void)offset, (void)length;
#endif
}

/* Keep the medium busy and the dirty pages few, after a write up to *end*. */
static void roll_write_back(int fd, off_t end, off_t length) {
#ifdef __linux__
    if (end / WINDOW == (end - length) / WINDOW) return;
    off_t newest = end / WINDOW * WINDOW - WINDOW, oldest = newest - WINDOWS_IN_FLIGHT * WINDOW;
    start_write_back(fd, newest, WINDOW);
    if (oldest < 0) return;
    sync_file_range(fd, oldest, WINDOW,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    start_write_back(fd, oldest, WINDOW);
#else
    (void)fd, (void)end, (void)length;
#endif
}

static void flush(int fd, const char *path) {
#ifdef F_FULLFSYNC
    if (fcntl(fd, F_FULLFSYNC) < 0) fail("flush", path);
#else
    if (fsync(fd) < 0) fail("flush", path);
#endif
}

static uint64_t digest_on_medium(int fd, const char *path) {
    unsigned char *buffer;
    if (posix_memalign((void **)&buffer, 4096, READ_BACK)) fail("memory", path);
#ifdef __linux__
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
#elif defined(F_NOCACHE)
    fcntl(fd, F_NOCACHE, 1);
#endif
    if (lseek(fd, 0, SEEK_SET) < 0) fail("seek", path);
    Digest digest = new_digest();
    for (size_t length; (length = read_full(fd, path, buffer, READ_BACK));) update(&digest, buffer, length);
    free(buffer);
    return value_of(&digest);
}

static void *write_copy(void *argument) {
    Copy *copy = argument;
    int fd = open(copy->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) fail("create", copy->path);
#ifdef __linux__
    if (source_size && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, source_size) < 0 && errno != EOPNOTSUPP)
        fail("preallocate", copy->path);
#endif
    off_t end = 0;
    for (;;) {
        pthread_mutex_lock(&lock);
        while (copy->chunks_done == chunks_read && !is_ended) pthread_cond_wait(&more, &lock);
        int is_done = copy->chunks_done == chunks_read;
        pthread_mutex_unlock(&lock);
        if (is_done) break;
        size_t length = lengths[copy->chunks_done % CHUNKS];
        const unsigned char *data = buffers[copy->chunks_done % CHUNKS];
        for (size_t done = 0; done < length;) {
            ssize_t taken = write(fd, data + done, length - done);
            if (taken < 0) fail("write", copy->path);
            done += (size_t)taken;
        }
        end += (off_t)length;
        pthread_mutex_lock(&lock);
        copy->chunks_done++;
        pthread_cond_signal(&room);
        pthread_mutex_unlock(&lock);
        if (flushes) roll_write_back(fd, end, (off_t)length);
    }
    if (flushes) flush(fd, copy->path);
    if (reads_back) copy->differs = digest_on_medium(fd, copy->path) != digest_of_source;
    if (close(fd) < 0) fail("close", copy->path);
    return NULL;
}

static int is_free(uint64_t chunk) {
    for (int number = 0; number < copy_count; number++)
        if (copies[number].chunks_done + CHUNKS <= chunk) return 0;
    return 1;
}

static void read_source(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0) fail("open", path);
    source_size = status.st_size;
    for (int number = 0; number < CHUNKS; number++)
        if (posix_memalign((void **)&buffers[number], 4096, CHUNK)) fail("memory", path);
    for (int number = 0; number < copy_count; number++)
        if (pthread_create(&copies[number].thread, NULL, write_copy, &copies[number])) fail("thread", path);
    Digest digest = new_digest();
    for (uint64_t chunk = 0;; chunk++) {
        pthread_mutex_lock(&lock);
        while (!is_free(chunk)) pthread_cond_wait(&room, &lock);
        pthread_mutex_unlock(&lock);
        unsigned char *buffer = buffers[chunk % CHUNKS];
        size_t length = read_full(fd, path, buffer, CHUNK);
        update(&digest, buffer, length);
        lengths[chunk % CHUNKS] = length;
        pthread_mutex_lock(&lock);
        if (length) chunks_read = chunk + 1;
        if (length < CHUNK) is_ended = 1, digest_of_source = value_of(&digest);
        pthread_cond_broadcast(&more);
        pthread_mutex_unlock(&lock);
        if (length < CHUNK) break;
    }
    close(fd);
}

int main(int count, char **words) {
    int at = 1;
    for (; at < count && words[at][0] == '-'; at++) {
        if (!strcmp(words[at], "--flush")) flushes = 1;
        else if (!strcmp(words[at], "--read-back")) reads_back = 1;
        else break;
    }
    copy_count = count - at - 1;
    if (copy_count < 1 || copy_count > MOST_COPIES || words[at][0] == '-') {
        fprintf(stderr, "usage: roofline [--flush] [--read-back] SOURCE COPY [COPY ...]\n");
        return 2;
    }
    for (int number = 0; number < copy_count; number++) copies[number].path = words[at + 1 + number];
    read_source(words[at]);
    int differs = 0;
    for (int number = 0; number < copy_count; number++) {
        pthread_join(copies[number].thread, NULL);
        differs |= copies[number].differs;
    }
    printf("%016llx\n", (unsigned long long)digest_of_source);
    return differs ? 4 : 0;
}
