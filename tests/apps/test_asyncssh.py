"""asyncssh, unmodified, at both ends of a connection, and its SFTP; OpenSSH's sftp as a client where it is there."""
import asyncio
import contextlib
import hashlib
import os

import pytest

import peers

asyncssh = peers.app("asyncssh")

pytestmark = pytest.mark.limit(90)


@pytest.fixture(scope="module")
def keys():
    return [asyncssh.generate_private_key("ssh-ed25519") for _ in range(2)]


class Host(asyncssh.SSHServer):
    def connection_requested(self, dest_host, dest_port, orig_host, orig_port):
        return True


async def handle(process):
    """What the server does with a command."""
    if process.command == "upper":
        async for line in process.stdin:
            process.stdout.write(line.upper())
        process.exit(0)
    elif process.command == "fail":
        process.stderr.write("on purpose\n")
        process.exit(3)
    else:
        await process.stdin.read()  # until the client has gone


@contextlib.asynccontextmanager
async def connected(keys, tmp_path):
    host, user = keys
    authorized = asyncssh.import_authorized_keys(user.export_public_key().decode())
    server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[host], server_factory=Host, process_factory=handle,
                                   authorized_client_keys=authorized, sftp_factory=lambda chan: asyncssh.SFTPServer(chan, chroot=str(tmp_path)))
    async with server:
        known = asyncssh.import_known_hosts(f"[127.0.0.1]:{server.get_port()} {host.export_public_key().decode()}")
        async with asyncssh.connect("127.0.0.1", server.get_port(), username="user", client_keys=[user], known_hosts=known, config=None) as client:
            yield client


def test_commands(run, keys, tmp_path):
    async def main():
        async with connected(keys, tmp_path) as client:
            upper = await asyncio.gather(*(client.run("upper", input=f"line {n}\n" * 500) for n in range(8)))
            failed = await client.run("fail")
            with pytest.raises(asyncssh.ProcessError):
                await client.run("fail", check=True)
            with pytest.raises(asyncssh.TimeoutError):
                await client.run("endless", timeout=0.05)
            task = asyncio.create_task(client.run("endless"))
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return [each.stdout for each in upper], (failed.exit_status, failed.stderr)

    upper, failed = run(main)
    assert upper == [f"LINE {n}\n" * 500 for n in range(8)]
    assert failed == (3, "on purpose\n")


def test_sftp(run, keys, tmp_path):
    data = os.urandom(1 << 20) * 4
    (tmp_path / "here").write_bytes(data)
    (tmp_path / "there").mkdir()

    async def main():
        async with connected(keys, tmp_path / "there") as client, client.start_sftp_client() as sftp:
            await sftp.put(str(tmp_path / "here"), "copy")
            await sftp.mkdir("folder")
            await asyncio.gather(*(sftp.put(str(tmp_path / "here"), f"folder/{n}") for n in range(3)))
            await sftp.get("copy", str(tmp_path / "back"))
            async with sftp.open("folder/0", "rb") as file:
                await file.seek(1000)
                part = await file.read(5000)
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await sftp.stat("nothing")
            return part, sorted(await sftp.listdir("folder"))

    part, names = run(main)
    assert part == data[1000:6000]
    assert [name for name in names if not name.startswith(".")] == ["0", "1", "2"]
    assert hashlib.sha256((tmp_path / "back").read_bytes()).digest() == hashlib.sha256(data).digest()


def test_forwarded_port(run, keys, tmp_path):
    async def main():
        async def echo(reader, writer):
            writer.write(await reader.read())
            writer.write_eof()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server, connected(keys, tmp_path) as client:
            async with client.forward_local_port("127.0.0.1", 0, "127.0.0.1", server.sockets[0].getsockname()[1]) as way:
                reader, writer = await asyncio.open_connection("127.0.0.1", way.get_port())
                writer.write(b"q" * 2_000_000)
                writer.write_eof()
                got = await reader.read()
                writer.close()
                await writer.wait_closed()
                return got == b"q" * 2_000_000

    assert run(main)


def test_wrong_key(run, keys, tmp_path):
    async def main():
        with pytest.raises(asyncssh.PermissionDenied):
            async with connected([keys[0], keys[0]], tmp_path) as client, asyncssh.connect(
                    *client.get_extra_info("peername")[:2], username="user", client_keys=[keys[1]], known_hosts=None, config=None):
                pass

    run(main)
