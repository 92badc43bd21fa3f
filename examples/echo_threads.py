"""An echo server that uses every core of a free-threaded Python in one process: a loop and a server in each thread.

    python3.14t examples/echo_threads.py [--port 8888] [--threads 4]

Every thread's server listens at the same port (SO_REUSEPORT), and the kernel gives each new connection to one of them.  A connection stays in its thread, so
nothing here needs a lock.  With the GIL it works as well, but no faster than one loop.  Ctrl-C ends it.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import sys

import asyncloop


class Echo(asyncio.Protocol):
    """Sends back what comes in; counts in the list of its own thread."""

    def __init__(self, counts):
        self.counts = counts

    def connection_made(self, transport):
        self.transport = transport
        self.counts["connections"] += 1

    def data_received(self, data):
        self.counts["bytes"] += len(data)
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()  # a client that does not read gets no more

    def resume_writing(self):
        self.transport.resume_reading()


async def serve(host, port, counts):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Echo(counts), host, port, reuse_port=True)
    async with server:
        await server.serve_forever()


@contextlib.contextmanager
def reserved(host, port):
    """The port, or a free one for 0.  The socket that holds it does not listen, so it gets no connections."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host, port))
        yield holder.getsockname()[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="IPv4 address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8888, help="0: any that is free (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: one for each CPU")
    args = parser.parse_args()
    counts = [{"connections": 0, "bytes": 0} for _ in range(args.threads)]
    with_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    with reserved(args.host, args.port) as port:
        print(f"echo on {args.host}:{port} in {args.threads} threads, {'with' if with_gil else 'without'} the GIL; Ctrl-C ends it", flush=True)
        try:
            asyncloop.run(lambda i: serve(args.host, port, counts[i]), threads=args.threads)
        except KeyboardInterrupt:
            pass
    for i, count in enumerate(counts):
        print(f"thread {i}: {count['connections']} connections, {count['bytes']} bytes")


if __name__ == "__main__":
    main()
