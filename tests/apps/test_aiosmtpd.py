"""aiosmtpd, unmodified: a mail server on the loop, with STARTTLS; smtplib in threads sends to it."""
import asyncio
import smtplib
import warnings

import pytest

import certs
import peers

controller = peers.app("aiosmtpd.controller", "aiosmtpd")
smtp = peers.app("aiosmtpd.smtp", "aiosmtpd")
peers.program("openssl")  # makes the certificates

pytestmark = pytest.mark.limit(90)


class Box:
    def __init__(self):
        self.letters = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        await asyncio.sleep(0)
        if not address.endswith("@here"):
            return "550 not here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.letters.append((envelope.mail_from, envelope.rcpt_tos, session.ssl is not None, len(envelope.content)))
        return "250 taken"


def send(port, n, tls=True):
    with smtplib.SMTP("127.0.0.1", port, timeout=peers.LONG) as client:
        if tls:
            client.starttls(context=certs.client_context())
        return client.sendmail(f"{n}@there", [f"{n}@here", "nobody@elsewhere"], "Subject: it\r\n\r\n" + "line\r\n" * 1000 * n)


REFUSED = {"nobody@elsewhere": (550, b"not here")}


def test_on_the_running_loop(run):
    box = Box()

    async def main():
        server = await asyncio.get_running_loop().create_server(
            lambda: smtp.SMTP(box, tls_context=certs.server_context(), require_starttls=True, hostname="here"), "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            refused = await asyncio.gather(*(asyncio.to_thread(send, port, n) for n in range(10)))
            with pytest.raises(smtplib.SMTPSenderRefused, match="STARTTLS"):
                await asyncio.to_thread(send, port, 1, tls=False)
            return refused

    assert run(main) == [REFUSED] * 10
    assert sorted(box.letters) == [(f"{n}@there", [f"{n}@here"], True, len("Subject: it\r\n\r\n") + 6000 * n) for n in range(10)]


def test_controller_in_a_thread(way):
    box = Box()
    loop = way.new_loop()
    way.check(loop)
    with peers.port() as port, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        thread = controller.Controller(box, hostname="127.0.0.1", port=port, loop=loop)
        thread.start()
        try:
            assert send(port, 3, tls=False) == REFUSED
        finally:
            thread.stop()
    loop.close()
    assert box.letters == [("3@there", ["3@here"], False, len("Subject: it\r\n\r\n") + 18000)]
