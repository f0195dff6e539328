"""Extractors on e-graphs in files, beside published results where there are some.

``python -m examples.benchmarks.extraction FILE...``, or ``--data DIR`` for all that lie in a folder; by default the CSV
files of extraction-gym in ``$TVM_EQSAT_DATA/gym``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tvm_eqsat.egraph.serialize import load
from tvm_eqsat.errors import EqSatError
from tvm_eqsat.extract import EXTRACTORS, extract

METHODS = ("bottom-up", "faster-greedy-dag", "CBC 900 s", "SCIP 900 s", "CPLEX 900 s", "CPLEX 10 h", "SmoothE")
#: DAG costs of the e-graphs of TENSAT in extraction-gym (https://github.com/egraphs-good/extraction-gym): tables and
#: logs of the artefact of SmoothE (https://github.com/yaohuicai/smoothe-artifact). None: no program was found.
PUBLISHED: dict[str, tuple[float | None, ...]] = {
    "bert": (0.824704, 0.824704, 4.139, 0.7666, 0.70472, 0.70472, 0.8247),
    "nasrnn": (0.972425, 0.963310, None, 1.590, 0.949883, 0.944755, 0.956),
    "nasneta": (16.3749, 16.3987, 11.636, 11.310, 11.199453, 11.199453, 11.91),
    "resnet50": (4.396867, 4.396867, 4.486, 4.3858, 4.385795, 4.385795, 4.3858),
    "vgg": (4.852382, 4.850757, 8.262, 4.894, 4.850757, 4.850757, 4.8508),
}


def run(
    files: Sequence[str | os.PathLike[str]] = (),
    extractors: Sequence[str] = tuple(EXTRACTORS),
    time_limit: float | None = None,
) -> dict[str, Any]:
    """Measure, print a table, and return the figures.

    Parameters
    ----------
    files : sequence of path
        E-graphs: egraph-serialize JSON, or extraction-gym CSV. By default what lies in ``$TVM_EQSAT_DATA/gym``.
    extractors : sequence of str
        Names of what to compare.
    time_limit : float, optional
        Seconds for each extraction.

    Raises
    ------
    EqSatError
        A file isn't in the format, or has no program.
    OSError
        A file can't be read.
    """
    if not files and "TVM_EQSAT_DATA" in os.environ:
        files = _in(Path(os.environ["TVM_EQSAT_DATA"], "gym"))
    if not files:
        print("extraction: no e-graphs; set TVM_EQSAT_DATA to a folder with gym/*.csv", file=sys.stderr)
        return {}
    table = Table(title="extraction: DAG cost")
    for heading in ("e-graph", "extractor"):
        table.add_column(heading)
    for heading in ("cost", "lower bound", "seconds"):
        table.add_column(heading, justify="right")
    results: dict[str, Any] = {}
    for file in files:
        name, frozen = Path(file).stem, load(file)
        rows: dict[str, Any] = {}
        for extractor in extractors:
            started = time.perf_counter()
            found = extract(frozen, extractor, time_limit=time_limit)
            seconds = time.perf_counter() - started
            rows[extractor] = {"cost": found.cost, "lower_bound": found.lower_bound, "seconds": seconds}
            bound = "" if found.lower_bound is None else f"{found.lower_bound:.6f}"
            table.add_row(name, extractor, f"{found.cost:.6f}", bound, f"{seconds:.2f}")
        published = dict(zip(METHODS, PUBLISHED.get(name, ()), strict=False))
        for method, cost in published.items():
            table.add_row(name, f"{method} (published)", "failed" if cost is None else f"{cost:.8g}", "", "")
        table.add_section()
        results[name] = {"nodes": frozen.n_nodes, "extractors": rows, "published": published}
    Console(width=110).print(table)
    return results


def _in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in (".csv", ".json"))


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.extraction", description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help="egraph-serialize JSON, or extraction-gym CSV")
    parser.add_argument("--data", type=Path, metavar="DIR", help="all .csv and .json files in this folder too")
    parser.add_argument("--extractors", nargs="+", choices=sorted(EXTRACTORS), default=list(EXTRACTORS))
    parser.add_argument("--time-limit", type=float, metavar="S", help="seconds for each extraction")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    files = [Path(file) for file in args.files]
    if args.data:
        files += _in(args.data)
    try:
        results = run(files, args.extractors, args.time_limit)
    except (EqSatError, OSError) as error:
        print("error:", error, file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
