"""Instructions executed per operation, counted by valgrind's callgrind: a figure that repeats, on any machine and under any load.

    python benchmarks/instructions.py [--loops uvloop,asyncloop] [--only call_soon,sleep0] [--top 15] [--json FILE]

Each row runs twice with different operation counts; the difference divided by the difference of the counts is the cost of one
operation, start-up and imports cancelled out.  User space only: a system call counts as the few instructions that enter it, so
compare these figures with CPU time (run.py) wherever the kernel does the work.  --top also lists where the instructions go, by
function: `self` is the function alone, `incl` with all it calls (a recursive function may exceed the whole).
"""

import argparse
import collections
import json
import os
import platform
import re
import subprocess
import sys
import tempfile

import loops
import rows

HERE = os.path.dirname(os.path.abspath(__file__))
_NAME = re.compile(r"\((\d+)\)(?: (.*))?")


def run_callgrind(loop, row, n, out):
    """Runs n operations under callgrind, the profile going to `out`."""
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--error-exitcode=0", "--quiet", sys.executable,
               os.path.join(HERE, "measure.py"), loop, row.name, "--n", str(n), "--bare"]
    done = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{loop} {row.name}: {done.stderr.strip()}")


class Profile:
    """Instruction counts of one run: the total, and by function name alone (self) and with its callees (incl)."""

    def __init__(self, path):
        self.total = 0
        self.self_ = collections.Counter()
        self.incl = collections.Counter()
        self.calls = collections.Counter()
        self._names = {}
        self._read(path)

    def _name(self, text):
        number, name = _NAME.match(text).groups()
        if name is not None:
            self._names[number] = re.sub(r"'\d+$", "", name)
        return self._names[number]

    def _read(self, path):
        """The format: https://valgrind.org/docs/manual/cl-format.html, one event, names compressed."""
        function = callee = None
        with open(path) as lines:
            for line in lines:
                if line.startswith("fn="):
                    function = self._name(line[3:].rstrip())
                elif line.startswith("cfn="):
                    callee = self._name(line[4:].rstrip())
                elif line.startswith("calls="):
                    cost = int(next(lines).split()[1])
                    self.calls[callee] += int(line[6:].split()[0])
                    if callee != function:
                        self.incl[callee] += cost
                elif line[:1] in "0123456789+-*" and line.strip():
                    cost = int(line.split()[1])
                    self.self_[function] += cost
                    self.total += cost
                elif line.startswith("totals:"):
                    break


def count(loop, row, top):
    """Instructions per operation; with `top`, also the functions that take most of them."""
    with tempfile.TemporaryDirectory() as folder:
        profiles = []
        for n in row.instr_n:
            path = os.path.join(folder, f"{n}.out")
            run_callgrind(loop, row, n, path)
            profiles.append(Profile(path))
    less, more = profiles
    ops = row.instr_n[1] - row.instr_n[0]
    result = {"instructions": (more.total - less.total) / ops}
    if top:
        result["functions"] = sorted(
            ({"name": name, "self": (more.self_[name] - less.self_[name]) / ops, "incl": (more.incl[name] - less.incl[name]) / ops,
              "calls": (more.calls[name] - less.calls[name]) / ops} for name in more.self_),
            key=lambda f: -f["self"])[:top]
    return result


def print_functions(loop, row, functions):
    print(f"\n{row.title} on {loop}, per {row.unit}:\n{'self':>9} {'incl':>9} {'calls':>7}  function")
    for f in functions:
        print(f"{f['self']:9.0f} {f['incl']:9.0f} {f['calls']:7.2f}  {f['name']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loops", default=",".join(loops.importable()), help="comma-separated; default: those importable")
    parser.add_argument("--only", default="", help="rows, comma-separated, of any group; default: those of core")
    parser.add_argument("--top", type=int, default=0, help="list this many functions for each figure")
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()
    names = args.loops.split(",")
    chosen = [rows.row(name) for name in args.only.split(",")] if args.only else [row for row in rows.GROUPS["core"].rows if row in rows.ROWS]
    result = {"python": platform.python_version(), "versions": {name: loops.version(name) for name in names}, "rows": {}}
    print(f"instructions per operation, CPython {platform.python_version()}")
    print(f"{'':38}" + "".join(f"{name:>12}" for name in names), flush=True)
    for row in chosen:
        figures = result["rows"][row.name] = {}
        print(f"{row.title:38}", end="", flush=True)
        for name in names:
            figures[name] = count(name, row, args.top)
            print(f"{figures[name]['instructions']:12,.0f}", end="", flush=True)
        print()
        for name in names if args.top else ():
            print_functions(name, row, figures[name]["functions"])
    if args.json:
        with open(args.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
