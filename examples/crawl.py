"""Serves a small web site on loopback and crawls it, many pages at once: an ordinary asyncio program.

    python examples/crawl.py                  on asyncio's own loop
    python -m asyncloop examples/crawl.py     on asyncloop's, nothing changed

Prints a progress line, then how many pages were read, in how many seconds, on which loop.  Exits with status 1 when a page failed.
"""

import argparse
import asyncio
import random
import re
import sys
import time
import zlib

LINK = re.compile(rb'<a href="([^"]+)">')
WORDS = "loop task future timer socket stream buffer packet signal thread queue event".split()


class Site:
    """A generated site: page n links to a few others, and every page can be reached from page 0."""

    def __init__(self, n_pages, seed=1):
        rng = random.Random(seed)
        self.pages = {}
        for n in range(n_pages):
            links = {n // 2, (n + 1) % n_pages, 2 * n + 1, 2 * n + 2, *(rng.randrange(n_pages) for _ in range(5))}
            items = "\n".join(f'<li><a href="/page/{k}">{rng.choice(WORDS)} {k}</a></li>' for k in sorted(links) if k < n_pages)
            text = " ".join(rng.choices(WORDS, k=rng.randrange(100, 400)))
            body = f"<html><title>Page {n}</title><body><p>{text}</p>\n<ul>\n{items}\n</ul></body></html>\n".encode()
            self.pages[f"/page/{n}"] = body

    async def serve_client(self, reader, writer):
        """Answers requests on one connection until the client closes it or asks us to."""
        try:
            while True:
                request, headers = await read_head(reader)
                method, path, _ = request.split()
                body = self.pages.get(path) if method == "GET" else None
                status = "200 OK" if body is not None else "404 Not Found"
                body = body or b"no such page\n"
                close = headers.get("connection") == "close"
                lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"ETag: {zlib.crc32(body):08x}"]
                lines += ["Connection: close"] * close + ["\r\n"]
                writer.write("\r\n".join(lines).encode("ascii"))
                writer.write(body)
                await writer.drain()
                if close:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the client went away, or does not speak HTTP
        finally:
            writer.close()


async def read_head(reader):
    """The first line of a request or a response, and its headers."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return first, headers


class Connection:
    """One keep-alive connection to the server; reconnects when it has to."""

    def __init__(self, host, port):
        self.host, self.port = host, port
        self.reader = self.writer = None

    async def get(self, path):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode("ascii"))
        await self.writer.drain()
        status_line, headers = await read_head(self.reader)
        body = await self.reader.readexactly(int(headers["content-length"]))
        if status_line.split()[1] != "200":
            raise LookupError(f"{path}: {status_line}")
        if headers["etag"] != f"{zlib.crc32(body):08x}":
            raise ValueError(f"{path}: damaged on the way")
        return body

    async def close(self):
        if self.writer is not None:
            self.writer.close()
            try:
                await self.writer.wait_closed()
            except ConnectionError:
                pass
            self.writer = None


class Progress:
    """A line that is rewritten on a terminal; elsewhere a line now and then."""

    def __init__(self, total):
        self.total = total
        self.is_tty = sys.stderr.isatty()
        self.shown_at = 0.0

    def show(self, done, last=False):
        now = time.monotonic()
        if now - self.shown_at < (0.1 if self.is_tty else 1.0) and not (last and self.is_tty):
            return
        self.shown_at = now
        line = f"{done:6d} of {self.total} pages"
        print(f"\r{line}" if self.is_tty else line, end="\n" if last or not self.is_tty else "", file=sys.stderr, flush=True)


class Crawler:
    """Reads every page it can reach, `n_rounds` times over, with `n_workers` pages on their way at once."""

    def __init__(self, host, port, n_workers, timeout, progress):
        self.host, self.port, self.n_workers, self.timeout, self.progress = host, port, n_workers, timeout, progress
        self.n_read = self.n_bytes = 0
        self.failed = []

    async def crawl(self, start):
        queue = asyncio.Queue()
        seen = {start.encode("ascii")}
        queue.put_nowait(start)
        workers = [asyncio.create_task(self.work(queue, seen)) for _ in range(self.n_workers)]
        await queue.join()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def work(self, queue, seen):
        connection = Connection(self.host, self.port)
        try:
            while True:
                path = await queue.get()
                try:
                    body = await asyncio.wait_for(connection.get(path), self.timeout)
                except (OSError, EOFError, LookupError, ValueError) as exc:
                    self.failed.append((path, exc))
                    await connection.close()
                else:
                    self.n_read += 1
                    self.n_bytes += len(body)
                    self.progress.show(self.n_read)
                    for link in LINK.findall(body):
                        if link not in seen:
                            seen.add(link)
                            queue.put_nowait(link.decode("ascii"))
                finally:
                    queue.task_done()
        finally:
            await connection.close()


async def main(args):
    site = Site(args.pages)
    server = await asyncio.start_server(site.serve_client, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    progress = Progress(args.pages * args.rounds)
    crawler = Crawler(host, port, args.workers, args.timeout, progress)
    began, cpu_began = time.perf_counter(), time.process_time()
    async with server:
        for _ in range(args.rounds):
            await crawler.crawl("/page/0")
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    progress.show(crawler.n_read, last=True)
    loop = type(asyncio.get_running_loop())
    print(f"{crawler.n_read} pages ({crawler.n_bytes / 1e6:.1f} MB) in {seconds:.2f} s ({cpu:.2f} s of CPU) on {loop.__module__}.{loop.__qualname__}")
    for path, exc in crawler.failed:
        print(f"failed: {path}: {exc!r}", file=sys.stderr)
    missing = args.pages * args.rounds - crawler.n_read
    if missing:
        print(f"{missing} pages were not read", file=sys.stderr)
    return 1 if missing else 0


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=positive, default=500, help="pages of the site (default: %(default)s)")
    parser.add_argument("--rounds", type=positive, default=30, help="how often the site is crawled (default: %(default)s)")
    parser.add_argument("--workers", type=positive, default=50, help="pages fetched at once (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds a page may take (default: %(default)s)")
    sys.exit(asyncio.run(main(parser.parse_args())))
