"""The results as Markdown: how many times more than asyncloop each peer takes, a column for each peer and Python.

    python benchmarks/markdown.py RESULT.json [RESULT.json ...] [--only echo,churn]

A row is measured by CPU time (memory: bytes).  An asterisk: the rounds of either side were spread by more than 10 %.
"""

import argparse
import json

OURS = "asyncloop"
SPREAD_PERCENT = 10


def ratio_text(row, peer):
    """The cell of one peer: its figure over asyncloop's, median of the rounds' ratios."""
    loops = row["loops"]
    metric = next(iter(row["ratios_to_asyncloop"]))
    ratio = row["ratios_to_asyncloop"][metric].get(peer)
    if ratio is None:
        return "–"
    digits = 1 if ratio >= 3 else 2
    is_spread = max(loops[peer]["spread_percent"], loops[OURS]["spread_percent"]) > SPREAD_PERCENT
    return f"{ratio:.{digits}f}{'*' if is_spread else ''}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", metavar="RESULT.json", help="what run.py --json wrote")
    parser.add_argument("--only", default="", help="these rows alone, comma-separated")
    args = parser.parse_args()
    runs = []
    for path in args.results:
        with open(path) as file:
            runs.append(json.load(file))
    names = list(dict.fromkeys(name for run in runs for name in run["rows"]))
    if args.only:
        names = [name for name in names if name in args.only.split(",")]
    columns = [(run, peer) for run in runs
               for peer in dict.fromkeys(peer for row in run["rows"].values() for peer in row["loops"] if peer != OURS)]
    print("| | " + " | ".join(f"{peer}, {'.'.join(run['python'].split('.')[:2])}" for run, peer in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in names:
        title = next(run["rows"][name]["title"] for run in runs if name in run["rows"])
        print(f"| {title} | " + " | ".join(ratio_text(run["rows"][name], peer) if name in run["rows"] else "–" for run, peer in columns) + " |")


if __name__ == "__main__":
    main()
