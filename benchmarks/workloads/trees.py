"""pyperformance's async_tree, its own script run from the installed package; asyncloop after asyncloop.install().

A tree of coroutines, six levels of six branches: at each node gather or a TaskGroup, at each leaf nothing (none), a sleep of 50 ms (io), the
same for what is not remembered (memoization), or half computing, half that (cpu_io_mixed).  One operation is one tree.
"""

import functools
import importlib.metadata
import importlib.util

from . import Row

SCRIPT = "pyperformance/data-files/benchmarks/bm_async_tree/run_benchmark.py"
NAMES = ("asyncio", "uvloop", "rloop", "zuvloop", "asyncloop")
VARIANTS = ("none", "io", "memoization", "cpu_io_mixed")


@functools.cache
def _script():
    path = importlib.metadata.distribution("pyperformance").locate_file(SCRIPT)
    spec = importlib.util.spec_from_file_location("bm_async_tree", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(variant, use_task_groups, bench, n):
    tree = _script().BENCHMARKS[variant]
    for _ in range(n):
        bench.run(tree(use_task_groups=use_task_groups).run())


def _row(variant, use_task_groups):
    least = (("asyncio", 2.5),) if variant == "none" else ()
    return Row(f"tree_{variant}{'_tg' if use_task_groups else ''}", f"async_tree {variant}, {'TaskGroup' if use_task_groups else 'gather'}", "tree",
               functools.partial(_run, variant, use_task_groups), slices=1, loops=NAMES, targets=(*least, ("uvloop", 1.0), ("rloop", 1.0)), install=True,
               needs=("pyperformance", "pyperf"), instr_n=(1, 2))


ROWS = tuple(_row(variant, use_task_groups) for use_task_groups in (False, True) for variant in VARIANTS)
