"""`openssl s_client` and `openssl s_server` on the other end of asyncio's streams over TLS."""
import asyncio
import contextlib
import os
import re
import ssl
import tempfile

import pytest

import certs
import peers

pytestmark = pytest.mark.limit(120)
OPENSSL = peers.program("openssl")
VERSIONS = {"-tls1_2": ssl.TLSVersion.TLSv1_2, "-tls1_3": ssl.TLSVersion.TLSv1_3}
TRUST = ["-CAfile", certs.path("authority"), "-verify_return_error"]
# Both programs take some letters at the start of what they read for commands, so lines of many blocks have none.
LINE = b"0123456789" * 100 + b"\n"
LINES = 1000

version = pytest.mark.parametrize("version", VERSIONS)


def certificate(name):
    return ["-cert", certs.path(name), "-key", certs.path("key")]


class Openssl:
    """The command with its input and output, on the running loop."""

    def __init__(self, *words):
        self.words = [str(word) for word in words]
        self.output = b""

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            OPENSSL, *self.words, env=peers.environment(), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT)
        return self

    async def __aexit__(self, *exc):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.communicate()

    async def say(self, text):
        self.process.stdin.write(text if isinstance(text, bytes) else text.encode() + b"\n")
        await self.process.stdin.drain()

    async def hear(self, pattern, times=1):
        """Reads on until the pattern has been seen that often since the last call; returns the last match."""
        def found():
            return list(re.finditer(pattern, self.output, re.MULTILINE))

        async with asyncio.timeout(peers.LONG):
            while len(matches := found()) < times:
                piece = await self.process.stdout.read(1 << 16)
                assert piece, f"the end instead of {pattern}: {self.output[-2000:]}"
                self.output += piece
        self.output = self.output[matches[-1].end():]
        return matches[-1]

    async def end(self):
        """Its exit status, and what it wrote in the end."""
        async with asyncio.timeout(peers.LONG):
            self.output += await self.process.stdout.read()
            return await self.process.wait(), self.output.decode()


# ---- openssl s_client with our server


