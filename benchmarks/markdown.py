"""The results as Markdown tables: how many times more than asyncloop each peer takes, a column for each peer and Python.

    python benchmarks/markdown.py RESULT.json [RESULT.json ...] [--only echo,churn] [--peers asyncio,uvloop] [--caption]
    python benchmarks/markdown.py --update              writes every table of README.md, benchmarks/README.md and docs/performance.md anew
    python benchmarks/markdown.py --update --check      status 1 when a table is not what its results say; writes nothing

A table stands in a text between two comments.  The first holds the arguments, with files of benchmarks/results by their bare names; a name
that is not there is passed over, so a table may name results that are measured later:

    <!-- figures: 3.13.json 3.13-net.json --only echo,tls_echo -->
    <!-- end of figures -->

Results of threads.py have a table of their own: thousands of operations a second, for each number of threads (one file a table).

A row is measured by CPU time (memory: bytes).  Results of the same Python share their columns; a row that several of them have is taken from
the first.  An asterisk: the rounds of either side were spread by more than 10 %.
"""

import argparse
import json
import os
import re
import shlex
import sys

import loops

OURS = "asyncloop"
SPREAD_PERCENT = 10
ORDER = (*loops.KNOWN, "c-epoll", "asyncloop-gil")
TITLES = {"c-epoll": "C", loops.INSTALLED: "asyncloop, installed", "asyncloop-gil": "asyncloop with the GIL"}
HERE = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(HERE, "results")
TEXTS = (os.path.join(os.path.dirname(HERE), "README.md"), os.path.join(HERE, "README.md"), os.path.join(os.path.dirname(HERE), "docs", "performance.md"))
BLOCK = re.compile(r"(<!-- figures: (.*?) -->\n)(.*?)(<!-- end of figures -->)", re.S)


def minor(run):
    """The Python of a run, as in 3.13."""
    return ".".join(run["python"].split(".")[:2])


def ratio_text(row, peer):
    """The cell of one peer: its figure over asyncloop's, median of the rounds' ratios."""
    measured = row["loops"]
    metric = next(iter(row["ratios_to_asyncloop"]))
    ratio = row["ratios_to_asyncloop"][metric].get(peer)
    if ratio is None:
        return "–"
    digits = 1 if ratio >= 3 else 2
    is_spread = max(measured[peer]["spread_percent"], measured[OURS]["spread_percent"]) > SPREAD_PERCENT
    return f"{ratio:.{digits}f}{'*' if is_spread else ''}"


def columns_of(runs, only_rows, only_peers):
    """[(Python, peer)], for the peers that were measured in any of the rows, in one order for every table."""
    found = []
    for python in dict.fromkeys(minor(run) for run in runs):
        measured = {peer for run in runs if minor(run) == python for name, row in run["rows"].items() if name in only_rows for peer in row["loops"]}
        found += [(python, peer) for peer in ORDER if peer in measured - {OURS} and (not only_peers or peer in only_peers)]
    return found


def table(runs, names, peers):
    """The lines of the table."""
    columns = columns_of(runs, names, peers)
    lines = ["| | " + " | ".join(f"{TITLES.get(peer, peer)}, {python}" for python, peer in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        of_row = [(minor(run), run["rows"][name]) for run in runs if name in run["rows"]]
        cells = [next((ratio_text(row, peer) for python, row in of_row if python == wanted), "–") for wanted, peer in columns]
        lines.append(f"| {of_row[0][1]['title']} | " + " | ".join(cells) + " |")
    return lines


def thread_text(measured):
    """The cell of one loop with so many threads, a dictionary of threads.py's JSON or None."""
    if measured is None:
        return "–"
    thousands = measured["ops_s"] / 1000
    return f"{thousands:,.{0 if thousands >= 100 else 1}f}{'*' if measured['spread_percent'] > SPREAD_PERCENT else ''}"


def threads_table(run, names, peers):
    """The lines of the table of one run of threads.py."""
    measured = {name for row in names for name in run["rows"][row]["loops"]}
    columns = [name for name in ORDER if name in measured and (not peers or name in peers)]
    lines = ["| | threads | " + " | ".join(TITLES.get(name, name) for name in columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for name in names:
        row = run["rows"][name]
        for n in map(str, run["threads"]):
            cells = [thread_text(row["loops"].get(column, {}).get(n)) for column in columns]
            lines.append(f"| {row['title']} | {n} | " + " | ".join(cells) + " |")
    return lines


def caption(path, run):
    """When, on what and with which peers one file was measured."""
    peers = ", ".join(f"{name} {version}" for name, version in run["versions"].items() if name not in (OURS, "asyncio"))
    machine, name = run["machine"], os.path.basename(path)
    beside = f", with the GIL {run['beside']}" if "beside" in run else ""
    return (f"- [{name}](results/{name}): CPython {run['python']}{beside}, {machine['date'][:10]}, {run['rounds']} rounds, {machine['cpu']} with"
            f" {machine['cpus']} CPUs; {peers}")


def parser():
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("results", nargs="*", metavar="RESULT.json", help="what run.py --json wrote")
    made.add_argument("--only", default="", help="these rows alone, comma-separated, in this order")
    made.add_argument("--peers", default="", help="these peers alone, comma-separated")
    made.add_argument("--caption", action="store_true", help="below the table: when and on what each file was measured")
    made.add_argument("--update", action="store_true", help="write the tables of the texts anew")
    made.add_argument("--check", action="store_true", help="with --update: only look whether they are as they would be written")
    return made


def render(args, paths):
    """The table that these arguments ask for, as text."""
    if not paths:
        return "Not measured yet.\n"
    runs = []
    for path in paths:
        with open(path) as file:
            runs.append(json.load(file))
    names = list(dict.fromkeys(name for run in runs for name in run["rows"]))
    if args.only:
        names = [name for name in args.only.split(",") if name in names]
    peers = [peer for peer in args.peers.split(",") if peer]
    lines = threads_table(runs[0], names, peers) if "threads" in runs[0] else table(runs, names, peers)
    if args.caption:
        lines += ["", *map(caption, paths, runs), ""]
    return "\n".join(lines) + "\n"


def updated(text):
    """The text with every table made anew."""
    def replace(match):
        args = parser().parse_args(shlex.split(match[2]))
        paths = [path for name in args.results if os.path.exists(path := os.path.join(RESULTS, name))]
        return match[1] + render(args, paths) + match[4]

    return BLOCK.sub(replace, text)


def update(check):
    """Write the tables of the texts anew, or say which are old; the exit status."""
    status = 0
    for path in TEXTS:
        with open(path) as file:
            before = file.read()
        after = updated(before)
        if after == before:
            continue
        print(os.path.relpath(path), "has tables that are not what the results say" if check else "updated")
        status = status or int(check)
        if not check:
            with open(path, "w") as file:
                file.write(after)
    return status


def main():
    args = parser().parse_args()
    if args.update:
        sys.exit(update(args.check))
    if not args.results:
        sys.exit("no results given; see --help")
    print(render(args, args.results), end="")


if __name__ == "__main__":
    main()
