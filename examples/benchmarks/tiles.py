"""What register tiles add to MetaSchedule's design space: the best schedule after some trials, with them and without.

Both sides have the same engine and the same kernels: the largest of some models, as TVM fuses them. They take turns, a
batch of trials each; at the end, the best schedule of each side after each number of trials is timed again, in turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from math import exp, inf, log
from pathlib import Path
from statistics import fmean, median
from typing import Any

import tvm
from rich.console import Console
from rich.table import Table
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx
from tvm.s_tir.meta_schedule.builder import BuilderInput
from tvm.s_tir.meta_schedule.runner import RunnerInput
from tvm.target import Target

from examples.models import build
from examples.programs import target_for
from tvm_eqsat.cost.engine import engine
from tvm_eqsat.cost.intrinsics import load_intrinsics
from tvm_eqsat.cost.lower import Kernel, kernels
from tvm_eqsat.cost.roofline import Kind
from tvm_eqsat.cost.store import KernelStore, this_host
from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.cost.tuning.search import KernelSearch
from tvm_eqsat.files import write_atomically

MODELS = ("resnet50", "mobilenet_v2", "squeezenet", "bert_base")
_BATCH = 8
_CHECKS = 5


class Side:
    """A search of one kernel, and its best schedule after each number of trials.

    Parameters
    ----------
    search : KernelSearch
        Proposes.
    """

    def __init__(self, search: KernelSearch) -> None:
        self.search = search
        self.trials = 0
        self.best: tuple[float, Any] = (inf, None)
        self.after: dict[int, Any] = {}

    def step(self, count: int, tools: tuple[Any, Any], target: Target) -> None:
        """Try some more schedules."""
        found = self.search.propose(count)
        results = measured(found, tools, target)
        self.search.learn(found, results)
        self.trials += count
        for candidate, result in zip(found, results, strict=True):
            seconds = fmean(map(float, result.run_secs)) if result.run_secs else inf
            if seconds < self.best[0]:
                self.best = seconds, candidate
        self.after[self.trials] = self.best[1]


def measured(candidates: Sequence[Any], tools: tuple[Any, Any], target: Target) -> list[Any]:
    """Results of the runner for schedules, also of those that can't be built."""
    builder, runner = tools
    built = builder.build([BuilderInput(c.sch.mod, target) for c in candidates])
    good = [i for i, done in enumerate(built) if done.error_msg is None]
    futures = runner.run([RunnerInput(built[i].artifact_path, "cpu", candidates[i].args_info) for i in good])
    results = {i: future.result() for i, future in zip(good, futures, strict=True)}
    remove = tvm.get_global_func("s_tir.meta_schedule.remove_build_dir")
    for i in good:
        remove(built[i].artifact_path)
    failed = tvm.s_tir.meta_schedule.runner.RunnerResult
    return [results.get(i) or failed(None, str(done.error_msg)) for i, done in enumerate(built)]


def chosen(models: Sequence[str], each: int, target: Target, as_imported: bool) -> dict[str, Kernel]:
    """The kernels of most arithmetic of each model, by name."""
    found = {}
    for model in models:
        mod = from_onnx(build(model))
        if not as_imported:
            mod = relax.transform.EqSatOptimize(target=target)(mod)
        dense = [
            k for k in kernels(mod, target) if k.mod is not None and k.work.kind not in (Kind.STREAM, Kind.SHUFFLE)
        ]
        for kernel in sorted(dense, key=lambda k: -k.count * k.flops)[:each]:
            found[f"{model}: {kernel.name}"] = kernel
    return found


def run(
    found: dict[str, Kernel],
    trials: Sequence[int],
    target: Target,
    *,
    seed: int = 0,
    checks: int = _CHECKS,
    work: Path | None = None,
) -> dict[str, Any]:
    """Tune each kernel in both ways, and compare.

    Parameters
    ----------
    found : dict of str to Kernel
        Kernels.
    trials : sequence of int
        After how many trials to compare.
    target : tvm.target.Target
        This machine.
    seed : int
        Of both searches.
    checks : int
        How often each best schedule is timed again.
    work : pathlib.Path, optional
        Where finished kernels are written down; those that were finished before, in the same way, are taken over.

    Returns
    -------
    dict
        For each kernel, GFLOP/s of both sides after each number of trials, and the geometric means of the ratios.
    """
    threads = use_threads(int(target.attrs.get("num-cores", available_cores())))
    load_intrinsics()
    tools = engine(threads)
    rows: dict[str, Any] = {}
    try:
        with target:
            for name, kernel in found.items():
                settings = {"trials": sorted(trials), "target": str(target), "seed": seed, "host": this_host()}
                finished = None if work is None else work / f"{kernel.name}-{kernel.hash & 0xFFFFFFFF:08x}.json"
                known = _finished(finished, settings)
                rows[name] = known or _compare(kernel, sorted(trials), target, tools, seed, checks)
                if finished is not None and known is None:
                    finished.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(finished, json.dumps({"settings": settings, "row": rows[name]}))
                print(f"{name}: {_line(rows[name])}", file=sys.stderr, flush=True)
    finally:
        tools[0].close()
    ratios = {n: [row["ratio"][n] for row in rows.values()] for n in sorted(trials)}
    means = {n: exp(fmean(map(log, values))) for n, values in ratios.items() if values}
    return {"kernels": rows, "geometric_mean": means, "worst": {n: min(v) for n, v in ratios.items() if v}}


