"""What share of the extension's lines a run of the tests has reached: by file, then the total.  Fails below --least.

    gcovr --json FILE … && python .ci/coverage.py FILE [--least 95] [--missing]

Two kinds of lines do not count, as no test of this Python can reach them:
  - what the compiler drops, because a COMPAT_ feature is of another version: gcov does not know these lines at all;
  - the block that deals with a failed allocation.  Which block that is, is seen in its text (Memory below), so no line needs a mark.
"""
import argparse
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Memory:
    """The lines of a C file that are there for the case that memory runs out."""

    ALLOCATES = re.compile(r"\b(?:PyMem_\w+|malloc|PyObject_(?:GC_)?New\w*|Py(?:List|Tuple|Dict|Set|Context|Unicode|Bytes|Long|Float|CFunction|Capsule|Module)_"
                           r"(?:New|Pack|Copy\w*|From\w+|Intern\w+|Format)|Py_BuildValue|tp_alloc|context_copy_current|\w+_alloc|\w+_need_rare)\b")

    def __init__(self, text):
        self.lines = text.splitlines()

    @staticmethod
    def _depth(line):
        return len(line) - len(line.lstrip())

    def _guard(self, number):
        """(where it begins, text) of the condition of the block that the line is in; None outside of an `if`."""
        depth = self._depth(self.lines[number])
        at = number - 1
        while at >= 0 and not (self.lines[at].strip() and self._depth(self.lines[at]) < depth and self.lines[at].rstrip().endswith("{")):
            at -= 1
        end = at
        while at > 0 and not re.match(r"\s*(?:\} )?(?:else )?if\b", self.lines[at]):
            at -= 1
            if end - at > 8 or self.lines[at].rstrip().endswith((";", "{", "}")):
                return None
        return (at, " ".join(self.lines[at:end + 1])) if at >= 0 else None

    def has(self, number):
        """Is this line, counted from 1, one of them?"""
        number -= 1
        if "PyErr_NoMemory()" in self.lines[number]:
            return True
        guard = self._guard(number)
        if guard is None:
            return False
        at, text = guard
        if self.ALLOCATES.search(text):
            return True
        block_ends = next((i for i in range(number, len(self.lines)) if self.lines[i].strip().startswith("}")
                           and self._depth(self.lines[i]) < self._depth(self.lines[number])), number)
        if any("PyErr_NoMemory()" in line for line in self.lines[at:block_ends]):
            return True
        tested = re.findall(r"([\w>.\-]+) == NULL", text)
        before = " ".join(self.lines[max(at - 4, 0):at])
        return any(re.search(r"(?<![\w.>])\*?" + re.escape(name) + r" =[^;]*?" + self.ALLOCATES.pattern, before) for name in tested)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--least", type=float, default=0, help="per cent")
    parser.add_argument("--missing", action="store_true", help="also show each line that was not reached")
    args = parser.parse_args()
    rows, missing = [], []
    for file in json.loads(pathlib.Path(args.file).read_text())["files"]:
        memory = Memory((ROOT / file["file"]).read_text())
        counts = {}
        for line in file["lines"]:
            if not line.get("gcovr/noncode"):
                counts[line["line_number"]] = max(counts.get(line["line_number"], 0), line["count"])
        missed = [n for n, count in sorted(counts.items()) if not count and not memory.has(n)]
        rows.append((sum(map(bool, counts.values())), len(missed), file["file"]))
        missing += [f"{file['file']}:{n}: {memory.lines[n - 1].strip()}" for n in missed]
    rows.sort(key=lambda row: -row[1])
    for reached, missed, name in rows:
        print(f"{100 * reached / max(reached + missed, 1):6.1f} % {missed:5d} not reached  {name}")
    if args.missing:
        print("\n".join(missing))
    reached, missed = sum(row[0] for row in rows), sum(row[1] for row in rows)
    share = 100 * reached / (reached + missed)
    print(f"line coverage, TOTAL {share:.2f} % of {reached + missed} lines that can be reached, {missed} are not")
    if share < args.least:
        sys.exit(f"less than {args.least:g} %")


if __name__ == "__main__":
    main()
