"""Twisted, unmodified, on its asyncioreactor: the reactor is the loop's, and Deferreds and futures wait for each other."""
import pytest

import peers
import programs

peers.apps("twisted")

pytestmark = pytest.mark.limit(120)

PROGRAM = """
import chosen
import asyncio, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Twisted's, about its own transports
from twisted.internet import asyncioreactor
loop = asyncio.new_event_loop()
asyncioreactor.install(loop)
from twisted.internet import defer, endpoints, error, protocol, reactor, task, threads
from twisted.protocols import basic
from twisted.web import client, resource, server


class Lines(basic.LineReceiver):
    def lineReceived(self, line):
        self.sendLine(line.upper())

    def connectionLost(self, reason):
        lost.append(reason.type.__name__)


class Asks(basic.LineReceiver):
    def connectionMade(self):
        self.got, self.all = [], defer.Deferred()
        for n in range(1000):
            self.sendLine(b"line %d" % n)

    def lineReceived(self, line):
        self.got.append(line)
        if len(self.got) == 1000:
            self.transport.loseConnection()

    def connectionLost(self, reason):
        self.all.callback(self.got)


class Page(resource.Resource):
    isLeaf = True

    def render_GET(self, request):
        def end():
            request.write(b"x" * 500_000)
            request.finish()
        reactor.callLater(0.001, end)
        return server.NOT_DONE_YET


class Datagrams(protocol.DatagramProtocol):
    def datagramReceived(self, data, address):
        if data.startswith(b"ask"):
            self.transport.write(b"answer", address)
        else:
            answered.callback(data)


class Child(protocol.ProcessProtocol):
    def __init__(self):
        self.ended, self.said = defer.Deferred(), b""

    def connectionMade(self):
        self.transport.write(b"to the child")
        self.transport.closeStdin()

    def outReceived(self, data):
        self.said += data

    def processEnded(self, reason):
        self.ended.callback((self.said, reason.value.exitCode))


lost, answered = [], defer.Deferred()


async def in_asyncio(n):
    chosen.check()
    await asyncio.sleep(0.001)
    return n * 2


async def main(reactor):
    listening = await endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(protocol.Factory.forProtocol(Lines))
    point = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", listening.getHost().port)
    asking = await endpoints.connectProtocol(point, Asks())
    got = await asking.all
    print(len(got), got[-1])
    await listening.stopListening()
    web = reactor.listenTCP(0, server.Site(Page()), interface="127.0.0.1")
    agent = client.Agent(reactor, pool=client.HTTPConnectionPool(reactor, persistent=False))
    bodies = await defer.gatherResults([defer.ensureDeferred(fetch(agent, web.getHost().port)) for _ in range(5)])
    print(bodies)
    await web.stopListening()
    ear = reactor.listenUDP(0, Datagrams(), interface="127.0.0.1")
    mouth = reactor.listenUDP(0, Datagrams(), interface="127.0.0.1")
    mouth.write(b"ask", ("127.0.0.1", ear.getHost().port))
    print(await answered)
    await ear.stopListening()
    await mouth.stopListening()
    print(await threads.deferToThread(sum, [1, 2, 3]))
    print(await defer.Deferred.fromFuture(asyncio.ensure_future(in_asyncio(4))))

    async def awaits():
        return await task.deferLater(reactor, 0.001, lambda: "a deferred").asFuture(loop)

    print(await defer.Deferred.fromFuture(asyncio.ensure_future(awaits())))
    child = Child()
    reactor.spawnProcess(child, sys.executable, [sys.executable, "-c", "import sys; print(sys.stdin.read()[::-1], end=''); sys.exit(3)"])
    print(await child.ended)
    try:
        await endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", 1, timeout=30).connect(protocol.Factory.forProtocol(Lines))
    except error.ConnectionRefusedError as exc:
        print(type(exc).__name__)
    clock, ticks = defer.Deferred(), []

    def tick():
        ticks.append(1)
        if len(ticks) == 3:
            call.stop()

    call = task.LoopingCall(tick)
    await call.start(0.001)
    later = reactor.callLater(3600, print, "never")
    later.delay(1)
    later.cancel()
    waits = defer.Deferred()
    reactor.callLater(0.001, waits.cancel)
    try:
        await waits
    except defer.CancelledError:
        print("cancelled", len(ticks))
    print(lost)


async def fetch(agent, port):
    response = await agent.request(b"GET", b"http://127.0.0.1:%d/" % port)
    return len(await client.readBody(response))


task.react(lambda reactor: defer.ensureDeferred(main(reactor)))
"""


def test_twisted(tmp_path):
    assert programs.compare(tmp_path, PROGRAM).splitlines() == [
        "1000 b'LINE 999'", str([500_000] * 5), "b'answer'", "6", "8", "a deferred", "(b'dlihc eht ot', 3)", "ConnectionRefusedError", "cancelled 3",
        "['ConnectionDone']"]
