"""SQLAlchemy's asyncio engine, unmodified: synchronous code in greenlets that awaits by switching to its parent.

On aiosqlite, asyncpg and psycopg.
"""
import asyncio

import pytest

import peers
import postgres

for each in "sqlalchemy", "greenlet", "aiosqlite", "psycopg":
    peers.app(each)
peers.client("asyncpg")
sa = peers.app("sqlalchemy")
orm = peers.app("sqlalchemy.orm", "sqlalchemy")
aio = peers.app("sqlalchemy.ext.asyncio", "sqlalchemy")

pytestmark = pytest.mark.limit(90)


@pytest.fixture(scope="module")
def server():
    with postgres.started() as server:
        yield server


@pytest.fixture(params=["sqlite+aiosqlite", "postgresql+asyncpg", "postgresql+psycopg"])
def url(request, server, tmp_path):
    if request.param.startswith("sqlite"):
        return f"{request.param}:///{tmp_path}/base"
    return f"{request.param}://postgres@/postgres?host={server.folder}&port={server.port}"


class Base(aio.AsyncAttrs, orm.DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(unique=True)
    books: orm.Mapped[list["Book"]] = orm.relationship()


class Book(Base):
    __tablename__ = "book"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    title: orm.Mapped[str]
    author_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("author.id"))


async def fresh(url, **more):
    engine = aio.create_async_engine(url, **more)
    async with engine.begin() as one:
        await one.run_sync(Base.metadata.drop_all)
        await one.run_sync(Base.metadata.create_all)
    return engine


def test_orm(run, url):
    async def main():
        engine = await fresh(url)
        sessions = aio.async_sessionmaker(engine, expire_on_commit=False)
        async with sessions() as session, session.begin():
            session.add_all(Author(name=f"author {n}", books=[Book(title=f"book {n} {m}") for m in range(n)]) for n in range(5))
        async with sessions() as session:
            with pytest.raises(sa.exc.IntegrityError):
                session.add(Author(name="author 1"))
                await session.commit()
            await session.rollback()
            last = (await session.scalars(sa.select(Author).where(Author.name == "author 4"))).one()
            lazy = sorted(book.title for book in await last.awaitable_attrs.books)
            rows = await session.stream(sa.select(Book.title).order_by(Book.title))
            streamed = [title async for (title,) in rows]
        await engine.dispose()
        return lazy, streamed

    assert run(main) == ([f"book 4 {m}" for m in range(4)], sorted(f"book {n} {m}" for n in range(5) for m in range(n)))


def test_many_at_once(run, url):
    async def main():
        engine = await fresh(url, pool_size=5, max_overflow=0, pool_timeout=peers.LONG)

        async def use(n):
            async with engine.connect() as one:
                await asyncio.sleep(0)
                return (await one.execute(sa.select(sa.literal(n) + 1))).scalar()

        got = await asyncio.gather(*(use(n) for n in range(100)))
        tasks = [asyncio.create_task(use(n)) for n in range(20)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await engine.dispose()
        return got, [type(each) is asyncio.CancelledError or each for each in ended]

    got, ended = run(main)
    assert got == list(range(1, 101))
    assert ended == [n + 1 if n % 2 else True for n in range(20)]
