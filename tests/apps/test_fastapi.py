"""FastAPI and Starlette, unmodified, under uvicorn, with httpx and websockets as clients on the same loop; and Starlette's test client, which runs a loop in a thread."""
import asyncio
import contextlib
import socket
import threading

import pytest

import peers

fastapi = peers.app("fastapi")
httpx = peers.app("httpx")
responses = peers.app("starlette.responses", "starlette")
testclient = peers.app("starlette.testclient", "starlette")
uvicorn = peers.client("uvicorn")
websockets = peers.client("websockets")

pytestmark = pytest.mark.limit(90)


def application(said):
    @contextlib.asynccontextmanager
    async def lifespan(app):
        said.append("up")
        yield {"answer": 42}
        said.append("down")

    app = fastapi.FastAPI(lifespan=lifespan)

    async def resource():
        said.append("open")
        try:
            yield 7
        finally:
            await asyncio.sleep(0)
            said.append("shut")

    @app.middleware("http")
    async def count(request, call_next):
        response = await call_next(request)
        response.headers["x-path"] = request.url.path
        return response

    @app.get("/loop")
    async def loop():
        kind = type(asyncio.get_running_loop())
        return [kind.__module__, kind.__qualname__]

    @app.get("/add/{a}")
    async def add(a: int, request: fastapi.Request, held: int = fastapi.Depends(resource)):
        return {"sum": a + held + request.state.answer}

    @app.get("/thread")
    def thread():  # no coroutine: FastAPI calls it in a thread
        return threading.current_thread() is threading.main_thread()

    @app.get("/stream")
    async def stream():
        async def numbers():
            for n in range(1000):
                yield f"{n}\n"
                if n % 100 == 0:
                    await asyncio.sleep(0)

        return responses.StreamingResponse(numbers())

    @app.post("/later")
    async def later(tasks: fastapi.BackgroundTasks, file: fastapi.UploadFile):
        tasks.add_task(said.append, len(await file.read()))
        return "accepted"

    @app.get("/wrong")
    async def wrong():
        raise fastapi.HTTPException(418, "a teapot")

    @app.websocket("/socket")
    async def socket(socket: fastapi.WebSocket):
        await socket.accept()
        try:
            while True:
                await socket.send_json({"got": await socket.receive_text()})
        except fastapi.WebSocketDisconnect as exc:
            said.append(("gone", exc.code))

    return app


peers.app("python_multipart", "python-multipart")
UPLOAD = {"file": ("name", b"z" * 3_000_000)}


@contextlib.asynccontextmanager
async def served(app):
    sock = socket.socket(proto=socket.IPPROTO_TCP)
    with sock:
        sock.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on", ws="websockets-sansio"))
        task = asyncio.create_task(server.serve(sockets=[sock]))
        while not server.started:
            assert not task.done(), task
            await asyncio.sleep(0.005)
        try:
            yield f"127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


def test_under_uvicorn(run, way):
    said = []

    async def main():
        async with served(application(said)) as at, httpx.AsyncClient(base_url=f"http://{at}", timeout=peers.LONG, trust_env=False) as client:
            assert (await client.get("/loop")).json() == [type(asyncio.get_running_loop()).__module__, type(asyncio.get_running_loop()).__qualname__]
            answer = await client.get("/add/1")
            assert (answer.json(), answer.headers["x-path"]) == ({"sum": 50}, "/add/1")
            assert (await client.get("/add/x")).status_code == 422
            assert (await client.get("/thread")).json() is False
            assert (await client.get("/stream")).text == "".join(f"{n}\n" for n in range(1000))
            assert (await client.post("/later", files=UPLOAD)).json() == "accepted"
            answer = await client.get("/wrong")
            assert (answer.status_code, answer.json()) == (418, {"detail": "a teapot"})
            async with websockets.connect(f"ws://{at}/socket", proxy=None) as one:
                for n in range(50):
                    await one.send(f"{n}")
                    assert await one.recv() == f'{{"got":"{n}"}}'
                await one.close(4001)
            sums = await asyncio.gather(*(client.get(f"/add/{n}") for n in range(60)))
            return [each.json()["sum"] for each in sums]

    assert run(main) == [n + 49 for n in range(60)]
    assert said[0] == "up" and said[-1] == "down"
    assert said.count("open") == said.count("shut") > 60
    assert 3_000_000 in said and ("gone", 4001) in said


def test_starlettes_test_client(way):
    said = []
    options = {} if way.by_policy else {"loop_factory": way.new_loop}
    fresh = way.new_loop()
    fresh.close()
    with testclient.TestClient(application(said), backend_options=options) as client:
        assert client.get("/loop").json() == [type(fresh).__module__, type(fresh).__qualname__]
        assert client.get("/add/1").json() == {"sum": 50}
        assert client.post("/later", files=UPLOAD).json() == "accepted"
        with client.websocket_connect("/socket") as one:
            one.send_text("text")
            assert one.receive_json() == {"got": "text"}
    assert said == ["up", "open", "shut", 3_000_000, ("gone", 1000), "down"]
