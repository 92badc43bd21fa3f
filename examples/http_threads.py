"""An HTTP server that uses every core of a free-threaded Python in one process: a loop and a server in each thread.

    python3.14t examples/http_threads.py [--port 8080] [--threads 4]
    wrk -c 64 -d 5s http://127.0.0.1:8080/

It answers GET and HEAD, keeps connections, and takes several requests at once.  `/` is plain text, `/thread` says which thread answers, `/work` computes a
little, which is where more cores help most.  Every thread listens at the same port (SO_REUSEPORT).  Ctrl-C ends it.
"""

import argparse
import asyncio
import hashlib
import os
import sys

from echo_threads import reserved

import asyncloop

LONGEST_HEAD = 16 * 1024
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 431: "Request Header Fields Too Large"}


def work():
    """A few tens of microseconds of Python, and some in C."""
    return hashlib.sha256(repr(sorted(i * 7919 % 101 for i in range(100))).encode()).hexdigest()


class Site:
    """One thread's answers."""

    def __init__(self, index):
        self.n_requests = 0
        self.pages = {b"/": lambda: "Hello from asyncloop\n", b"/thread": lambda: f"{index}\n", b"/work": lambda: work() + "\n"}

    def answer(self, head):
        """The status, the body and whether the connection is kept, for the head of a request."""
        self.n_requests += 1
        first, *lines = head.split(b"\r\n")
        words = first.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return 400, "", False, False
        method, path, version = words
        headers = {name.strip().lower(): value.strip().lower() for name, _, value in (line.partition(b":") for line in lines)}
        keep = headers.get(b"connection") == b"keep-alive" if version == b"HTTP/1.0" else headers.get(b"connection") != b"close"
        if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
            return 400, "no bodies here\n", False, False
        if method not in (b"GET", b"HEAD"):
            return 405, "", keep, False
        page = self.pages.get(path.partition(b"?")[0])
        return (404, "no such page\n", keep, method == b"HEAD") if page is None else (200, page(), keep, method == b"HEAD")


class HTTP(asyncio.Protocol):
    """One connection."""

    def __init__(self, site):
        self.site = site
        self.got = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.got += data
        while not self.transport.is_closing():
            head, end, rest = self.got.partition(b"\r\n\r\n")
            if not end:
                if len(head) > LONGEST_HEAD:
                    self.send(431, "", False, False)
                return
            self.got = rest
            self.send(*self.site.answer(head))

    def send(self, status, body, keep, is_head):
        lines = [f"HTTP/1.1 {status} {REASONS[status]}", "Content-Type: text/plain", f"Content-Length: {len(body)}"]
        if not keep:
            lines.append("Connection: close")
        head = "\r\n".join([*lines, "", ""])
        self.transport.write((head if is_head else head + body).encode("latin-1"))
        if not keep:
            self.transport.close()

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


async def serve(host, port, site):
    server = await asyncio.get_running_loop().create_server(lambda: HTTP(site), host, port, reuse_port=True)
    async with server:
        await server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="IPv4 address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="0: any that is free (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: one for each CPU")
    args = parser.parse_args()
    sites = [Site(i) for i in range(args.threads)]
    with_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    with reserved(args.host, args.port) as port:
        print(f"http://{args.host}:{port}/ in {args.threads} threads, {'with' if with_gil else 'without'} the GIL; Ctrl-C ends it", flush=True)
        try:
            asyncloop.run(lambda i: serve(args.host, port, sites[i]), threads=args.threads)
        except KeyboardInterrupt:
            pass
    for i, site in enumerate(sites):
        print(f"thread {i}: {site.n_requests} requests")


if __name__ == "__main__":
    main()
