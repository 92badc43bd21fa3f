"""One row on one loop in this process; prints one line of JSON.

    python measure.py LOOP ROW --seconds S [--n N]      time it: calibrates n when it is not given
    python measure.py LOOP ROW --n N --bare             do the operations once and print nothing (for instructions.py)

Time is taken over a few runs of n operations each, after a warm-up, and the median of these slices is reported: CPU time of the whole
process (time.process_time_ns, user and system, all threads) and wall time, both in ns per operation.
"""

import argparse
import gc
import json
import statistics
import time

import loops
import rows


def _timed(row, bench, n):
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    row.run(bench, n)
    return time.process_time_ns() - cpu, time.perf_counter_ns() - wall


def calibrate(row, bench, seconds):
    """How many operations take about `seconds` of CPU time on this loop."""
    n = row.step
    while True:
        cpu, _ = _timed(row, bench, n)
        if n >= row.max_n:
            return row.max_n
        if cpu > seconds * 1e9 / 8:
            wanted = int(n * seconds * 1e9 / cpu)
            return min(row.max_n, max(row.step, wanted // row.step * row.step))
        n = min(row.max_n, n * 4)


def measure(row, bench, seconds, n):
    """Median CPU and wall ns per operation over the row's slices, which take `seconds` together."""
    if n:
        row.run(bench, max(row.step, n // row.step // 2 * row.step))
    else:
        n = calibrate(row, bench, seconds / row.slices)
    gc.collect()
    slices = [_timed(row, bench, n) for _ in range(row.slices)]
    return {
        "n": n,
        "cpu_ns": statistics.median(cpu for cpu, _ in slices) / n,
        "wall_ns": statistics.median(wall for _, wall in slices) / n,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loop", choices=loops.WITH_AIOFASTNET)
    parser.add_argument("row", choices=[row.name for row in rows.ROWS])
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--n", type=int, default=0)
    parser.add_argument("--bare", action="store_true")
    args = parser.parse_args()
    row = rows.row(args.row)
    bench = loops.Bench(args.loop, install=row.install)
    if args.bare:
        row.run(bench, args.n)
    else:
        print(json.dumps(measure(row, bench, args.seconds, args.n)))
    bench.close()


if __name__ == "__main__":
    main()
