"""The main job on a real model: SqueezeNet, four ways, side by side.

The graph is the one that the ``onnx`` package ships, with random weights. TVM untuned, TVM with MetaSchedule,
EqSatOptimize with MetaSchedule and as many trials, and onnxruntime run it on the same number of threads; every output
is compared with onnxruntime's.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tvm import relax

import tvmc
from examples.benchmarks.timing import side_by_side
from examples.logs import show_logs
from examples.models import MODELS, random_inputs
from examples.programs import TOLERANCE, Program, difference, from_library, imported, onnxruntime, target_for
from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.options import EqSatOptions, presets

UNTUNED, TUNED, EQSAT, ORT = "TVM untuned", "TVM + MetaSchedule", "EqSatOptimize + MetaSchedule", "onnxruntime"


def main(argv: list[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    args = _arguments(argv)
    show_logs(logging.WARNING if args.quiet else logging.INFO)
    threads = use_threads(args.threads)
    target = target_for(threads)

    def say(text: str) -> None:
        if not args.quiet:
            print(text, flush=True)

    stages: dict[str, float] = {}

    say(f"{args.model}, {threads} threads, {args.trials} trials on each side, target {target.attrs['mcpu']}")
    with _Stage("load the model", stages):
        proto = MODELS[args.model](seed=args.seed)
        model = imported(proto, args.model)
    inputs = random_inputs(proto, seed=args.seed)

    say("\n1/4  equality saturation")
    optimize = relax.transform.EqSatOptimize(EqSatOptions.preset(args.preset), target=target)
    with _Stage("EqSatOptimize", stages):
        rewritten = tvmc.TVMCModel(optimize(model.mod), input_names=model.input_names, name=model.name)
    report = optimize.report
    say(report.summary())

    work = Path(args.work_dir or tempfile.mkdtemp(prefix="tvm-eqsat-demo-"))
    tuning = {}
    for number, (name, what) in enumerate(((TUNED, model), (EQSAT, rewritten)), start=2):
        say(f"\n{number}/4  tuning: {name}")
        with _Stage(f"tune: {name}", stages):
            records = work / name.split()[0].lower()
            tuning[name] = tvmc.tune(
                what,
                target,
                records,
                trials=args.trials,
                min_repeat_ms=20,
                number=1,
                seed=args.seed,
                register_tiles=name == EQSAT,
            )

    say("\n4/4  compiling and measuring, in turns")
    with _Stage("compile", stages):
        runs = {
            UNTUNED: _compiled(model, target, None, inputs, work / "untuned.so"),
            TUNED: _compiled(model, target, work / "tvm", inputs, work / "tuned.so"),
            EQSAT: _compiled(rewritten, target, work / "eqsatoptimize", inputs, work / "eqsat.so"),
            ORT: onnxruntime(proto, inputs, threads),
        }
    with _Stage("measure", stages):
        expected = runs[ORT]()
        errors = {name: difference(run(), expected) for name, run in runs.items() if name != ORT}
        times = side_by_side(runs, rounds=args.rounds)

    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "median_ms": timing.median_ms,
            "low_ms": timing.low_ms,
            "high_ms": timing.high_ms,
            "speedup": times[TUNED].median_ms / timing.median_ms,
            "difference": errors.get(name),
        }
        for name, timing in times.items()
    ]
    result = {
        "model": args.model,
        "threads": threads,
        "trials": args.trials,
        "rows": rows,
        "rules_used": report.rules_used(),
        "stages": stages,
        "pass_stages": report.stages,
        "kernels": {name: len(found["tasks"]) for name, found in tuning.items()},
        "work_dir": str(work),
    }
    _show(result)
    if args.json:
        print(json.dumps(result))
    wrong = [row["name"] for row in rows if row["difference"] is not None and row["difference"] > args.tolerance]
    if wrong:
        print(f"Error: the outputs of {', '.join(wrong)} differ from onnxruntime's", file=sys.stderr)
    return 1 if wrong else 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="squeezenet", choices=sorted(MODELS), help="default: squeezenet")
    parser.add_argument("--trials", type=int, default=300, help="MetaSchedule trials on each side; default: 300")
    parser.add_argument("--threads", type=int, default=available_cores(), help="default: all cores")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each side when measuring; default: 9")
    parser.add_argument("--preset", default="default", choices=sorted(presets()), help="options of the pass")
    parser.add_argument("--seed", type=int, default=0, help="of weights, inputs and tuning; default: 0")
    parser.add_argument("--work-dir", help="keep tuning records and libraries here, and go on from records that are")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        help="largest accepted difference, relative to the largest output; float32 sums in another order differ by"
        f" about 1e-6 a layer. Default: {TOLERANCE:g}",
    )
    parser.add_argument("--quiet", action="store_true", help="print only the table")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on the last line")
    args = parser.parse_args(argv)
    if args.trials < 1 or args.threads < 1 or args.rounds < 1:
        parser.error("--trials, --threads and --rounds must be 1 or more")
    return args


class _Stage:
    """Adds the time of a block to ``stages``."""

    def __init__(self, name: str, stages: dict[str, float]) -> None:
        self.name = name
        self.stages = stages

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.stages[self.name] = time.perf_counter() - self.started


def _compiled(model: Any, target: Any, records: Path | None, inputs: dict[str, np.ndarray], path: Path) -> Program:
    """The model, compiled and loaded."""
    tvmc.compile(model, target, tuning_records=records, package_path=path)
    return from_library(path, {name: inputs[name] for name in model.input_names})


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result['model']}, {result['threads']} threads, {result['trials']} trials a side")
    table.add_column("", no_wrap=True)
    for heading in ("median ms", "range ms", "against tuned TVM", "largest difference"):
        table.add_column(heading, justify="right")
    for row in result["rows"]:
        difference = "reference" if row["difference"] is None else f"{row['difference']:.1e}"
        spread = f"{row['low_ms']:.2f} - {row['high_ms']:.2f}"
        table.add_row(row["name"], f"{row['median_ms']:.2f}", spread, f"{row['speedup']:.2f}x", difference)
    console = Console(width=max(100, int(os.environ.get("COLUMNS", 0) or 0)))
    console.print(table)
    console.print("rules in the result: " + ", ".join(f"{k} ×{v}" for k, v in result["rules_used"].items()))
    console.print(
        "seconds: " + ", ".join(f"{k} {v:.1f}" for k, v in {**result["stages"], **result["pass_stages"]}.items())
    )


if __name__ == "__main__":
    sys.exit(main())