class Server:
    """Echoes each line; "bye" ends the connection from this side."""

    def __init__(self, context):
        self.context = context
        self.seen = []
        self.ended = asyncio.Event()

    async def serve(self, reader, writer):
        of = writer.get_extra_info
        tls = of("ssl_object")
        self.seen.append({"subject": dict(pair for rdn in (of("peercert") or {}).get("subject", ()) for pair in rdn).get("commonName"),
                          "version": tls.version(), "alpn": tls.selected_alpn_protocol(), "reused": tls.session_reused})
        try:
            while (line := await reader.readline()) not in (b"", b"bye\n"):
                writer.write(line)
                await writer.drain()
            self.seen[-1]["last"] = line
            writer.close()
            await writer.wait_closed()
        except ssl.SSLError as exc:
            self.seen[-1]["last"] = exc.reason
        self.ended.set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.context)
        self.connect = ["-connect", "127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]]
        return self

    async def __aexit__(self, *exc):
        self.server.close()
        await self.server.wait_closed()


@version
@pytest.mark.parametrize("named", [None, "client"], ids=["anonymous", "certificate"])
def test_s_client_talks_and_quits(run, version, named):
    async def main():
        context = certs.server_context(clients=ssl.CERT_OPTIONAL, alpn=["two", "one"])
        async with Server(context) as server:
            words = ["-verify_hostname", "localhost", "-alpn", "one", *(certificate(named) if named else ())]
            async with Openssl("s_client", "-brief", version, *TRUST, *words, *server.connect) as client:
                await client.hear(rb"Verification: OK")
                for n in range(10):
                    await client.say(f"line {n}")
                    await client.hear(rb"^line %d$" % n)
                await client.say("Q")
                status, _ = await client.end()
            await asyncio.wait_for(server.ended.wait(), peers.LONG)
            return status, server.seen

    assert run(main) == (0, [{"subject": named, "version": VERSIONS[version].name.replace("_", "."), "alpn": "one", "reused": False, "last": b""}])


@version
@pytest.mark.parametrize("sizes", [[], ["-max_send_frag", "512"]], ids=["records", "small_records"])
def test_s_client_sends_much(run, version, sizes):
    async def main():
        async with Server(certs.server_context()) as server, \
                Openssl("s_client", "-brief", version, *TRUST, *sizes, *server.connect) as client:
            await client.hear(rb"Verification: OK")
            await asyncio.gather(client.say(LINE * LINES), client.hear(rb"^(0123456789){100}\n", times=LINES))
            await client.say("Q")
            return (await client.end())[0]

    assert run(main) == 0


@version
def test_s_client_hears_close_notify(run, version):
    async def main():
        async with Server(certs.server_context()) as server, Openssl("s_client", "-brief", "-msg", version, *TRUST, *server.connect) as client:
            await client.hear(rb"Verification: OK")
            await client.say("1")
            await client.hear(rb"^1$")
            await client.say("bye")
            await client.hear(rb"^<<<.*Alert.*warning close_notify")
            status, _ = await client.end()
            await asyncio.wait_for(server.ended.wait(), peers.LONG)
            return status, server.seen[0]["last"]

    assert run(main) == (0, b"bye\n")


def test_s_client_updates_its_keys(run):
    async def main():
        async with Server(certs.server_context()) as server, Openssl("s_client", "-brief", "-msg", "-tls1_3", *TRUST, *server.connect) as client:
            await client.hear(rb"Verification: OK")
            for n in range(10):
                await client.say("K" if n % 2 else "k")  # with and without asking the same of us
                await client.hear(rb"^>>>.*KeyUpdate")
                await client.say(f"{n}")
                if n % 2:
                    await client.hear(rb"^<<<.*KeyUpdate")  # ours, before the answer
                await client.hear(rb"^%d$" % n)
            await client.say("Q")
            return (await client.end())[0]

    assert run(main) == 0


def test_s_client_may_not_renegotiate(run):
    async def main():
        async with Server(certs.server_context()) as server, Openssl("s_client", "-brief", "-tls1_2", *TRUST, *server.connect) as client:
            await client.hear(rb"Verification: OK")
            await client.say("1")
            await client.hear(rb"^1$")
            await client.say("R")
            status, output = await client.end()
            await asyncio.wait_for(server.ended.wait(), peers.LONG)
            return status, "no renegotiation" in output, server.seen[0]["last"]

    status, refused, last = run(main)
    assert (status, refused) == (1, True) and last.endswith("ALERT_HANDSHAKE_FAILURE")  # s_client's answer to the refusal


@version
def test_s_client_resumes_its_session(run, version):
    async def main():
        async with Server(certs.server_context()) as server:
            with tempfile.TemporaryDirectory() as folder:
                session = os.path.join(folder, "session")
                for words in (["-sess_out", session], ["-sess_in", session]):
                    async with Openssl("s_client", version, *TRUST, *words, *server.connect) as client:
                        await client.say("1")
                        await client.hear(rb"^1$")
                        await client.say("Q")
                        assert (await client.end())[0] == 0
            return [seen["reused"] for seen in server.seen]

    assert run(main) == [False, True]


@version
def test_s_client_without_the_certificate(run, version):
    async def main():
        async with Server(certs.server_context(clients=ssl.CERT_REQUIRED)) as server, \
                Openssl("s_client", "-brief", version, *TRUST, *server.connect) as client:
            status, _ = await client.end()
            return status, server.seen

    assert run(main) == (1, [])


@pytest.mark.parametrize("name, words", [("expired", []), ("self_signed", []), ("elsewhere", ["-verify_hostname", "localhost"])])
def test_s_client_refuses_our_certificate(run, name, words):
    async def main():
        async with Server(certs.server_context(name)) as server, Openssl("s_client", "-brief", *TRUST, *words, *server.connect) as client:
            status, output = await client.end()
            return status, "certificate verify failed" in output, server.seen

    assert run(main) == (1, True, [])


# ---- openssl s_server with our client


def s_server(*words, name="server"):
    return Openssl("s_server", "-accept", "127.0.0.1:0", "-naccept", "1", *certificate(name), *words)


async def connect(server, context, **options):
    port = await server.hear(rb"^ACCEPT 127\.0\.0\.1:(\d+)$")
    return await asyncio.open_connection("127.0.0.1", int(port[1]), ssl=context, **options)


async def closed(writer):
    writer.close()
    await writer.wait_closed()


async def exchange(server, reader, writer, times=5):
    for n in range(times):
        writer.write(b"to the server %d\n" % n)
        await server.hear(rb"^to the server %d$" % n)
        await server.say(f"0 to the client {n}")
        assert await reader.readline() == b"0 to the client %d\n" % n


@peers.without_control
def test_engine(run):
    """Which of the two is at work: with another one than these tests are meant for they would show nothing."""
    async def main():
        async with s_server() as server:
            _, writer = await connect(server, certs.client_context())
            engine = writer.transport._ssl_protocol._engine
            await closed(writer)
            return engine

    assert run(main) == os.environ.get("ASYNCLOOP_TLS", "direct")


@version
@pytest.mark.parametrize("groups", [[], ["-groups", "P-384"]], ids=["first_group", "hello_retry"])
def test_s_server_talks_and_we_close(run, version, groups):
    async def main():
        async with s_server(version, *groups) as server:
            reader, writer = await connect(server, certs.client_context())
            assert writer.get_extra_info("ssl_object").version() == VERSIONS[version].name.replace("_", ".")
            await exchange(server, reader, writer)
            await closed(writer)
            await server.hear(rb"^CONNECTION CLOSED$")
            return (await server.end())[0]

    assert run(main) == 0


@version
@pytest.mark.parametrize("sizes", [[], ["-max_send_frag", "512"]], ids=["records", "small_records"])
def test_s_server_sends_and_hears_much(run, version, sizes):
    async def main():
        async with s_server("-quiet", version, *sizes) as quiet:
            # -quiet leaves nothing but the data, not even the port: its socket tells
            reader, writer = await asyncio.open_connection("127.0.0.1", await port_of(quiet.process.pid), ssl=certs.client_context())
            _, data = await asyncio.gather(quiet.say(LINE * LINES), reader.readexactly(len(LINE) * LINES))
            assert data == LINE * LINES
            writer.write(data)
            await asyncio.gather(writer.drain(), quiet.hear(rb"^(0123456789){100}\n", times=LINES))
            await closed(writer)
            return (await quiet.end())[0]

    assert run(main) == 0


async def port_of(pid):
    """The port at which that process listens."""
    async with asyncio.timeout(peers.LONG):
        while True:
            inodes = peers.sockets(pid)
            with open("/proc/net/tcp") as table:
                for line in table.readlines()[1:]:
                    fields = line.split()
                    if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                        return int(fields[1].split(":")[1], 16)
            await asyncio.sleep(0.01)


@version
def test_s_server_sends_close_notify(run, version):
    async def main():
        async with s_server(version) as server:
            reader, writer = await connect(server, certs.client_context())
            await exchange(server, reader, writer)
            await server.say("q")  # ends this connection
            assert await asyncio.wait_for(reader.read(), peers.LONG) == b""
            await closed(writer)
            return (await server.end())[0]

    assert run(main) == 0


def test_s_server_updates_its_keys(run):
    async def main():
        async with s_server("-tls1_3", "-msg") as server:
            reader, writer = await connect(server, certs.client_context())
            for n in range(10):
                await server.say("K" if n % 2 else "k")
                await server.hear(rb"^>>>.*KeyUpdate")
                await exchange(server, reader, writer, 1)
            await closed(writer)
            return (await server.end())[0]

    assert run(main) == 0


def test_s_server_renegotiates(run):
    async def main():
        async with s_server("-tls1_2", "-msg") as server:
            reader, writer = await connect(server, certs.client_context())
            await exchange(server, reader, writer)
            await server.say("r")
            await server.hear(rb"^<<<.*Finished")
            await exchange(server, reader, writer)
            await closed(writer)
            return (await server.end())[0]

    assert run(main) == 0


@version
@pytest.mark.parametrize("named", [None, "client", "strange_client"])
def test_s_server_wants_a_certificate(run, version, named):
    async def main():
        async with s_server(version, "-Verify", "1", *TRUST) as server:
            try:
                reader, writer = await connect(server, certs.client_context(named))
                await exchange(server, reader, writer)
            except (ssl.SSLError, ConnectionError, AssertionError) as exc:
                return type(exc), None
            await closed(writer)
            status, output = await server.end()
            return None, status

    error, status = run(main)
    assert (error, status) == (None, 0) if named == "client" else error is not None


@pytest.mark.parametrize("name, why", [("expired", "certificate has expired"), ("elsewhere", "IP address mismatch"), ("self_signed", "self-signed")])
def test_certificate_of_s_server_is_refused(run, name, why):
    async def main():
        async with s_server(name=name) as server:
            with pytest.raises(ssl.SSLCertVerificationError, match=why):
                await connect(server, certs.client_context())

    run(main)


def test_portable_engine(by_portable_engine):
    by_portable_engine()
