"""How late a short sleep ends: asyncio.sleep(100e-6) on each loop, in a fresh process.

    python benchmarks/latency.py [--loops asyncio,uvloop,asyncloop] [--sleeps 2000] [--json FILE]

Prints, in microseconds after the wanted moment, the least, median and 99th percentile; negative means too early, which a loop
must never be.  asyncloop also with its own asyncloop.sleep.  The kernel's timer slack (50 us by default) is part of the figure.
"""

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys
import time

import loops

DELAY = 100e-6  # seconds


async def _lateness(sleep, n):
    late = []
    clock = time.perf_counter
    for _ in range(n):
        start = clock()
        await sleep(DELAY)
        late.append((clock() - start - DELAY) * 1e6)
    return late


def measure(name, own, n):
    """{min, p50, p99} in microseconds."""
    bench = loops.Bench(name)
    bench.run(_lateness(asyncio.sleep, 50))
    late = bench.run(_lateness(bench.own_sleep if own else asyncio.sleep, n))
    bench.close()
    return {"min_us": min(late), "p50_us": statistics.median(late), "p99_us": statistics.quantiles(late, n=100)[98]}


def main():
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], sys.argv[3] == "own", int(sys.argv[4]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loops", default=",".join(loops.importable()), help="comma-separated; default: those importable")
    parser.add_argument("--sleeps", type=int, default=2000)
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    args = parser.parse_args()
    cases = [(name, "asyncio") for name in args.loops.split(",")]
    cases += [(name, "own") for name, _ in cases if name == "asyncloop"]
    print(f"sleep(100 us), CPython {platform.python_version()}: us late\n{'':26}{'min':>9}{'p50':>9}{'p99':>9}")
    figures = {}
    for name, which in cases:
        label = f"{name}, {'asyncloop' if which == 'own' else 'asyncio'}.sleep"
        done = subprocess.run([sys.executable, __file__, "--one", name, which, str(args.sleeps)], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name}: {done.stderr.strip()}")
        f = figures[label] = json.loads(done.stdout)
        print(f"{label:26}{f['min_us']:9.0f}{f['p50_us']:9.0f}{f['p99_us']:9.0f}", flush=True)
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"python": platform.python_version(), "lateness": figures}, file, indent=1)


if __name__ == "__main__":
    main()
