/* A directory seen through a slow disk: read-only, each open and each read takes a while.

   slowdisk SOURCE MOUNTPOINT DELAY

   The delays of different requests pass side by side, as on a network volume.  Nothing is cached
   between two opens: neither names, attributes nor content.

   The extended attribute user.slowdisk of the mount point tells how many opens and reads there
   were, and how many of them were in progress at once at most: "opens reads most". */

#define FUSE_USE_VERSION 312
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static int source;
static struct timespec delay;
static atomic_int in_progress, most, opens, reads;

static void wait_for_the_disk(void)
{
    int now = atomic_fetch_add(&in_progress, 1) + 1;
    int before = atomic_load(&most);
    while (now > before && !atomic_compare_exchange_weak(&most, &before, now))
        ;
    nanosleep(&delay, NULL);
    atomic_fetch_sub(&in_progress, 1);
}

/* "/a/b" -> "a/b", to be looked up below the source. */
static const char *relative(const char *path)
{
    return path[1] ? path + 1 : ".";
}

static int result(int value)
{
    return value < 0 ? -errno : value;
}

static void *slow_init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    connection->max_background = 1024;
    connection->congestion_threshold = 1024;
    config->use_ino = 1;
    config->kernel_cache = 0;
    config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
    return NULL;
}

static int slow_getattr(const char *path, struct stat *status, struct fuse_file_info *file)
{
    if (file)
        return result(fstat((int)file->fh, status));
    return result(fstatat(source, relative(path), status, AT_SYMLINK_NOFOLLOW));
}

static int slow_readlink(const char *path, char *target, size_t size)
{
    ssize_t length = readlinkat(source, relative(path), target, size - 1);
    if (length < 0)
        return -errno;
    target[length] = '\0';
    return 0;
}

static int slow_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset,
                        struct fuse_file_info *file, enum fuse_readdir_flags flags)
{
    int descriptor = openat(source, relative(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = descriptor < 0 ? NULL : fdopendir(descriptor);
    struct dirent *entry;
    (void)offset, (void)file, (void)flags;
    if (!directory)
        return -errno;
    while ((entry = readdir(directory))) {
        /* The number and the type, as a real disk gives them: nobody has to stat for these. */
        struct stat status = {.st_ino = entry->d_ino, .st_mode = DTTOIF(entry->d_type)};
        fill(buffer, entry->d_name, &status, 0, 0);
    }
    closedir(directory);
    return 0;
}

static int slow_open(const char *path, struct fuse_file_info *file)
{
    atomic_fetch_add(&opens, 1);
    wait_for_the_disk();
    int descriptor = openat(source, relative(path), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return -errno;
    file->fh = (uint64_t)descriptor;
    return 0;
}

static int slow_read(const char *path, char *buffer, size_t size, off_t offset,
                     struct fuse_file_info *file)
{
    (void)path;
    atomic_fetch_add(&reads, 1);
    wait_for_the_disk();
    return result((int)pread((int)file->fh, buffer, size, offset));
}

static int slow_release(const char *path, struct fuse_file_info *file)
{
    (void)path;
    return result(close((int)file->fh));
}

static int slow_statfs(const char *path, struct statvfs *status)
{
    (void)path;
    return result(fstatvfs(source, status));
}

static int slow_getxattr(const char *path, const char *name, char *value, size_t size)
{
    char text[64];
    int length;
    if (strcmp(path, "/") || strcmp(name, "user.slowdisk"))
        return -ENODATA;
    length = snprintf(text, sizeof text, "%d %d %d", atomic_load(&opens), atomic_load(&reads),
                      atomic_load(&most));
    if (size && size < (size_t)length)
        return -ERANGE;
    memcpy(value, text, size ? (size_t)length : 0);
    return length;
}

static const struct fuse_operations operations = {
    .init = slow_init,
    .getattr = slow_getattr,
    .readlink = slow_readlink,
    .readdir = slow_readdir,
    .open = slow_open,
    .read = slow_read,
    .release = slow_release,
    .statfs = slow_statfs,
    .getxattr = slow_getxattr,
};

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    /* One thread for each request that waits: libfuse has 10 at most by default. */
    char *mount[] = {arguments[0], "-f", "-o", "ro,max_threads=1024,max_idle_threads=1024",
                     arguments[2], NULL};
    double seconds = atof(arguments[3]);
    delay.tv_sec = (time_t)seconds;
    delay.tv_nsec = (long)((seconds - (double)delay.tv_sec) * 1e9);
    source = open(arguments[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (source < 0) {
        perror(arguments[1]);
        return 1;
    }
    return fuse_main(5, mount, &operations, NULL);
}
