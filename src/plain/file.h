/* plain/file.h -- reading and writing descriptors that need not be sockets.
 *
 * Whether a call blocks is up to the descriptor's flags.  Errors: -errno.  No state; any thread. */
#ifndef ASYNCLOOP_PLAIN_FILE_H
#define ASYNCLOOP_PLAIN_FILE_H

#include "base/api.h"

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#define FILE_IOV_MAX 64

enum file_kind { FILE_PIPE, FILE_SOCKET, FILE_CHARACTER_DEVICE, FILE_OTHER };

static int file_kind(int fd) MUST_CHECK;
static int file_set_nonblocking(int fd) MUST_CHECK;
static inline ssize_t file_read(int fd, void *buffer, size_t n_bytes) MUST_CHECK;
/* 1 <= n_iov <= FILE_IOV_MAX */
static inline ssize_t file_writev(int fd, const struct iovec *iov, int n_iov) MUST_CHECK;

#endif
