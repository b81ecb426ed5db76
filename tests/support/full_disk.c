/* Preloaded by tests: a disk that is full after $PAR5_TEST_DISK_BYTES bytes of unfinished output (files named *.part.*). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

ssize_t write(int descriptor, const void* data, size_t size) {
  static ssize_t (*real_write)(int, const void*, size_t);
  static size_t used;
  if (!real_write) real_write = (ssize_t(*)(int, const void*, size_t))dlsym(RTLD_NEXT, "write");
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length > 0) {
    path[length] = 0;
    if (strstr(path, ".part.")) {
      const char* limit = getenv("PAR5_TEST_DISK_BYTES");
      if (limit && used + size > (size_t)atol(limit)) {
        errno = ENOSPC;
        return -1;
      }
      used += size;
    }
  }
  return real_write(descriptor, data, size);
}