def _finished(path: Path | None, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The row of a kernel that was finished before with these settings."""
    known = json.loads(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else {}
    if known.get("settings") != settings:
        return None
    return {part: {int(n): value for n, value in found.items()} for part, found in known["row"].items()}


def _compare(
    kernel: Kernel, trials: Sequence[int], target: Target, tools: tuple[Any, Any], seed: int, checks: int
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        sides = {
            name: Side(
                KernelSearch(
                    kernel,
                    target,
                    KernelStore(Path(folder, name), target),
                    batch=_BATCH,
                    seed=seed,
                    threads=available_cores(),
                    tiles=name == "tiles",
                )
            )
            for name in ("stock", "tiles")
        }
        for limit in trials:
            while any(side.trials < limit for side in sides.values()):
                for side in sides.values():
                    side.step(min(_BATCH, limit - side.trials), tools, target)
    best = {(name, n): side.after[n] for name, side in sides.items() for n in trials if side.after[n] is not None}
    times: dict[tuple[str, int], list[float]] = {key: [] for key in best}
    for _ in range(checks):
        for key, result in zip(best, measured(list(best.values()), tools, target), strict=True):
            times[key] += [median(map(float, result.run_secs))] if result.run_secs else []
    seconds = {key: min(values) for key, values in times.items() if values}
    speeds = {name: {n: kernel.flops / seconds.get((name, n), inf) / 1e9 for n in trials} for name in sides}
    ratio = {n: speeds["tiles"][n] / max(speeds["stock"][n], 1e-9) for n in trials}
    return {**speeds, "ratio": ratio}


def _line(row: dict[str, Any]) -> str:
    return ", ".join(f"{n} trials {row['stock'][n]:.1f} -> {row['tiles'][n]:.1f} GFLOP/s" for n in row["ratio"])


def report(result: dict[str, Any]) -> None:
    """Print a table."""
    table = Table(title="GFLOP/s of the best schedule: MetaSchedule's space, with register tiles, ratio")
    table.add_column("kernel")
    limits = list(result["geometric_mean"])
    for n in limits:
        table.add_column(f"{n} trials", justify="right")
    for name, row in result["kernels"].items():
        cells = (f"{row['stock'][n]:.1f}  {row['tiles'][n]:.1f}  {row['ratio'][n]:.2f}x" for n in limits)
        table.add_row(name, *cells)
    table.add_row("geometric mean", *(f"{result['geometric_mean'][n]:.2f}x" for n in limits))
    table.add_row("worst", *(f"{result['worst'][n]:.2f}x" for n in limits))
    Console(width=140).print(table)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.tiles", description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS), help=f"default: {','.join(MODELS)}")
    parser.add_argument("--each", type=int, default=3, help="kernels of each model; default: 3")
    parser.add_argument("--kernels", default="", help="only kernels whose names hold one of these words")
    parser.add_argument("--trials", default="16,64", help="after how many trials to compare; default: 16,64")
    parser.add_argument("--as-imported", action="store_true", help="without EqSatOptimize: convolutions stay in NCHW")
    parser.add_argument("--threads", type=int, default=available_cores(), help="default: all cores")
    parser.add_argument("--seed", type=int, default=0, help="of both searches; default: 0")
    parser.add_argument("--work-dir", type=Path, metavar="DIR", help="where finished kernels are kept, and found again")
    parser.add_argument("--json", metavar="FILE", help="write the figures to a file")
    args = parser.parse_args(argv)
    target = target_for(args.threads)
    found = chosen(args.models.split(","), args.each, target, args.as_imported)
    words = [word for word in args.kernels.split(",") if word]
    if words:
        found = {name: kernel for name, kernel in found.items() if any(word in name for word in words)}
    limits = [int(n) for n in args.trials.split(",")]
    try:
        result = run(found, limits, target, seed=args.seed, work=args.work_dir)
    except KeyboardInterrupt:
        print("interrupted; with --work-dir, the same command goes on after the last finished kernel", file=sys.stderr)
        return 130
    report(result)
    if args.json:
        write_atomically(Path(args.json), json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
