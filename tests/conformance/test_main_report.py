"""`python -m asyncloop --metrics`, `--watch` and `--profile-tasks`: what they say, and that the program does not notice."""
import asyncio
import json
import subprocess
import sys
import textwrap
import threading
import xml.etree.ElementTree

import pytest

from asyncloop import _flame, _profile, _report
from asyncloop._metrics import Metrics
from sidebyside import PATIENCE, child_env
from test_metrics import Clocked, pump

PROGRAM = """
    import asyncio, sys
    async def worker(n):
        for _ in range(n):
            await asyncio.sleep(0)
    async def main():
        await asyncio.gather(*(worker(5) for _ in range(3)))
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await reader.read()
        writer.close()
        server.close()
    asyncio.run(main())
    print("done", sys.argv[1:])
    """


@pytest.fixture
def run(tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(PROGRAM))

    def run(*args, **env):
        return subprocess.run([sys.executable, "-m", "asyncloop", *args], cwd=tmp_path, env=child_env(**env), text=True, capture_output=True,
                              timeout=60 * PATIENCE)

    return run


def test_metrics(run):
    done = run("--metrics", "app.py", "--metrics", "x")
    assert (done.returncode, done.stdout) == (0, "done ['--metrics', 'x']\n")
    lines = done.stderr.splitlines()
    assert lines[0] == "asyncloop: loop 1, closed"
    rows = dict(line.split(maxsplit=1) for line in lines[1:])
    assert list(rows) == ["ran", "passes", "callbacks", "ready", "lag", "pending", "transports", "bytes", "executor"]
    assert rows["transports"] == "0 TCP, 0 TLS, 0 Unix, 0 UDP, 0 pipes; 1 accepted"
    assert rows["pending"] == "0 tasks, 0 timers"
    assert "longest 0.0 ms" not in rows["callbacks"]  # they were timed


def test_metrics_of_several_loops(run):
    done = run("--metrics", "-c", "import asyncio\nfor _ in range(3): asyncio.run(asyncio.sleep(0))\nloop = asyncio.new_event_loop()")
    assert [line for line in done.stderr.splitlines() if line.startswith("asyncloop: ")] == [
        "asyncloop: loop 1, closed", "asyncloop: loop 2, closed", "asyncloop: loop 3, closed", "asyncloop: loop 4", "asyncloop: all 4 loops"]


@pytest.mark.parametrize("die", ["del loop", "loop.itself = loop; del loop; gc.collect()"])
def test_metrics_of_a_loop_that_nobody_closes(run, die):
    """Its finalizer closes it; where the collector found it, no weak reference leads to it then."""
    done = run("--metrics", "-c", f"import asyncio, gc\nloop = asyncio.new_event_loop(); loop.run_until_complete(asyncio.sleep(0)); {die}")
    assert [line for line in done.stderr.splitlines() if line.startswith("asyncloop: ")] == ["asyncloop: loop 1, closed"]


def test_metrics_of_many_loops_are_summed(run):
    done = run("--metrics", "-c", "import asyncio\nfor _ in range(30): asyncio.run(asyncio.sleep(0))")
    assert done.stderr.startswith("asyncloop: all 30 loops\n") and len(done.stderr.splitlines()) == 10


def test_metrics_without_a_loop(run):
    assert run("--metrics", "-c", "pass").stderr == "asyncloop: no loop was made\n"


def test_metrics_after_the_traceback_of_a_program_that_fails(run):
    done = run("--metrics", "-c", "import asyncio\nasync def main(): 1/0\nasyncio.run(main())")
    assert done.returncode == 1
    assert done.stderr.index("ZeroDivisionError") < done.stderr.index("asyncloop: loop 1, closed")


def test_a_fork_says_nothing(run):
    done = run("--metrics", "-c", "import os, sys\npid = os.fork()\nif pid: os.waitpid(pid, 0)")
    assert done.stderr == "asyncloop: no loop was made\n"


def test_profile_as_a_table(run):
    done = run("--profile-tasks", "app.py")
    assert done.stdout == "done []\n"
    lines = done.stderr.splitlines()
    assert lines[0].startswith("asyncloop: what held the loop longest, of ")
    assert lines[1].split() == ["seconds", "share", "runs", "longest", "task"]
    rows = {line.split(maxsplit=4)[4].partition(" (")[0]: line.split()[2] for line in lines[2:]}
    assert rows["worker"] == "18"  # three tasks of six steps


