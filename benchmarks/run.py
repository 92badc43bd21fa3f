"""asyncloop against its peers: CPU and wall time per operation, loops interleaved in fresh processes.

    python benchmarks/run.py [--group core,net,helpers,apps] [--loops asyncio,uvloop,asyncloop] [--only call_soon,echo] [--rounds 7] [--json FILE] [--quick]

For each row: round 1 measures loop A, B, C …, then round 2 does, and so on, every measurement in a process of its own.  Prints the
rows as they are finished and the targets at the end.  A row that needs a program which is not here is left out and named, and so is a loop
that cannot do a row.  See README.md beside this file.

Exit status: 0; with --check 1 when a target is missed.
"""

import argparse
import datetime
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile

import loops
import report
import rows
import served

HERE = os.path.dirname(os.path.abspath(__file__))
ROUND_LONGEST_S = 120
IDLE_ROUNDS = 2     # memory hardly varies


def machine():
    """What the figures were measured on."""
    model = "unknown"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"cpu": model, "cpus": len(os.sched_getaffinity(0)), "kernel": platform.release(), "load": os.getloadavg(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}


def commit():
    """The checkout's commit, with a + when files differ from it; None without git or outside a checkout."""
    if not shutil.which("git"):
        return None
    done = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty=+"], capture_output=True, text=True)
    return done.stdout.strip() or None


def measure_one(loop, row, seconds, n):
    """One round of a row inside a fresh process (measure.py)."""
    command = [sys.executable, os.path.join(HERE, "measure.py"), loop, row.name, "--seconds", str(seconds), "--n", str(n)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ROUND_LONGEST_S)
    if done.returncode:
        raise RuntimeError(f"{loop}: {(done.stderr.strip().splitlines() or [done.returncode])[-1]}")
    return json.loads(done.stdout)


def measure_round(row, name, earlier, args, folder):
    """One round of a row on a loop; earlier: the loop's rounds before."""
    if isinstance(row, served.IdleRow):
        return served.measure_idle(row, name, folder, row.connections // 5 if args.quick else row.connections)
    if isinstance(row, served.ServedRow):
        return served.measure(row, name, folder, args.seconds, not args.block)
    return measure_one(name, row, args.seconds, earlier[0]["n"] if earlier else 0)


def measure_twice(row, name, earlier, args, folder):
    """measure_round, tried again when it fails: on a busy machine one may.  None, and a report: the loop cannot do it."""
    for is_last in (False, True):
        try:
            return measure_round(row, name, earlier, args, folder)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            if is_last or "NotImplementedError" in str(error):
                print(f"  {row.name} left out: {error}", file=sys.stderr)
                return None
    return None


def measure_row(row, names, args, folder):
    """{loop: [one result a round]}.  A loop that fails a row is reported and left out of it."""
    measured = {name: [] for name in names}
    for _ in range(min(args.rounds, IDLE_ROUNDS) if isinstance(row, served.IdleRow) else args.rounds):
        for name in list(measured):
            result = measure_twice(row, name, measured[name], args, folder)
            if result is None:
                del measured[name]
            else:
                measured[name].append(result)
    return measured


def prepare(row, folder):
    """What keeps this row from being measured here, or None."""
    try:
        if isinstance(row, (served.ServedRow, served.IdleRow)):
            served.prepare(row, folder)
    except served.Unavailable as error:
        return str(error)
    missing = [name for name in getattr(row, "needs", ()) if importlib.util.find_spec(name) is None]
    return f"no package {missing[0]}" if missing else None


def names_for(row, wanted):
    """The loops that a row is measured on, of those wanted."""
    return served.names(row, wanted) if isinstance(row, served.ServedRow) else [name for name in wanted if not row.loops or name in row.loops]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group", default="", help=f"rows by group, comma-separated, of: {', '.join(rows.GROUPS)} (default core; --only looks in all)")
    parser.add_argument("--loops", default="", help="comma-separated; default: those of the group that are importable")
    parser.add_argument("--only", default="", help="these rows alone, comma-separated")
    parser.add_argument("--rounds", type=int, default=0, help="default: the group's (core 7, others 5)")
    parser.add_argument("--seconds", type=float, default=0, help="CPU time of one measurement (default: core 1, others 0.6)")
    parser.add_argument("--json", metavar="FILE", help="write the results here too")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 0.2 s: a smoke test, not figures")
    parser.add_argument("--block", action="store_true", help="the network rows' client sleeps while it waits (default: it spins)")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    args = parser.parse_args()
    args.groups = args.group.split(",") if args.group else list(rows.GROUPS) if args.only else ["core"]
    if unknown := [name for name in args.groups if name not in rows.GROUPS]:
        parser.error(f"no group {unknown[0]!r} (groups: {', '.join(rows.GROUPS)})")
    every = {row.name: row for group in args.groups for row in rows.GROUPS[group].rows}
    args.chosen = [every[name] for name in args.only.split(",") if name in every] if args.only else list(every.values())
    if unknown := [name for name in args.only.split(",") if name and name not in every]:
        parser.error(f"no row {unknown[0]!r} (rows: {', '.join(every)})")
    first = rows.GROUPS[next(name for name in args.groups if args.chosen[0] in rows.GROUPS[name].rows)]
    args.loops = args.loops.split(",") if args.loops else loops.importable(first.loops)
    if unknown := [name for name in args.loops if name not in loops.importable(loops.KNOWN)]:
        parser.error(f"loop {unknown[0]!r} is not importable here (known: {', '.join(loops.KNOWN)})")
    args.rounds, args.seconds = args.rounds or first.rounds, args.seconds or first.seconds
    if args.rounds < 1 or args.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    if args.json:   # a run is long: fail now, not at its end
        os.makedirs(os.path.dirname(os.path.abspath(args.json)), exist_ok=True)
        with open(args.json, "a"):
            pass
    if args.quick:
        args.rounds, args.seconds = min(args.rounds, 2), 0.2
    return args


def main():
    args = parse()
    output = {"python": platform.python_version(), "versions": {name: loops.version(name) for name in args.loops},
              "machine": machine(), "commit": commit(), "groups": args.groups, "rounds": args.rounds, "seconds": args.seconds,
              "client": "blocks" if args.block else "spins", "left_out": {}, "rows": {}}
    print(f"CPython {output['python']}; " + ", ".join(f"{k} {v}" for k, v in output["versions"].items()))
    print(f"{output['machine']['cpu']}, {output['machine']['cpus']} CPUs, Linux {output['machine']['kernel']}; {args.rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="asyncloop-bench-") as folder:
        for row in args.chosen:
            reason = prepare(row, folder)
            if reason is not None:
                print(f"\n{row.title}: left out, {reason}")
                output["left_out"][row.name] = reason
                continue
            measured = measure_row(row, names_for(row, args.loops), args, folder)
            result = output["rows"][row.name] = report.summary(row, measured)
            report.print_row(row, measured, result["targets"])
    report.print_targets(output["rows"])
    if args.json:
        with open(args.json, "w") as file:
            json.dump(output, file, indent=1)
    missed = any(v["verdict"] == "missed" for row in output["rows"].values() for v in row["targets"])
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
