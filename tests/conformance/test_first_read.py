"""Accepted connections whose first bytes are there already: our loop reads them before its poller hears of the connection."""
import asyncio
import os
import socket

import pytest

from kits import until
from sidebyside import OURS, same
from test_server import on, serve
from test_tcp import Buffered, Recorder, receive_all


class Talkative(Recorder):
    """Says what comes in, too: here it comes in pieces that are known."""

    def data_received(self, data):
        super().data_received(data)
        self.say("data", data)


async def accepted(server, protocols, *said):
    """A socket for each of `said`, which has been sent before the loop could accept; their protocols."""
    peers = []
    for data in said:
        peers.append(socket.create_connection(server.sockets[0].getsockname()))
        peers[-1].settimeout(10)
        peers[-1].sendall(data)
    await until(lambda: len(protocols) >= len(said) and all(p.transport for p in protocols))
    return peers


def close_all(peers):
    for peer in peers:
        peer.close()


async def served(make, *said):
    """A server of make()'s protocols with a connection for each of `said`."""
    protocols = []
    server, _ = await serve(lambda: protocols.append(make()) or protocols[-1])
    return server, protocols, await accepted(server, protocols, *said)


async def ended(server, protocols, peers):
    close_all(peers)
    await until(lambda: all(p.lost for p in protocols))
    server.close()


@same
def test_each_connection_gets_its_bytes_once(t):
    async def main():
        said = [b"%d" % i * 2000 for i in range(10)]
        server, protocols, peers = await served(Recorder, *said)
        await until(lambda: all(len(p.data) == 2000 for p in protocols))
        t.say(sorted(p.data for p in protocols) == said)
        for peer in peers:
            peer.sendall(b"more")
        await until(lambda: all(p.data.endswith(b"more") for p in protocols))
        await ended(server, protocols, peers)
        t.say([len(p.data) for p in protocols], [p.eof for p in protocols])
    t.run(main())


@same
def test_what_connection_made_schedules_runs_before_the_bytes_come(t):
    class Scheduling(Talkative):
        def connection_made(self, transport):
            super().connection_made(transport)
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: self.say("scheduled", self.data))

    async def main():
        server, protocols, peers = await served(lambda: Scheduling(t.say), b"early")
        await until(lambda: protocols[0].data)
        await ended(server, protocols, peers)
    t.run(main())


@same
def test_paused_in_connection_made(t):
    class Paused(Talkative):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async def main():
        server, protocols, peers = await served(lambda: Paused(t.say), b"early")
        await asyncio.sleep(0.02)
        t.say(protocols[0].data, protocols[0].transport.is_reading())
        protocols[0].transport.resume_reading()
        await until(lambda: protocols[0].data)
        await ended(server, protocols, peers)
    t.run(main())


@same
def test_paused_and_resumed_before_the_first_read(t):
    class Wavering(Talkative):
        def connection_made(self, transport):
            super().connection_made(transport)
            asyncio.get_running_loop().call_soon(self.waver)

        def waver(self):
            self.transport.pause_reading()
            self.transport.resume_reading()

    async def main():
        server, protocols, peers = await served(lambda: Wavering(t.say), b"early")
        await until(lambda: protocols[0].data)
        peers[0].sendall(b"late")
        await until(lambda: protocols[0].data == b"earlylate")
        await ended(server, protocols, peers)
    t.run(main())


