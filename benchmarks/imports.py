"""What `import asyncloop` costs beyond `import asyncio`, in fresh interpreters.

    python benchmarks/imports.py [--runs 30] [--most 15]

Prints the median and the least of the wall time, in milliseconds, of asyncio's own import, of asyncloop's after it, and of uvloop's where that is
installed.  --most: exit with status 1 when asyncloop's median is more.
"""

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys

CODE = """
import sys, time
began = time.perf_counter()
import asyncio
between = time.perf_counter()
import {name}
print(between - began, time.perf_counter() - between)
"""


def times(name):
    """Seconds that asyncio's import took, and the module's after it."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", CODE.format(name=name)], env=env, capture_output=True, text=True, check=True)
    return map(float, done.stdout.split())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--most", type=float, help="milliseconds")
    args = parser.parse_args()
    found = {"asyncio": []}
    for name in ("asyncloop", "uvloop"):
        if importlib.util.find_spec(name) is None:
            continue
        list(times(name))  # the byte code is written
        found[name] = []
        for _ in range(args.runs):
            of_asyncio, of_module = times(name)
            found["asyncio"].append(of_asyncio)
            found[name].append(of_module)
    for name, seconds in found.items():
        print(f"{name:10} median {statistics.median(seconds) * 1e3:6.1f} ms   least {min(seconds) * 1e3:6.1f} ms")
    if args.most is not None and statistics.median(found["asyncloop"]) * 1e3 > args.most:
        sys.exit(f"more than {args.most:g} ms")


if __name__ == "__main__":
    main()
