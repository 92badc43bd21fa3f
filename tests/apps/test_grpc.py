"""grpc.aio, unmodified, at both ends: its threads wake the loop through a socket of its own."""
import pytest

import peers
import programs

peers.apps("grpc")

pytestmark = pytest.mark.limit(120)

PROGRAM = """
import chosen
import asyncio
import grpc

cancelled = asyncio.Event()
closed = []


async def upper(request, context):
    if request == b"abort":
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "on purpose", (("trailing", "metadata"),))
    if request == b"raise":
        raise ValueError("on purpose")
    if request == b"forever":
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()
    return request.upper() + dict(context.invocation_metadata()).get("suffix", "").encode()


async def count(request, context):
    for n in range(int(request)):
        yield b"%d" % n


async def total(requests, context):
    n = 0
    async for request in requests:
        n += int(request)
    return b"%d" % n


async def chat(requests, context):
    try:
        async for request in requests:
            yield request + b" once"
            await context.write(request + b" twice")
    finally:
        closed.append("chat")


class Intercept(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation, details, request):
        call = await continuation(details, request + b" intercepted")
        return await call


async def main():
    chosen.check()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("Service", {
        "upper": grpc.unary_unary_rpc_method_handler(upper), "count": grpc.unary_stream_rpc_method_handler(count),
        "total": grpc.stream_unary_rpc_method_handler(total), "chat": grpc.stream_stream_rpc_method_handler(chat)})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    target = f"127.0.0.1:{port}"
    async with grpc.aio.insecure_channel(target) as channel:
        say = channel.unary_unary("/Service/upper")
        print(await asyncio.gather(*(say(b"n%d" % n, metadata=(("suffix", "!"),)) for n in range(100))))
        for word in b"abort", b"raise":
            try:
                await say(word)
            except grpc.aio.AioRpcError as exc:
                print(exc.code(), exc.details(), [tuple(each) for each in exc.trailing_metadata()])
        try:
            await say(b"forever", timeout=0.1)
        except grpc.aio.AioRpcError as exc:
            print(exc.code())
        await asyncio.wait_for(cancelled.wait(), 60)
        cancelled.clear()
        task = asyncio.create_task(forever(say))
        await asyncio.sleep(0.05)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            await asyncio.wait_for(cancelled.wait(), 60)
            print("cancelled at both ends")
        print(sum([int(n) async for n in channel.unary_stream("/Service/count")(b"1000")]))

        async def numbers():
            for n in range(1000):
                yield b"%d" % n
                if n % 100 == 0:
                    await asyncio.sleep(0)

        print(await channel.stream_unary("/Service/total")(numbers()))
        call, heard = channel.stream_stream("/Service/chat")(), []
        for n in range(50):
            await call.write(b"%d" % n)
            heard += [await call.read(), await call.read()]
        await call.done_writing()
        print(heard, await call.read() is grpc.aio.EOF, await call.code())
        call = channel.stream_stream("/Service/chat")()
        await call.write(b"x" * 1_000_000)
        print(len(await call.read()), call.cancel())
        print(await call.code())
        while len(closed) < 2:
            await asyncio.sleep(0.01)
    async with grpc.aio.insecure_channel(target, interceptors=[Intercept()]) as channel:
        print(await channel.unary_unary("/Service/upper")(b"this is"))
    await server.stop(None)


async def forever(say):
    return await say(b"forever")

asyncio.run(main())
"""


def test_grpc(tmp_path):
    # The server logs the exception of its handler to stderr, on every loop.
    lines = programs.compare(tmp_path, PROGRAM, quiet=False).splitlines()
    assert lines[0] == repr([b"N%d!" % n for n in range(100)])
    assert lines[1] == "StatusCode.FAILED_PRECONDITION on purpose [('trailing', 'metadata')]"
    assert lines[2].startswith("StatusCode.UNKNOWN Unexpected <class 'ValueError'>: on purpose")
    assert lines[3:7] == ["StatusCode.DEADLINE_EXCEEDED", "cancelled at both ends", "499500", repr(b"499500")]
    assert lines[7] == f"{[b'%d %s' % (n, word) for n in range(50) for word in (b'once', b'twice')]} True StatusCode.OK"
    assert lines[8:] == ["1000005 True", "StatusCode.CANCELLED", repr(b"THIS IS INTERCEPTED")]
