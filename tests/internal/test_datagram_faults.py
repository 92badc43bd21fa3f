"""A kernel that takes only some of the datagrams which are sent together: a library put before libc's sendmmsg, in a child process."""
import os
import shutil
import subprocess

import pytest

from sidebyside import child

COMPILER = shutil.which("cc") or shutil.which("gcc")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler, which makes the library that is put before libc")

# Of each call the first message goes; every second call says that the socket is full.
FULL = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>

int sendmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags)
{
    static int calls;
    if (calls++ % 2 == 1) {
        errno = EAGAIN;
        return -1;
    }
    ssize_t sent = sendmsg(fd, &messages[0].msg_hdr, flags);
    if (sent < 0)
        return -1;
    messages[0].msg_len = (unsigned)sent;
    return n > 0;
}
"""

# Nothing that asks for segments goes; what goes without does.
NO_SEGMENTS = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <sys/socket.h>

int sendmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags)
{
    unsigned sent = 0;
    for (; sent < n && messages[sent].msg_hdr.msg_controllen == 0; sent++)
        if (sendmsg(fd, &messages[sent].msg_hdr, flags) < 0)
            break;
    if (sent > 0)
        return (int)sent;
    errno = ERROR;
    return -1;
}
"""

PROGRAM = """
import socket
class Echo(asyncio.DatagramProtocol):
    said, n = [], 0
    def connection_made(self, transport): self.transport = transport
    def datagram_received(self, data, addr):
        self.n += 1
        self.transport.sendto(data, addr)
    def error_received(self, error): self.said.append(error)
    def pause_writing(self): self.said.append("pause")
    def resume_writing(self): self.said.append("resume")

async def main():
    loop = asyncio.get_running_loop()
    transport, echo = await loop.create_datagram_endpoint(Echo, ("127.0.0.1", 0))
    transport.set_write_buffer_limits(high=HIGH)
    clients = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(3)]
    for client in clients:
        client.connect(transport.get_extra_info("sockname"))
        client.settimeout(30)
    for round in range(3):
        sizes = [10, 10, 10, 4, 20, 20, 1, 300, 300, 300]
        for client in clients:
            for size in sizes:
                client.send(b"x" * size)
        while echo.n < (round + 1) * 30 or transport.get_write_buffer_size():
            await asyncio.sleep(0.001)
        for client in clients:
            assert [len(client.recv(1000)) for _ in sizes] == sizes
    transport.close()
    for client in clients:
        client.close()
    assert EXPECTED, echo.said
    print("good")
loop = new_loop()
loop.run_until_complete(main())
loop.close()
"""


# What comes back when some of it may be lost, in place of the line above it.
STRICT = "assert [len(client.recv(1000)) for _ in sizes] == sizes"
LOSSY = """lost, got = sizes[:], True
            client.setblocking(False)
            while got:
                try:
                    lost.remove(len(client.recv(1000)))
                except BlockingIOError:
                    got = False
            assert len(lost) < len(sizes)"""


def run(tmp_path, library, high, expected, program=PROGRAM):
    source, built = tmp_path / "before.c", tmp_path / "before.so"
    source.write_text(library)
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", built, source], check=True)
    before = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(built)]))
    done = child(program.replace("HIGH", high).replace("EXPECTED", expected), timeout=60, LD_PRELOAD=before)
    assert done.stdout == "good\n", done.stderr


def test_a_socket_that_is_full_in_the_middle(tmp_path):
    run(tmp_path, FULL, "1 << 20", "echo.said == []")


def test_the_protocol_is_paused_once_for_all(tmp_path):
    run(tmp_path, FULL, "0", "echo.said and echo.said == ['pause', 'resume'] * (len(echo.said) // 2)")


@pytest.mark.parametrize("error", ["EINVAL", "EIO", "EMSGSIZE"])
def test_a_kernel_that_cuts_nothing(tmp_path, error):
    run(tmp_path, NO_SEGMENTS.replace("ERROR", error), "1 << 20", "echo.said == []")


def test_an_error_of_the_first_is_told_and_the_others_go(tmp_path):
    """Any other error belongs to one datagram: it is lost, as with sendto()."""
    run(tmp_path, NO_SEGMENTS.replace("ERROR", "EPERM"), "1 << 20", "{e.errno for e in echo.said} == {1}", PROGRAM.replace(STRICT, LOSSY))
