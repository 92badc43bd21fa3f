/* plain/file.c -- read and write with errors as -errno. */
#include "plain/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int
file_kind(int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0) {
        return -errno;
    }
    return S_ISFIFO(status.st_mode)   ? FILE_PIPE
           : S_ISSOCK(status.st_mode) ? FILE_SOCKET
           : S_ISCHR(status.st_mode)  ? FILE_CHARACTER_DEVICE
                                      : FILE_OTHER;
}

static int
file_set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)) {
        return -errno;
    }
    return 0;
}

static inline ssize_t
file_read(int fd, void *buffer, size_t n_bytes)
{
    ssize_t n = read(fd, buffer, n_bytes);
    return n < 0 ? -errno : n;
}

static inline ssize_t
file_writev(int fd, const struct iovec *iov, int n_iov)
{
    ssize_t n = n_iov == 1 ? write(fd, iov->iov_base, iov->iov_len) : writev(fd, iov, n_iov);
    return n < 0 ? -errno : n;
}