@same
def test_another_protocol_before_the_first_read(t):
    buffered = Buffered(t.say)

    class Switching(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.set_protocol(buffered)

    async def main():
        server, protocols, peers = await served(Switching, b"early")
        await until(lambda: buffered.data)
        t.say(buffered.data, protocols[0].data)
        close_all(peers)
        await until(lambda: buffered.lost)
        server.close()
    t.run(main())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_ended_before_the_first_read(kit, end):
    class Short(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            asyncio.get_running_loop().call_soon(getattr(transport, end))

    async def main():
        server, protocols, peers = await served(Short, b"early")
        await until(lambda: protocols[0].lost)
        assert protocols[0].data == b""
        await ended(server, protocols, peers)
    on(kit, main)


@same
def test_the_peer_has_gone_already(t):
    async def main():
        protocols = []
        server, address = await serve(lambda: protocols.append(Talkative(t.say)) or protocols[-1])
        with socket.create_connection(address) as peer:
            peer.sendall(b"all of it")
        await until(lambda: protocols and protocols[0].lost)
        server.close()
    t.run(main())


def test_who_speaks_first_is_the_server(kit):
    """Nothing is there to be read: the poller is asked, and tells what comes later; some connections later both work on one loop."""
    class Greeting(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"220 ready\r\n")

    async def main():
        protocols = []
        server, address = await serve(lambda: protocols.append(Greeting()) or protocols[-1])
        for i in range(80):
            reader, writer = await asyncio.open_connection(*address)
            assert await reader.readline() == b"220 ready\r\n"
            writer.write(b"EHLO\r\n")
            await until(lambda: protocols[i].data == b"EHLO\r\n")
            writer.close()
            await writer.wait_closed()
        peers = await accepted(server, protocols, *[b"early"] * 40)
        await until(lambda: sum(p.data == b"early" for p in protocols) == 40)
        await ended(server, protocols, peers)
    on(kit, main)


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_reading_goes_on_after_the_loop_was_left(loop, exception):
    class Leaving(Recorder):
        def data_received(self, data):
            super().data_received(data)
            if data == b"leave":
                raise exception

    protocols = []
    server, address = loop.run_until_complete(serve(lambda: protocols.append(Leaving()) or protocols[-1]))
    with socket.create_connection(address) as peer:
        peer.sendall(b"leave")
        with pytest.raises(exception):
            loop.run_until_complete(asyncio.sleep(30))
        peer.sendall(b"back")
        loop.run_until_complete(until(lambda: protocols[0].data == b"leaveback"))
        loop.run_until_complete(ended(server, protocols, [peer]))


@same
def test_a_protocol_that_fails_at_the_first_bytes(t):
    class Failing(Talkative):
        def data_received(self, data):
            super().data_received(data)
            raise ValueError("no")

    async def main():
        t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], context["exception"]))
        server, protocols, peers = await served(lambda: Failing(t.say), b"early")
        await until(lambda: protocols[0].lost)
        await ended(server, protocols, peers)
    t.run(main())


def test_a_reader_gets_its_first_bytes(kit):
    """A reader, whose protocol is written in C, gets the first bytes as any protocol."""
    async def main():
        async def echo(reader, writer):
            while data := await reader.read(100):
                writer.write(data)
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        for _ in range(5):
            with socket.create_connection(server.sockets[0].getsockname()) as peer:
                peer.sendall(b"early")
                peer.shutdown(socket.SHUT_WR)
                assert await asyncio.get_running_loop().run_in_executor(None, receive_all, peer) == b"early"
        server.close()
    on(kit, main)


def test_the_poller_does_not_hear_of_short_connections(tmp_path):
    """A connection that ends with its first read: accepted, read, answered, closed, and no epoll_ctl for it."""
    class Once(Recorder):
        def data_received(self, data):
            self.transport.write(data)
            self.transport.close()

    async def main():
        protocols = []
        server, address = await serve(lambda: protocols.append(Once()) or protocols[-1])
        before = watched()
        seen = []
        peers = await accepted(server, protocols, b"early")
        seen.append(watched() - before)
        await until(lambda: protocols[0].lost)
        assert peers[0].recv(100) == b"early"
        close_all(peers)
        server.close()
        assert seen == [0]

    def watched():
        """How many descriptors the loop's epoll watches."""
        for fd in os.listdir("/proc/self/fdinfo"):
            try:
                with open(f"/proc/self/fdinfo/{fd}") as file:
                    lines = [line for line in file if line.startswith("tfd:")]
            except OSError:
                continue
            if lines:
                return len(lines)
        return 0
    on(OURS, main)
