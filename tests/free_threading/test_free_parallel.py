"""Loops in several threads at once without the GIL: the programs of parallel.py, and loops that come and go."""
import pathlib

import pytest

import free
import parallel

PARALLEL = str(pathlib.Path(__file__).with_name("parallel.py"))
THREADS = 4


@free.needed
@pytest.mark.limit(free.SECONDS * 2 + 300)
@pytest.mark.parametrize("name", parallel.WORKLOADS)
def test_workload(name):
    done = free.child(PARALLEL, name, "--threads", THREADS, "--seconds", free.SECONDS, timeout=free.SECONDS + 150)
    assert done.stdout.startswith(f"{name}: ") and done.stdout.rstrip().endswith("rounds, without the GIL")


@free.needed
@pytest.mark.limit(free.SECONDS * 2 + 300)
@pytest.mark.parametrize("name", ["tasks", "futures", "gather", "streams", "threadsafe"])
def test_workload_without_install(name):
    """asyncio's own helpers on asyncloop's loops."""
    free.child(PARALLEL, name, "--bare", "--threads", THREADS, "--seconds", free.SECONDS, timeout=free.SECONDS + 150)


def test_the_programs_are_right_with_the_gil():
    """Each briefly on this Python: a failure without the GIL is not the program's."""
    done = free.own_interpreter(PARALLEL, *parallel.WORKLOADS, "--threads", 3, "--seconds", 0.1)
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == list(parallel.WORKLOADS)


COMING_AND_GOING = """
import asyncio, faulthandler, sys, threading
import asyncloop
faulthandler.dump_traceback_later(280, exit=True)
THREADS, EACH = 4, int(sys.argv[1])

async def one(i):
    task = asyncio.create_task(asyncio.sleep(0))
    asyncio.get_running_loop().call_later(60, int)
    await task
    return i

def work():
    for i in range(EACH):
        loop = asyncloop.new_event_loop()
        assert loop.run_until_complete(one(i)) == i
        loop.close()

threads = [threading.Thread(target=work) for _ in range(THREADS)]
for thread in threads: thread.start()
for thread in threads: thread.join()
for _ in range(EACH // 50):
    assert asyncloop.run(one, threads=THREADS) == [0, 1, 2, 3]
print("made and closed", THREADS * EACH)
"""


@free.needed
@pytest.mark.limit(600)
def test_loops_made_and_closed_10000_times():
    assert free.child("-c", COMING_AND_GOING, 2500, timeout=300).stdout == "made and closed 10000\n"


EXIT = """
import asyncio, sys, threading, time
import asyncloop
sys.path.insert(0, sys.argv[1])
asyncloop.install()
import parallel
names = sys.argv[2].split(",")
crew = parallel.Crew(len(names), 3600)
def work(name, i):
    try:
        asyncloop.run(parallel.WORKLOADS[name](crew, i))
    except SystemExit:
        pass
for i, name in enumerate(names):
    threading.Thread(target=work, args=(name, i), daemon=True).start()
while not all(crew.rounds):
    time.sleep(0.001)
time.sleep(0.1)
print("ends", flush=True)
"""


@free.needed
@pytest.mark.limit(300)
@pytest.mark.parametrize("end", ["", "sys.exit(0)", "raise SystemExit"])
@pytest.mark.parametrize("names", ["tasks,futures,sleep0,timers", "call_soon,gather,locks,queues", "echo,protocols,udp,pipes",
                                   "groups,cancels,streams,readers"])
def test_interpreter_exit_with_live_loops_in_daemon_threads(names, end):
    for _ in range(3):
        done = free.child("-c", EXIT + end, str(pathlib.Path(PARALLEL).parent), names, timeout=60)
        assert done.stdout == "ends\n" and "Fatal" not in done.stderr
