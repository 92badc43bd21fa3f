"""A PostgreSQL server for the tests of its clients."""
import contextlib
import os

import certs
import peers

ACCESS = """
local   all all                trust
hostssl all certified all      cert map=names
hostssl all all       all      trust
"""
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = '{folder}'
ssl = on
ssl_cert_file = 'server.pem'
ssl_key_file = 'server.key'
ssl_ca_file = 'authority.pem'
max_connections = 120
fsync = off
shared_buffers = 16MB
autovacuum = off
max_parallel_workers = 0
"""


class Server(peers.Peer):
    """PostgreSQL with a database cluster of its own, in which everyone is let in who comes over TLS or over the Unix socket."""

    def __init__(self, folder, port):
        super().__init__("postgres", ["-D", os.path.join(folder, "data"), "-p", str(port)], folder, user=peers.unprivileged())
        self.port = port
        data = os.path.join(folder, "data")
        peers.call("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", cwd=folder,
                   **{name: self.options[name] for name in ("user", "group", "extra_groups") if name in self.options})
        peers.put(data, {"server.pem": certs.path("server"), "server.key": certs.path("key"), "authority.pem": certs.path("authority")},
                  self.options["user"])
        for name, text, mode in (("postgresql.conf", SETTINGS.format(folder=folder), "a"), ("pg_hba.conf", ACCESS, "w"),
                                 ("pg_ident.conf", "names client certified\n", "w")):
            with open(os.path.join(data, name), mode) as file:
                file.write(text)
        with open(os.path.join(data, "PG_VERSION")) as file:
            self.version = int(file.read())

    def answers(self):
        with contextlib.suppress(AssertionError):
            return bool(peers.call("pg_isready", "-q", "-h", self.folder, "-p", str(self.port)) or True)


@contextlib.contextmanager
def started():
    """A server that answers, with files of its own, until the end of the block."""
    peers.program("openssl")  # makes the certificates
    with peers.folder(peers.unprivileged()) as folder, peers.port() as port, Server(folder, port) as server:
        server.wait_until(server.answers)
        yield server
