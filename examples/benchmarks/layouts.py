"""What the choice of layouts brings, as ALT's ablation asks: loops only; conversions cancelled; channels last; all.

Each model is tuned with each value of the option ``layouts`` at the same numbers of trials, and what comes out is run
in turns. Below, for every value: the trials that it needed to reach the best of the one before it, if it did.

``--directory`` keeps the records, so that an interrupted run goes on and a later one may add trials.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.benchmarks.timing import side_by_side
from examples.models import MODELS, build, random_inputs
from examples.programs import Program, difference, from_library, imported, target_for
from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.options import EqSatOptions

from .end_to_end.contender import Contender

CHOICES = ("none", "conversions", "fixed", "joint")


def measure(name: str, trials: list[int], threads: int, folder: Path) -> list[dict[str, Any]]:
    """One row for each number of trials: milliseconds by choice, and the largest difference between results."""
    onnx_model = build(name)
    model, inputs = imported(onnx_model, name), random_inputs(onnx_model, seed=0)
    rows = []
    for budget in trials:
        programs: dict[str, Program] = {}
        for choice in CHOICES:
            print(f"{name}, layouts={choice}: {budget} trials", file=sys.stderr, flush=True)
            options = EqSatOptions(layouts=choice)
            contender = Contender(model, target_for(threads), folder / name / choice, True, options)
            contender.tune(budget)
            contender.compile(contender.folder / "kernels.so")
            programs[choice] = from_library(contender.folder / "kernels.so", inputs)
        expected = programs[CHOICES[0]]()
        times = side_by_side(programs)
        rows.append(
            {
                "model": name,
                "trials": budget,
                "ms": {choice: times[choice].median_ms for choice in CHOICES},
                "difference": max(difference(program(), expected) for program in programs.values()),
            }
        )
    return rows


def needed(rows: list[dict[str, Any]]) -> dict[str, int | None]:
    """For each choice but the first, the trials at which it is as fast as the best of the one before; None if never."""
    found = {}
    for before, choice in pairwise(CHOICES):
        best = min(row["ms"][before] for row in rows)
        found[choice] = next((row["trials"] for row in rows if row["ms"][choice] <= best), None)
    return found


def main() -> int:
    """Tune, run, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="squeezenet", help=f"comma-separated; of {', '.join(MODELS)}")
    parser.add_argument("--trials", default="100,200,400", help="comma-separated, ascending")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--directory", help="where records are kept; a temporary one by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    trials = sorted(int(n) for n in args.trials.split(","))
    use_threads(args.threads)
    table = Table(title=f"milliseconds by layouts=, {args.threads} threads")
    for heading in ("model", "trials", *CHOICES, "difference"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.models.split(","):
            rows = measure(name, trials, args.threads, Path(args.directory or temporary))
            results[name] = {"rows": rows, "needed": needed(rows)}
            for row in rows:
                cells = [f"{row['ms'][choice]:.3f}" for choice in CHOICES]
                table.add_row(name, str(row["trials"]), *cells, f"{row['difference']:.1e}")
            reached = {choice: "not reached" if n is None else f"{n} trials" for choice, n in needed(rows).items()}
            table.add_row(name, "reached", "", *reached.values(), "")
    if args.json:
        print(json.dumps(results))
    else:
        Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
