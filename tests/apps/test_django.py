"""Django, unmodified: async views, middleware and signals, and the ORM on SQLite and PostgreSQL, under uvicorn; synchronous code in asgiref's threads."""
import json

import pytest

import peers
import postgres
import programs

peers.apps("django", "httpx", "psycopg")
peers.installed("uvicorn")

pytestmark = pytest.mark.limit(120)

PROGRAM = """
import chosen
import asyncio, contextlib, contextvars, json, socket, sys, threading
import django
from django.conf import settings

settings.configure(DATABASES={"default": json.loads(sys.argv[1])}, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="secret",
                   DEFAULT_AUTO_FIELD="django.db.models.AutoField",
                   MIDDLEWARE=[f"{__name__}.asynchronous", "django.middleware.common.CommonMiddleware", f"{__name__}.synchronous"])
django.setup()

import httpx, uvicorn
from asgiref.sync import async_to_sync, iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.asgi import get_asgi_application
from django.core.signals import request_finished
from django.db import IntegrityError, connection, connections, models, transaction
from django.dispatch import Signal
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path


class Author(models.Model):
    name = models.CharField(max_length=50, unique=True)

    class Meta:
        app_label = "books"


class Book(models.Model):
    title = models.CharField(max_length=50)
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")

    class Meta:
        app_label = "books"


where = contextvars.ContextVar("where", default="nowhere")
asked = Signal()
cancelled = asyncio.Event()


class asynchronous:
    sync_capable, async_capable = False, True

    def __init__(self, get_response):
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request):
        where.set(request.path)
        response = await self.get_response(request)
        response["x-middleware"] = where.get()
        return response


def synchronous(get_response):
    def middleware(request):
        response = get_response(request)
        response["x-thread"] = str(threading.current_thread() is threading.main_thread())
        return response
    return middleware


async def on_asked(sender, **named):
    await asyncio.sleep(0)
    return named["n"] + 1


def on_asked_synchronously(sender, **named):
    return named["n"] + 2


asked.connect(on_asked)
asked.connect(on_asked_synchronously)


async def index(request):
    assert chosen.is_chosen(asyncio.get_running_loop())
    return JsonResponse({"where": where.get(), "signal": sorted(each[1] for each in await asked.asend(None, n=request.GET.get("n") and int(request.GET["n"]) or 0))})


async def orm(request, n):
    author, created = await Author.objects.aget_or_create(name=f"author {n}")
    await Book.objects.abulk_create(Book(title=f"book {n} {m}", author=author) for m in range(3))
    try:
        await Author.objects.acreate(name=f"author {n}")
    except IntegrityError as exc:
        wrong = type(exc).__name__
    changed = await Book.objects.filter(author=author, title__endswith="1").aupdate(title="changed")
    titles = [book.title async for book in Book.objects.filter(author=author).order_by("title")]
    await Book.objects.filter(author=author, title="changed").adelete()
    return JsonResponse([created, wrong, changed, titles, await author.books.acount()], safe=False)


def in_a_thread(request, n):
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        Author.objects.create(name=f"rolled back {n}")
        1 / 0
    return JsonResponse([where.get(), Author.objects.filter(name__startswith="rolled").count(), async_to_sync(nap)(n)], safe=False)


async def nap(n):
    await asyncio.sleep(0.001)
    return n


async def stream(request):
    async def lines():
        async for author in Author.objects.order_by("name"):
            yield f"{author.name}\\n"
    return StreamingHttpResponse(lines())


async def wait(request):
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        cancelled.set()
        raise


async def nothing(request):
    raise Http404


urlpatterns = [path("", index), path("orm/<int:n>", orm), path("thread/<int:n>", in_a_thread), path("stream", stream), path("wait", wait), path("nothing", nothing)]


def create_tables():
    with connection.schema_editor() as editor:
        editor.create_model(Author)
        editor.create_model(Book)


def drop_tables():
    with connection.schema_editor() as editor:
        editor.delete_model(Book)
        editor.delete_model(Author)


async def main():
    chosen.check()
    await sync_to_async(create_tables)()
    sock = socket.socket(proto=socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(get_asgi_application(), log_level="error", lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[sock]))
    while not server.started:
        await asyncio.sleep(0.01)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{sock.getsockname()[1]}", timeout=60, trust_env=False) as client:
        answer = await client.get("/?n=3")
        print(answer.text, answer.headers["x-middleware"], answer.headers["x-thread"])
        for answer in await asyncio.gather(*(client.get(f"/orm/{n}") for n in range(20))):
            print(answer.text)
        for answer in await asyncio.gather(*(client.get(f"/thread/{n}") for n in range(10))):
            print(answer.text)
        print((await client.get("/stream")).text, (await client.get("/nothing")).status_code)
        try:
            await client.get("/wait", timeout=0.2)
        except httpx.ReadTimeout:
            await asyncio.wait_for(cancelled.wait(), 60)
            print("the view that nobody waits for is cancelled")
    server.should_exit = True
    await task
    sock.close()
    await sync_to_async(drop_tables)()
    await sync_to_async(connections.close_all)()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def server():
    with postgres.started() as server:
        yield server


def said(got):
    lines = got.splitlines()
    assert lines[0] == '{"where": "/", "signal": [4, 5]} / False'
    for n in range(20):
        assert json.loads(lines[1 + n]) == [True, "IntegrityError", 1, [f"book {n} 0", f"book {n} 2", "changed"], 2]
    for n in range(10):
        assert json.loads(lines[21 + n]) == [f"/thread/{n}", 0, n]
    assert lines[31:] == [*sorted(f"author {n}" for n in range(20)), " 404", "the view that nobody waits for is cancelled"]


def test_on_sqlite(tmp_path):
    base = {"ENGINE": "django.db.backends.sqlite3", "NAME": "base", "OPTIONS": {"timeout": 60}}
    said(programs.compare(tmp_path, PROGRAM, json.dumps(base)))


def test_on_postgresql(tmp_path, server):
    base = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres", "HOST": server.folder, "PORT": str(server.port)}
    # One after the other, as all have the same tables.
    for way in programs.WAYS:
        said(programs.compare(tmp_path, PROGRAM, json.dumps(base), ways=(way,)))
