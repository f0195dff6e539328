"""What one option of EqSatOptimize brings: each of its values at the same numbers of trials, run in turns.

``python -m examples.benchmarks.ablation --models squeezenet`` is ALT's ablation: loops only; conversions cancelled;
channels last; layouts and loops together. ``--option schedule --values backoff,mcts --set partial=all layouts=joint``
compares schedules where there is most to choose. For every value it tells the trials that it needed to reach the best
of the one before it, if it did.

``--directory`` keeps the records, so that an interrupted run goes on and a later one may add trials.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.arguments import numbers, some_of
from examples.benchmarks.timing import side_by_side
from examples.logs import show_logs
from examples.models import MODELS, build, random_inputs
from examples.programs import Program, difference, from_library, imported, target_for
from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.errors import OptionError
from tvm_eqsat.options import EqSatOptions

from .end_to_end.comparison import say
from .end_to_end.contender import Contender

LAYOUTS = ("none", "conversions", "fixed", "joint")


def measure(
    name: str, choices: dict[str, EqSatOptions], trials: Sequence[int], threads: int, folder: Path, rounds: int
) -> list[dict[str, Any]]:
    """One row for each number of trials: milliseconds by choice, and the largest difference between results."""
    onnx_model = build(name)
    model, inputs = imported(onnx_model, name), random_inputs(onnx_model, seed=0)
    rows = []
    for budget in trials:
        programs: dict[str, Program] = {}
        for choice, options in choices.items():
            say(f"{name}, {choice}: {budget} trials")
            contender = Contender(model, target_for(threads), folder / name / choice, options.prepack, options)
            contender.tune(budget)
            contender.compile(contender.folder / "kernels.so")
            programs[choice] = from_library(contender.folder / "kernels.so", inputs)
        expected = next(iter(programs.values()))()
        times = side_by_side(programs, rounds=rounds)
        rows.append(
            {
                "model": name,
                "trials": budget,
                "ms": {choice: times[choice].median_ms for choice in choices},
                "difference": max(difference(program(), expected) for program in programs.values()),
            }
        )
    return rows


def needed(rows: Sequence[dict[str, Any]]) -> dict[str, int | None]:
    """For each choice but the first, the trials at which it is as fast as the best of the one before; None if never."""
    found = {}
    for before, choice in pairwise(rows[0]["ms"]):
        best = min(row["ms"][before] for row in rows)
        found[choice] = next((row["trials"] for row in rows if row["ms"][choice] <= best), None)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Tune, run, and print a table or JSON."""
    args = _arguments(argv)
    show_logs()
    use_threads(args.threads)
    table = Table(title=f"milliseconds by {args.option}=, {args.threads} threads")
    for heading in ("model", "trials", *args.choices, "difference"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.models:
            folder = Path(args.directory or temporary)
            rows = measure(name, args.choices, args.trials, args.threads, folder, args.rounds)
            results[name] = {"rows": rows, "needed": needed(rows)}
            for row in rows:
                cells = [f"{row['ms'][choice]:.3f}" for choice in args.choices]
                table.add_row(name, str(row["trials"]), *cells, f"{row['difference']:.1e}")
            reached = {choice: "not reached" if n is None else f"{n} trials" for choice, n in needed(rows).items()}
            table.add_row(name, "reached", "", *reached.values(), "")
    if args.json:
        print(json.dumps(results))
    else:
        Console().print(table)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks.ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--models", type=some_of(MODELS), default=["squeezenet"], metavar="A,B", help=f"of {', '.join(MODELS)}")
    add("--option", default="layouts", metavar="NAME", help="of EqSatOptions; default: layouts")
    add("--values", metavar="A,B", help=f"of the option; default: {','.join(LAYOUTS)}")
    add("--set", nargs="+", default=[], metavar="NAME=VALUE", help="other options, for all")
    add("--trials", type=numbers, default=[100, 200, 400], metavar="N,M", help="default: 100,200,400")
    add("--rounds", type=int, default=15, help="turns of each program when measuring; default: 15")
    add("--threads", type=int, default=available_cores(), help="default: all cores")
    add("--directory", metavar="DIR", help="where records are kept; a temporary one by default")
    add("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    if args.values is None and args.option != "layouts":
        parser.error(f"--option {args.option} needs --values")
    try:
        others = dict(_setting(text) for text in args.set)
        values = (args.values or ",".join(LAYOUTS)).split(",")
        args.choices = {
            text: EqSatOptions(prepack=True).with_(**others, **{args.option: _value(text)}) for text in values
        }
    except (OptionError, ValueError) as err:
        parser.error(str(err))
    args.trials = sorted(args.trials)
    return args


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text}: write it as NAME=VALUE")
    return name, _value(value)


def _value(text: str) -> Any:
    """A number, true or false; else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    sys.exit(main())
