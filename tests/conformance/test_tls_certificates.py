"""Certificates: whoever is not whom we asked for is refused before a byte of data is exchanged, case by case.

`linked` is for connections that are to succeed; here each case has a reason why it must not.
"""
import asyncio
import re
import ssl

import pytest

import certs
from sidebyside import same
from tls_peers import VERSIONS, Peer, Recorder, fact, linked, of_side, run_quiet, socket_pair, soon, until


def checks_revocation(context):
    context.load_verify_locations(certs.path("crl"))
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def without_crl(context):
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


# name: (the server's certificate, the name we ask for, what is done to our context, what the exception says)
REFUSED = {
    "expired": ("expired", "localhost", None, "certificate has expired"),
    "not valid yet": ("future", "localhost", None, "not yet valid"),
    "for another host": ("elsewhere", "localhost", None, "Hostname mismatch"),
    "for another address": ("elsewhere", "127.0.0.1", None, "IP address mismatch"),
    "no name for that address": ("second", "127.0.0.1", None, "IP address mismatch"),
    "self-signed": ("self_signed", "localhost", None, "self.signed"),
    "of an unknown authority": ("strange_server", "localhost", None, "unable to get local issuer|self.signed"),
    "intermediate missing": ("unchained", "localhost", None, "unable to get local issuer"),
    "made for clients": ("wrong_purpose", "localhost", None, "purpose"),
    "revoked": ("revoked", "localhost", checks_revocation, "certificate revoked"),
    "no list to look it up": ("server", "localhost", without_crl, "CRL"),
    "wildcard of two labels": ("wildcard", "a.b.wild.example", None, "Hostname mismatch"),
    "wildcard of no label": ("wildcard", "wild.example", None, "Hostname mismatch"),
    "name with more behind it": ("server", "localhost.example", None, "Hostname mismatch"),
}

ACCEPTED = {
    "by name": ("server", "localhost", None),
    "by name in capitals": ("server", "LOCALHOST", None),
    "by address": ("server", "127.0.0.1", None),
    "by wildcard": ("wildcard", "any.wild.example", None),
    "through an intermediate": ("chained", "localhost", None),
    "not revoked": ("server", "localhost", checks_revocation),
}


def context_for(change, version):
    context = certs.client_context(version=VERSIONS[version])
    return change(context) if change else context


async def refused_client(name, hostname, change, version, protocol, by):
    """What comes of connecting to that server: the exception; by: create_connection or start_tls."""
    loop = asyncio.get_running_loop()
    a, b = socket_pair()
    ours = context_for(change, version)
    async with Peer(b, certs.server_context(name), True) as peer:
        if by == "create_connection":
            making = asyncio.ensure_future(of_side("client", protocol, a, ours=ours, server_hostname=hostname))
        else:
            transport, _ = await loop.create_connection(lambda: protocol, sock=a)
            making = asyncio.ensure_future(loop.start_tls(transport, protocol, ours, server_hostname=hostname))
        try:
            await peer.handshake()
            assert await peer.receive() == b"", "data after a refused handshake"
        except (ssl.SSLError, ConnectionError):
            pass
        try:
            await soon(making)
        except ssl.SSLCertVerificationError as exc:
            return exc
        finally:
            await peer.raw_end()
    raise AssertionError("connected")


@pytest.mark.parametrize("by", ["create_connection", "start_tls"])
@pytest.mark.parametrize("case", REFUSED)
def test_a_client_refuses(kit, loop, version, case, by):
    name, hostname, change, text = REFUSED[case]

    async def main():
        protocol = Recorder()
        exc = await refused_client(name, hostname, change, version, protocol, by)
        assert re.search(text, str(exc)), exc
        assert not protocol.data
        assert by == "start_tls" or protocol.transport is None, "connection_made in spite of it"
    run_quiet(loop, main())


