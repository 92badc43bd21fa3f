"""From the rounds of a run to medians, ratios, verdicts, and the printed table.

A row's metrics say what its targets are judged by; the first is the row's figure (cpu_ns, or bytes where memory is measured).

A round of a row is one measurement of each loop, one right after another; ratios are taken within a round, so that what disturbs
the machine for a while disturbs both sides, and the median of the ratios is the figure.  A ratio above 1 means asyncloop is better.
"""

import statistics

OURS = "asyncloop"
BUSY_ENOUGH = 0.7   # a loaded echo server that gets less of its CPU than this shares it with something else


def median(rounds, key):
    return statistics.median(r[key] for r in rounds)


def spread(values):
    """Half the distance between the quartiles over the median, in per cent; of fewer than four values, half the range."""
    values = sorted(values)
    middle = statistics.median(values)
    if len(values) < 4:
        low, high = values[0], values[-1]
    else:
        low, _, high = statistics.quantiles(values, n=4)
    return 50 * (high - low) / middle if middle else 0.0


def ratios(measured, base, key):
    """{peer: median over rounds of peer's figure / base's figure} for every loop but base."""
    if base not in measured:
        return {}
    return {peer: statistics.median(p[key] / o[key] for p, o in zip(rounds, measured[base]))
            for peer, rounds in measured.items() if peer != base}


def verdicts(row, measured):
    """One entry for each target of the row whose peer was measured."""
    found = []
    for metric in row.metrics:
        for peer, least, *ours in row.targets:
            base = ours[0] if ours else OURS
            got = ratios(measured, base, metric)
            if peer in got:
                found.append({"loop": base, "peer": peer, "metric": metric, "least": least, "ratio": got[peer],
                              "verdict": "ok" if got[peer] >= least else "missed"})
    return found


def figures(row, rounds):
    """The JSON of one row on one loop."""
    keys = ("cpu_ns", "wall_ns") if row.metrics[0] == "cpu_ns" else row.metrics
    return {**{key: median(rounds, key) for key in keys},
            "spread_percent": round(spread([r[row.metrics[0]] for r in rounds]), 1), "rounds": rounds}


def summary(row, measured):
    """The JSON of one row."""
    return {
        "title": row.title,
        "unit": row.unit,
        "loops": {name: figures(row, rounds) for name, rounds in measured.items()},
        "ratios_to_asyncloop": {metric: ratios(measured, OURS, metric) for metric in row.metrics},
        "targets": verdicts(row, measured),
    }


def time_text(ns):
    """A time with three significant figures and its unit."""
    for unit, size in (("ns", 1), ("us", 1e3), ("ms", 1e6)):
        if ns < 1000 * size or unit == "ms":
            return f"{ns / size:.3g} {unit}" if ns < 999.5 * size else f"{ns / size:.0f} {unit}"


def figure_text(row, measured, name):
    """One loop's figures and how many times more than asyncloop it takes."""
    rounds, main = measured[name], row.metrics[0]
    off = f"+-{spread([r[main] for r in rounds]):4.1f}%"
    found = ratios(measured, OURS, main)
    times = f"  = {found[name]:5.2f}x " if name in found else None
    if main == "bytes":
        line = f"  {name:10} {median(rounds, main):10,.0f} bytes {off}"
        return line if times is None else f"{line}{times}asyncloop's"
    line = f"  {name:10} cpu {time_text(median(rounds, 'cpu_ns')):>8} {off}  wall {time_text(median(rounds, 'wall_ns')):>8}"
    return line if times is None else f"{line}{times}(wall {ratios(measured, OURS, 'wall_ns')[name]:5.2f}x) asyncloop's"


def print_row(row, measured, found):
    """One row: each loop's figures, then the verdicts."""
    print(f"\n{row.title}  (per {row.unit})")
    for name, rounds in measured.items():
        print(figure_text(row, measured, name))
        if "requests_per_s" in rounds[0]:
            print(f"  {'':10} {median(rounds, 'requests_per_s'):,.0f} {row.unit}s/s, server busy {median(rounds, 'server_busy'):.0%},"
                  f" p50 {time_text(median(rounds, 'p50_ns'))}, p99 {time_text(median(rounds, 'p99_ns'))}")
    busiest = max((median(rounds, "server_busy") for rounds in measured.values() if "server_busy" in rounds[0]), default=1.0)
    if "wall_ns" in row.metrics and busiest < BUSY_ENOUGH:
        print(f"  note: no server was busy for more than {busiest:.0%} of the time: others use these CPUs, requests/s say little now")
    for v in found:
        what = {"cpu_ns": "cpu", "wall_ns": "requests/s", "bytes": "bytes"}[v["metric"]]
        print(f"  {v['verdict']:6} {v['loop']} vs {v['peer']} >= {v['least']:g} ({what}): {v['ratio']:.2f}", flush=True)


def print_targets(results):
    """All verdicts once more, in one list, at the end of a run."""
    found = [(row["title"], v) for row in results.values() for v in row["targets"]]
    if not found:
        return
    missed = [(title, v) for title, v in found if v["verdict"] == "missed"]
    print(f"\n{len(found) - len(missed)} of {len(found)} targets reached")
    for title, v in missed:
        print(f"  missed: {title}, vs {v['peer']} >= {v['least']:g} ({v['metric'].removesuffix('_ns')}): {v['ratio']:.2f}")
