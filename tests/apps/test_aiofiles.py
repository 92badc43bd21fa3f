"""aiofiles, unmodified: files by run_in_executor."""
import asyncio
import concurrent.futures
import hashlib
import os

import pytest

import peers

aiofiles = peers.app("aiofiles")
for each in "os", "tempfile":
    peers.app(f"aiofiles.{each}")

pytestmark = pytest.mark.limit(60)


def test_fifty_files_at_once(run, tmp_path):
    async def copy(n):
        data = bytes([n]) * 100_000
        async with aiofiles.open(tmp_path / f"{n}", "wb") as file:
            for at in range(0, len(data), 30_000):
                await file.write(data[at:at + 30_000])
        async with aiofiles.open(tmp_path / f"{n}", "rb") as file:
            return hashlib.sha256(await file.read()).digest() == hashlib.sha256(data).digest()

    async def main():
        return await asyncio.gather(*(copy(n) for n in range(50)))

    assert run(main) == [True] * 50
    assert len(os.listdir(tmp_path)) == 50


def test_lines_names_and_errors(run, tmp_path):
    async def main():
        async with aiofiles.tempfile.NamedTemporaryFile("w+", dir=tmp_path) as file:
            await file.writelines(f"line {n}\n" for n in range(3000))
            await file.seek(0)
            lines = [line async for line in file]
            assert (await aiofiles.os.stat(file.name)).st_size == sum(map(len, lines))
        with pytest.raises(FileNotFoundError):
            async with aiofiles.open(tmp_path / "nothing"):
                pass
        await aiofiles.os.makedirs(tmp_path / "a" / "b")
        with pytest.raises(FileExistsError):
            await aiofiles.os.mkdir(tmp_path / "a")
        with concurrent.futures.ThreadPoolExecutor(1, "own") as pool:
            async with aiofiles.open(tmp_path / "a" / "file", "x", executor=pool) as file:
                await file.write("text")
        return lines, await aiofiles.os.listdir(tmp_path / "a")

    lines, names = run(main)
    assert lines == [f"line {n}\n" for n in range(3000)]
    assert sorted(names) == ["b", "file"]