# It holds the loop until the sampler has seen it: however slow the machine is.
HOLD = """
    import asyncio, time
    from asyncloop import _profile, loop
    def hold():
        [profile] = loop.observers
        n = profile.n_samples
        while profile.n_samples < n + 3:
            time.sleep(0.001)
    async def inner():
        await asyncio.sleep(0)
        hold()
    async def main():
        task = asyncio.create_task(inner(), name="<the & one>")
        await task
        await asyncio.create_task(inner())
    asyncio.run(main())
    """


def test_profile_as_a_flame_graph(run, tmp_path):
    done = run("--profile-tasks=out.svg", "-c", textwrap.dedent(HOLD))
    assert done.returncode == 0 and "<the & one>" in done.stderr, done.stderr
    root = xml.etree.ElementTree.parse(tmp_path / "out.svg").getroot()
    titles = [title.text.partition(":")[0].partition(",")[0] for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert {"<the & one>", "inner", "hold"} <= set(titles)


def test_profile_for_speedscope(run, tmp_path):
    done = run("--profile-tasks=out.json", "-c", textwrap.dedent(HOLD))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    frames = [frame["name"] for frame in found["shared"]["frames"]]
    stacks = [[frames[i] for i in sample] for sample in found["profiles"][0]["samples"]]
    assert ["<the & one>", "inner", "hold"] in stacks and ["inner", "inner", "hold"] in stacks
    assert sum(found["profiles"][0]["weights"]) == pytest.approx(found["profiles"][0]["endValue"])


@pytest.mark.parametrize("word", ["--profile-tasks=out.txt", "--profile-tasks="])
def test_a_file_of_another_kind(run, word):
    done = run(word, "app.py")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("--profile-tasks=FILE: the name of FILE is to end with .svg or .json, not ")


def test_a_file_that_cannot_be_written(run):
    done = run("--profile-tasks=nowhere/out.svg", "-c", "pass")
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "asyncloop: --profile-tasks: can't write 'nowhere/out.svg': No such file or directory"


def test_watch_without_rich(run, tmp_path):
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich/__init__.py").write_text("raise ModuleNotFoundError('rich')")
    done = run("--watch", "app.py", PYTHONPATH=f"{tmp_path}:{child_env().get('PYTHONPATH', '')}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "asyncloop: --watch needs rich, which is not installed: pip install rich\n"


def test_watch(run):
    pytest.importorskip("rich", reason="rich is not installed")
    done = run("--watch", "app.py", "x")
    assert (done.returncode, done.stdout) == (0, "done ['x']\n"), done.stderr


def test_all_at_once(run):
    done = run("--metrics", "--keep-uvloop", "--profile-tasks", "app.py")
    assert done.returncode == 0 and "asyncloop: loop 1, closed" in done.stderr and "asyncloop: what held the loop longest" in done.stderr


def test_help_names_the_options(run):
    text = run("--help").stdout
    assert all(word in text for word in ("--metrics", "--watch", "--profile-tasks", "--profile-tasks=FILE", "--keep-uvloop"))


# ---- the parts


def metrics(**fields):
    import dataclasses
    return Metrics(**{**{field.name: 0 for field in dataclasses.fields(Metrics)}, **fields})


def test_sums_of_loops():
    both = _report.total([metrics(passes=3, lag_max=0.5, ready_max=7, bytes_in=10), metrics(passes=4, lag_max=0.2, ready_max=9)])
    assert both == metrics(passes=7, lag_max=0.5, ready_max=9, bytes_in=10)


@pytest.mark.parametrize("n, text", [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB"), (5 << 30, "5.0 GiB"), (7 << 40, "7.0 TiB")])
def test_bytes_for_people(n, text):
    assert _report.bytes_text(n) == text


@pytest.mark.parametrize("seconds, text", [(0, "0.0 ms"), (0.00004, "40 us"), (0.0031, "3.1 ms"), (1.25, "1.25 s"), (100, "100.00 s")])
def test_seconds_for_people(seconds, text):
    assert _report.seconds_text(seconds) == text


def test_the_table_of_watch():
    pytest.importorskip("rich", reason="rich is not installed")
    import io

    import rich.console
    book = _report.LoopBook()
    watch = _report.Watch(book)
    loop = Clocked()
    book.loop_made(loop)
    watch.table()
    pump(loop, 3)
    console = rich.console.Console(file=io.StringIO(), width=200)
    console.print(watch.table())
    text = console.file.getvalue()
    assert all(title in text for title in _report._COLUMNS)
    assert loop.time_callbacks is True
    loop.close()


STACKS = {(_flame.Place("a"), _flame.Place("f", "f.py", 3)): 3.0, (_flame.Place("a"), _flame.Place("g<h>", "g.py", 4)): 1.0, (_flame.Place("b"),): 4.0}


def test_the_picture():
    root = xml.etree.ElementTree.fromstring(_flame.svg(STACKS, "a & b"))
    ns = "{http://www.w3.org/2000/svg}"
    boxes = {g.find(f"{ns}title").text: g.find(f"{ns}rect").attrib for g in root.iter(f"{ns}g")}
    assert sorted(boxes) == ["a: 4.000 s, 50.0%", "b: 4.000 s, 50.0%", "f, f.py:3: 3.000 s, 37.5%", "g<h>, g.py:4: 1.000 s, 12.5%"]
    at = {title.split(",")[0].split(":")[0]: (float(box["x"]), float(box["width"]), float(box["y"])) for title, box in boxes.items()}
    assert at["a"][1] == at["b"][1] == 600 and at["f"][1] == 450 and at["g<h>"][1] == 150
    assert at["f"][0] == at["a"][0] and at["g<h>"][0] == at["f"][0] + 450 and at["f"][2] == at["g<h>"][2] > at["a"][2]


def test_the_picture_of_nothing():
    root = xml.etree.ElementTree.fromstring(_flame.svg({}, "nothing"))
    assert [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")] == ["nothing"]


def test_the_profile():
    found = json.loads(_flame.speedscope(STACKS, "title"))
    assert found["shared"]["frames"] == [{"name": "a"}, {"name": "f", "file": "f.py", "line": 3}, {"name": "g<h>", "file": "g.py", "line": 4}, {"name": "b"}]
    [profile] = found["profiles"]
    assert (profile["type"], profile["unit"], profile["samples"], profile["weights"]) == ("sampled", "seconds", [[0, 1], [0, 2], [3]], [3, 1, 4])


def test_what_held_the_loop():
    """By the loop's own time: exact."""
    loop, profile = Clocked(), _profile.Profile()
    profile.loop_made(loop)

    async def work(*steps):
        for seconds in steps:
            loop.pass_time(seconds)
            await asyncio.sleep(0)

    tasks = [loop.create_task(work(1, 5)), loop.create_task(work(2), name="named"), loop.create_task(work(3))]
    loop.call_soon(loop.pass_time, 0.5)
    pump(loop, 4)
    assert all(task.done() for task in tasks)
    seen = {label.rpartition(".")[2]: (held.steps, held.seconds, held.longest) for label, held in profile.held.items()}
    assert seen["work"] == (5, 9, 5) and seen["named"] == (2, 2, 2) and seen["pass_time"] == (1, 0.5, 0.5)
    assert profile.held[next(label for label in profile.held if label.endswith(".work"))].longest_of == tasks[0].get_name()
    first = profile.table().splitlines()[2].split()
    assert first[0] == "9.000" and first[2:4] == ["5", "5.000"]
    profile.loop_closed(loop)
    assert "run_forever" not in vars(loop) and loop._entry_hook is None
    loop.close()


def test_what_a_thread_with_a_loop_executes():
    """The sampler looks while a task runs, while a callback does, and between the runs of the loop; it is itself on the stack here."""
    loop, profile = Clocked(), _profile.Profile()
    profile.loop_made(loop)
    stacks = []

    def see():
        """What look() does in the sampler's thread."""
        stack = _profile.stack_below(sys._getframe())
        stacks.append([place.name.rpartition(".")[2] for place in stack])
        profile.note_seen(threading.get_ident(), stack)

    def one():
        see()

    def other():
        see()

    async def inner():
        one()
        other()
        other()
        loop.pass_time(6)
        await asyncio.sleep(0)
        loop.pass_time(1)

    async def main():
        await inner()

    see()
    assert stacks == [[]]
    profile.seen.clear()
    loop.run_until_complete(loop.create_task(main(), name="the task"))
    loop.call_soon(one)
    loop.call_soon(loop.pass_time, 3)
    pump(loop)
    seen = {tuple(place.name.rpartition(".")[2] for place in stack): seconds for stack, seconds in profile.stacks.items() if seconds}
    assert seen == {("the task", "main", "inner", "one", "see"): 2, ("the task", "main", "inner", "other", "see"): 4, ("the task", "main"): 1,
                    ("pass_time", "pass_time"): 3}
    profile.loop_closed(loop)
    loop.close()
