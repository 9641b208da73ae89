/* A disk that can be full, and that tells what it has: for LD_PRELOAD into the store. Only its append-only file is meant.
 * DISK_SYNCED names a file that gets "<bytes> <path>" after each sync; while the file DISK_FULL names is there, writes
 * fail for want of space. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int path_of(int fd, char *path, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, size - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return strstr(path, ".incr.aof") != NULL;
}

static int synced(int fd, const char *name) {
  char path[4096], line[4200];
  struct stat found;
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  int ours = getenv("DISK_SYNCED") && path_of(fd, path, sizeof path) && fstat(fd, &found) == 0;
  int result = real(fd);
  if (result == 0 && ours) {
    int told = open(getenv("DISK_SYNCED"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    int n = snprintf(line, sizeof line, "%lld %s\n", (long long)found.st_size, path);
    ssize_t (*put)(int, const void *, size_t) = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (told >= 0) {
      if (put(told, line, n) != n) abort();
      close(told);
    }
  }
  return result;
}

int fdatasync(int fd) { return synced(fd, "fdatasync"); }
int fsync(int fd) { return synced(fd, "fsync"); }

ssize_t write(int fd, const void *data, size_t size) {
  static ssize_t (*real)(int, const void *, size_t);
  char path[4096];
  if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  const char *full = getenv("DISK_FULL");
  if (full && access(full, F_OK) == 0 && path_of(fd, path, sizeof path)) {
    errno = ENOSPC;
    return -1;
  }
  return real(fd, data, size);
}
