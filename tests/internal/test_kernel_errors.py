"""The kernel says ENOMEM, ENOBUFS and the like: each is an OSError, as on asyncio, and MemoryError is for memory of the process alone.

A library put before libc's calls makes one of them fail, in a child process.
"""
import errno
import shutil
import subprocess

import pytest

from sidebyside import ORACLE, OURS, child

COMPILER = shutil.which("cc") or shutil.which("gcc")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler, which makes the library that is put before libc")

CALLS = ["send", "sendto", "sendmsg", "sendmmsg", "recv", "recvfrom", "recvmmsg", "accept4", "epoll_ctl", "epoll_create1", "epoll_wait", "connect", "shutdown",
         "pipe2", "eventfd", "read", "write", "writev"]

LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>

static const char *armed = "";
static int code;
/* The next call of one of these, by names with blanks between them, fails. */
void fault_arm(const char *names, int error) { armed = names; code = error; }
static int fault(const char *name)
{
    const char *at = strstr(armed, name);
    char before = at == 0 || at == armed ? ' ' : at[-1], after = at == 0 ? 0 : at[strlen(name)];
    if (before != ' ' || (after != ' ' && after != 0) || at == 0)
        return 0;
    armed = "";
    errno = code;
    return 1;
}
#define CALL(name)                                                                            \
    long name(long a, long b, long c, long d, long e, long f)                                 \
    {                                                                                         \
        static long (*real)(long, long, long, long, long, long);                              \
        if (real == 0)                                                                        \
            *(void **)&real = dlsym(RTLD_NEXT, #name);                                        \
        return fault(#name) ? -1 : real(a, b, c, d, e, f);                                    \
    }
CALLS
/* Some are called by their number. */
long syscall(long number, ...)
{
    static long (*real)(long, ...);
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (real == 0)
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    if ((number == SYS_recvfrom && fault("recv")) || (number == SYS_sendto && fault("send")) || (number == 441 && fault("epoll_wait")))
        return -1;
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
"""

PROGRAM = """
import ctypes, gc, logging, socket, warnings
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
library = ctypes.CDLL(None)
loop = new_loop()
said = []
def report(loop, context): said.append(("reported", context["message"].split("\\n")[0], repr(context.get("exception"))))
loop.set_exception_handler(report)

class Protocol(asyncio.DatagramProtocol):
    def connection_made(self, transport): self.transport = transport
    def datagram_received(self, data, addr): said.append(data)
    def data_received(self, data): said.append(data)
    def error_received(self, exc): said.append(("error", repr(exc)))
    def connection_lost(self, exc): said.append(("lost", repr(exc)))

async def pair():
    a, b = socket.socketpair()
    b.setblocking(False)
    transport, _ = await loop.create_connection(Protocol, sock=a)
    return transport, b

async def attempt(awaitable):
    try:
        result = await awaitable
        said.append(("fine", type(result).__name__))
        return result
    except BaseException as exc:
        said.append(("raised", repr(exc)))

def attempt_call(call, *args):
    try:
        call(*args)
    except BaseException as exc:
        said.append(("raised", repr(exc)))

async def a_send():
    for data in (b"x", b"x" * 200_000, bytearray(b"x"), bytearray(200_000)):
        for n in (1, 2):
            transport, peer = await pair()
            library.fault_arm(b"send sendmsg", {code})
            for _ in range(n): transport.write(data)
            await asyncio.sleep(0.01)
            transport.abort(); peer.close()

async def a_receive():
    transport, peer = await pair()
    library.fault_arm(b"recv", {code})
    peer.send(b"x")
    await asyncio.sleep(0.02)
    transport.abort(); peer.close()

async def a_datagram_sent():
    receiver = socket.socket(type=socket.SOCK_DGRAM); receiver.bind(("127.0.0.1", 0))
    transport, _ = await loop.create_datagram_endpoint(Protocol, ("127.0.0.1", 0))
    library.fault_arm(b"sendto", {code})
    transport.sendto(b"1", receiver.getsockname())
    library.fault_arm(b"", 0)
    transport.sendto(b"2", receiver.getsockname())
    await asyncio.sleep(0.02)
    said.append((receiver.recv(9), transport.is_closing()))
    transport.abort(); receiver.close()

async def a_datagram_received():
    transport, _ = await loop.create_datagram_endpoint(Protocol, ("127.0.0.1", 0))
    sender = socket.socket(type=socket.SOCK_DGRAM)
    library.fault_arm(b"recvfrom recvmmsg", {code})
    for _ in range(2):
        sender.sendto(b"x", transport.get_extra_info("sockname"))
        await asyncio.sleep(0.02)
        said.append(transport.is_closing())
    transport.abort(); sender.close()

async def an_accept():
    # asyncio says it in other words than ours, or goes on accepting at once: what counts is the exception.
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append(context.get("exception")))
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    library.fault_arm(b"accept4", {code})
    client = socket.create_connection(server.sockets[0].getsockname())
    await asyncio.sleep(0.02)
    said.append(repr(seen))
    loop.set_exception_handler(report)
    server.close(); client.close()

async def the_poller():
    a, b = socket.socketpair()
    library.fault_arm(b"epoll_ctl", {code})
    attempt_call(loop.add_reader, a, print)
    loop.remove_reader(a)
    a.close(); b.close()

async def a_pipe():
    read, write = os.pipe()
    reading, _ = await loop.connect_read_pipe(Protocol, open(read, "rb", 0))
    writing, _ = await loop.connect_write_pipe(Protocol, open(write, "wb", 0))
    library.fault_arm(b"read", {code})
    os.write(write, b"x")
    await asyncio.sleep(0.02)
    library.fault_arm(b"write writev", {code})
    writing.write(b"x")
    await asyncio.sleep(0.02)
    reading.close(); writing.is_closing() or writing.abort()

async def the_socks():
    a, b = socket.socketpair()
    a.setblocking(False)
    library.fault_arm(b"recv", {code})
    await attempt(loop.sock_recv(a, 10))
    library.fault_arm(b"recv", {code})
    await attempt(loop.sock_recv_into(a, bytearray(10)))
    library.fault_arm(b"send", {code})
    await attempt(loop.sock_sendall(a, b"x"))
    a.close(); b.close()
    server = socket.create_server(("127.0.0.1", 0)); server.setblocking(False)
    client = socket.socket(); client.setblocking(False)
    library.fault_arm(b"connect", {code})
    await attempt(loop.sock_connect(client, server.getsockname()))
    await attempt(loop.sock_connect(client, server.getsockname()))
    library.fault_arm(b"accept4", {code})
    await attempt(asyncio.wait_for(loop.sock_accept(server), 10))
    client.close(); server.close()

async def the_datagram_socks():
    a = socket.socket(type=socket.SOCK_DGRAM); a.bind(("127.0.0.1", 0)); a.setblocking(False)
    library.fault_arm(b"sendto", {code})
    await attempt(loop.sock_sendto(a, b"x", a.getsockname()))
    a.sendto(b"x", a.getsockname())
    library.fault_arm(b"recvfrom", {code})
    await attempt(asyncio.wait_for(loop.sock_recvfrom(a, 10), 10))
    a.close()

async def a_child():
    library.fault_arm(b"pipe2", {code})
    await attempt(asyncio.create_subprocess_exec("true", stdin=-1))

async def write_eof():
    transport, peer = await pair()
    library.fault_arm(b"shutdown", {code})
    attempt_call(transport.write_eof)
    transport.abort(); peer.close()

for scenario in (a_send, a_receive, a_datagram_sent, a_datagram_received, an_accept, the_poller, a_pipe, the_socks, the_datagram_socks, a_child, write_eof):
    said.append(scenario.__name__)
    loop.run_until_complete(scenario())
    library.fault_arm(b"", 0)
    loop.run_until_complete(asyncio.sleep(0.01))
loop.close()
library.fault_arm(b"epoll_create1", {code})
attempt_call(new_loop)
for line in said: print(line)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    where = tmp_path_factory.mktemp("faults")
    source, made = where / "faults.c", where / "faults.so"
    calls = "\n".join(f"CALL({name})" for name in CALLS)
    source.write_text(LIBRARY.replace("\nCALLS\n", f"\n{calls}\n"))
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-fno-builtin", "-o", made, source, "-ldl"], check=True)
    return str(made)


def told(kit, library, code):
    done = child(PROGRAM.replace("{code}", str(code)), kit, LD_PRELOAD=library)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", ["ENOMEM", "ENOBUFS", "EIO"])
def test_errors_of_the_kernel(library, name):
    code = getattr(errno, name)
    got = told(OURS, library, code)
    assert not [line for line in got if "MemoryError" in line]
    assert got == told(ORACLE, library, code)