@same
def test_the_exceptions_of_a_refusal_are_asyncios(t):
    async def main():
        for version in VERSIONS:
            for case in REFUSED:
                name, hostname, change, _ = REFUSED[case]
                exc = await refused_client(name, hostname, change, version, Recorder(), "create_connection")
                t.say(case, fact(exc), exc.verify_code, exc.verify_message, exc.reason, exc.library, exc.errno)
    t.loop.set_exception_handler(lambda loop, context: t.say(context["message"], fact(context["exception"])))
    t.run(main())


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_client_accepts(kit, loop, version, case):
    name, hostname, change = ACCEPTED[case]

    async def main():
        protocol = Recorder()
        transport, peer = await linked("client", protocol, ours=context_for(change, version), theirs=certs.server_context(name), server_hostname=hostname)
        async with peer:
            await peer.send(b"welcome")
            await until(lambda: protocol.data == b"welcome")
            transport.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


@pytest.mark.parametrize("case", ["expired", "self-signed", "of an unknown authority", "for another host"])
def test_no_check_is_made_when_the_context_asks_for_none(kit, loop, case):
    async def main():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        protocol = Recorder()
        transport, peer = await linked("client", protocol, ours=context, theirs=certs.server_context(REFUSED[case][0]))
        async with peer:
            assert transport.get_extra_info("peercert") == {}
            assert transport.get_extra_info("ssl_object").getpeercert(True)
            transport.abort()
            await until(lambda: protocol.lost)
    run_quiet(loop, main())


def test_only_the_chain_is_checked_without_check_hostname(kit, loop):
    async def main():
        for name, good in (("elsewhere", True), ("expired", False)):
            context = certs.client_context()
            context.check_hostname = False
            protocol = Recorder()
            if good:
                transport, peer = await linked("client", protocol, ours=context, theirs=certs.server_context(name))
                async with peer:
                    transport.abort()
                    await until(lambda: protocol.lost)
            else:
                exc = await refused_client(name, "localhost", lambda _, context=context: context, "TLSv1.3", protocol, "create_connection")
                assert "expired" in str(exc)
    run_quiet(loop, main())


# --- servers that ask clients for theirs

CLIENTS_REFUSED = {
    "none": (None, None),
    "expired": ("client_expired", None),
    "of an unknown authority": ("strange_client", None),
    "made for servers": ("server", None),
    "revoked": ("client_revoked", checks_revocation),
}


@pytest.mark.parametrize("mode", [ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL], ids=["required", "optional"])
@pytest.mark.parametrize("case", CLIENTS_REFUSED)
def test_a_server_refuses(kit, loop, version, case, mode):
    name, change = CLIENTS_REFUSED[case]
    if name is None and mode == ssl.CERT_OPTIONAL:
        name = "client_expired"  # none at all is allowed there; a wrong one is not

    async def main():
        a, b = socket_pair()
        ours = certs.server_context(clients=mode)
        if change:
            change(ours)
        protocol = Recorder()
        theirs = certs.client_context(name, version=VERSIONS[version])
        async with Peer(b, theirs) as peer:
            making = asyncio.ensure_future(of_side("server", protocol, a, ours=ours))
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await peer.handshake()
                await peer.send(b"am I in?")
                await peer.receive_exactly(1)
            with pytest.raises(ssl.SSLError):
                await soon(making)
            assert protocol.transport is None and not protocol.data
    run_quiet(loop, main())


def test_a_listening_server_refuses_and_goes_on(kit, loop, version):
    """create_server: the protocol of a refused client hears nothing, the next client is served."""
    async def main():
        protocols = []

        def factory():
            protocols.append(Recorder(on_data=lambda data: protocols[-1].transport.write(data.upper())))
            return protocols[-1]
        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=certs.server_context(clients=ssl.CERT_REQUIRED, version=VERSIONS[version]))
        address = server.sockets[0].getsockname()
        for name in ("strange_client", "client", None, "client_expired", "client"):
            writer = None
            try:
                reader, writer = await asyncio.open_connection(*address, ssl=certs.client_context(name), server_hostname="localhost")
                writer.write(b"hello")
                answer = await reader.readexactly(5)
            except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
                answer = None
            assert answer == (b"HELLO" if name == "client" else None)
            if writer:
                writer.close()
                try:
                    await writer.wait_closed()
                except (ssl.SSLError, ConnectionError):
                    pass
        assert sum(protocol.transport is not None for protocol in protocols) == 2
        server.close()
        await server.wait_closed()
    loop.set_exception_handler(lambda loop, context: None)
    loop.run_until_complete(asyncio.wait_for(main(), 30))
