"""The measuring engine beside MetaSchedule's own builder and runner: trials per second, and whether latencies agree.

The same schedules of ten kernels are built and timed by both, in turns. The best one of each kernel is then timed some
more, by both and by a plain process that does nothing else, in turns again. The engine reports the mean of the middle
half of its windows, which leaves out what disturbs some of them; MetaSchedule the mean of all it measures. So that is
compared with the mean of all windows of the engine.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any

import tvm
from rich.console import Console
from rich.table import Table
from tvm import te, topi
from tvm.ir import load_json, save_json
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.builder import BuilderInput
from tvm.s_tir.meta_schedule.runner import RunnerInput
from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock
from tvm.target import Target
from tvm.tirx import PrimFunc

from tvm_eqsat.cost.engine import engine
from tvm_eqsat.cost.intrinsics import load_intrinsics
from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.transform import host_target

#: Seconds that a stock build may take. Its default, 30, isn't enough for what a new process loads first on a busy
#: machine: every trial would fail.
_PATIENCE = 300.0
#: Seconds for which the threads of a process that has run a kernel keep a core busy.
_SETTLE = 1.5
_WHOLE = "all windows"  # of the engine


def _function(body: Callable[..., Any], *shapes: tuple[int, ...]) -> PrimFunc:
    inputs = [te.placeholder(shape, name=f"x{i}") for i, shape in enumerate(shapes)]
    return te.create_prim_func([*inputs, body(*inputs)])


def kernels() -> dict[str, PrimFunc]:
    """Ten kernels of image and language models."""
    nn = topi.nn
    return {
        "conv 3x3": _function(lambda x, w: nn.relu(nn.conv2d_nchw(x, w, 1, 1, 1)), (1, 64, 28, 28), (64, 64, 3, 3)),
        "conv 1x1": _function(lambda x, w: nn.conv2d_nchw(x, w, 1, 0, 1), (1, 128, 28, 28), (128, 128, 1, 1)),
        "conv 3x3 / 2": _function(lambda x, w: nn.conv2d_nchw(x, w, 2, 1, 1), (1, 64, 56, 56), (64, 64, 3, 3)),
        "depthwise": _function(lambda x, w: nn.depthwise_conv2d_nchw(x, w, 1, 1, 1), (1, 128, 56, 56), (128, 1, 3, 3)),
        "matmul": _function(nn.matmul, (128, 768), (768, 768)),
        "matmul + relu": _function(lambda x, w: nn.relu(nn.matmul(x, w)), (128, 512), (512, 1024)),
        "batch matmul": _function(nn.batch_matmul, (12, 128, 64), (12, 128, 64)),
        "softmax": _function(nn.softmax, (12, 128, 128)),
        "max pool": _function(lambda x: nn.pool2d(x, [3, 3], [2, 2], [1, 1], [1, 1, 1, 1], "max"), (1, 64, 112, 112)),
        "add + relu": _function(lambda x, y: nn.relu(topi.add(x, y)), (1, 256, 56, 56), (1, 256, 56, 56)),
    }


def candidates(function: PrimFunc, target: Target, count: int, seed: int) -> list[Any]:
    """Random schedules of a kernel, as MetaSchedule would propose them."""
    with target:
        context = ms.TuneContext(
            mod=function,
            target=target,
            space_generator="post-order-apply",
            search_strategy="replay-trace",
            task_name="main",
            rand_state=seed,
            num_threads=available_cores(),
        )
        context.pre_tuning(count, count, context.generate_design_space())
        found = list(context.generate_measure_candidates() or [])
    if len(found) < count:
        raise RuntimeError(f"MetaSchedule proposed {len(found)} schedules, not {count}")
    return found


class Side:
    """A builder and its runner, and how fast they were.

    Parameters
    ----------
    pair : tuple
        The builder and the runner.
    target : Target
        What candidates are built for.

    Attributes
    ----------
    rates : list of float
        Trials per second of each batch.
    failed : int
        Trials without a result.
    """

    def __init__(self, pair: tuple[Any, Any], target: Target) -> None:
        self.builder, self.runner = pair
        self.target = target
        self.rates: list[float] = []
        self.failed = 0
        self._artifacts: list[str | None] = []

    def batch(self, schedules: Sequence[Any]) -> list[float]:
        """Build and time a batch; returns seconds for each candidate, infinite where it failed."""
        self.clean()
        started = time.perf_counter()
        built = self.builder.build([BuilderInput(item.sch.mod, self.target) for item in schedules])
        self._artifacts = [None if result.error_msg else str(result.artifact_path) for result in built]
        seconds = self.time(schedules, range(len(schedules)))
        self.rates.append(len(schedules) / (time.perf_counter() - started))
        self.failed += seconds.count(math.inf)
        return seconds

    def time(self, schedules: Sequence[Any], which: Sequence[int]) -> list[float]:
        """Time some of the last batch; infinite where it failed."""
        inputs = {i: RunnerInput(path, "cpu", schedules[i].args_info) for i in which if (path := self._artifacts[i])}
        futures = self.runner.run(list(inputs.values()))
        found = {i: _mean(future.result().run_secs) for i, future in zip(inputs, futures, strict=True)}
        return [found.get(i, math.inf) for i in which]

    def means(self, which: Sequence[int]) -> list[float]:
        """Of the engine alone: the mean of all windows when some of the last batch were last timed."""
        windows = {measured.artifact: measured.windows for measured in self.runner.measurements}
        return [_mean(windows.get(self._artifacts[i])) for i in which]

    def clean(self) -> None:
        """Remove what the last batch has left on disk."""
        remove = tvm.get_global_func("s_tir.meta_schedule.remove_build_dir")
        for artifact in filter(None, self._artifacts):
            remove(artifact)
        self._artifacts = []


def _mean(seconds: Sequence[Any] | None) -> float:
    return statistics.mean(map(float, seconds)) if seconds else math.inf


def _stock(lean: bool) -> tuple[Any, Any]:
    build = _lean_build if lean else None
    return ms.builder.LocalBuilder(timeout_sec=_PATIENCE, f_build=build), ms.runner.LocalRunner()


def _lean_build(mod: Any, target: Target, _params: Any) -> Any:
    # Imports here: the function travels to MetaSchedule's processes by value.
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock
    from tvm.tirx import build

    return build(RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(mod), target=target)


def time_plainly(kernels: Sequence[tuple[str, str]]) -> list[float]:
    """Seconds of a run of each kernel, given as module and target in JSON: built by TVM, timed by its evaluator."""
    return [_plainly(*kernel) for kernel in kernels]


def _plainly(module: str, target: str) -> float:
    run, arguments = _compiled(module, target)
    return _mean(run.time_evaluator("main", tvm.cpu(), number=3, repeat=3, min_repeat_ms=100)(*arguments).results)


@cache
def _compiled(module: str, target: str) -> tuple[Any, list[Any]]:
    mod = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(load_json(module))
    compiled = tvm.tirx.build(mod, target=Target(json.loads(target)))
    fill = tvm.get_global_func("tvm.contrib.random.random_fill_for_measure")
    arguments = []
    for info in ms.arg_info.ArgInfo.from_prim_func(mod["main"]):
        _, dtype, shape = info.as_json()
        arguments.append(tvm.runtime.empty([int(d) for d in shape], str(dtype), tvm.cpu()))
        fill(arguments[-1])
    return compiled, arguments


def run(
    trials: int = 60, rounds: int = 2, checks: int = 5, lean: bool = False, target: Target | None = None
) -> dict[str, Any]:
    """Measure, print two tables, and return the figures.

    Parameters
    ----------
    trials : int
        Candidates in a batch: the same number for each kernel, at least one. MetaSchedule's own batches hold 64.
    rounds : int
        Batches for each side, in turns.
    checks : int
        How often the best schedule of each kernel is timed again in each of the three ways, in turns; 0 for never.
    lean : bool
        Spare MetaSchedule's builder what costs it most, and could be mended: in each batch, its new processes load the
        tensor intrinsics of all targets, for tens of seconds.
    target : Target, optional
        By default this machine.
    """
    target = target or host_target()
    threads = use_threads(int(target.attrs.get("num-cores", available_cores())))
    load_intrinsics()
    functions = kernels()
    each = max(1, trials // len(functions))
    schedules = [item for f in functions.values() for item in candidates(f, target, each, seed=1)]
    sides = {"engine": Side(engine(threads), target), "stock": Side(_stock(lean), target)}
    found = [math.inf] * len(schedules)
    try:
        for _ in range(rounds):
            for name, side in sides.items():
                times = side.batch(schedules)
                print(f"{name}: {side.rates[-1]:.2f} trials/s", file=sys.stderr)
                if name == "engine":
                    found = list(map(min, found, times))
        best = [min(range(k * each, (k + 1) * each), key=found.__getitem__) for k in range(len(functions))]
        samples = _check(sides, schedules, best, target, checks)
    finally:
        for side in sides.values():
            side.clean()
        sides["engine"].builder.close()
    return _report(list(functions), sides, samples, len(schedules))


def _check(
    sides: dict[str, Side], schedules: Sequence[Any], best: Sequence[int], target: Target, checks: int
) -> dict[str, list[list[float]]]:
    """For each way of timing, the seconds of each kernel's best schedule in each check."""
    samples: dict[str, list[list[float]]] = {name: [] for name in ("engine", _WHOLE, "stock", "plain")}
    plain = [(save_json(schedules[i].sch.mod), str(target)) for i in best]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        for _ in range(checks):
            for name, side in sides.items():
                samples[name].append(side.time(schedules, best))
                time.sleep(_SETTLE)
            samples[_WHOLE].append(sides["engine"].means(best))
            samples["plain"].append(executor.submit(time_plainly, plain).result())
            time.sleep(_SETTLE)
    return samples


def _report(
    names: list[str], sides: dict[str, Side], samples: dict[str, list[list[float]]], trials: int
) -> dict[str, Any]:
    console = Console(width=120)
    speed = Table(title=f"trials per second, batches of {trials}")
    for heading in ("", "median", "of each batch", "failed"):
        speed.add_column(heading, justify="right" if heading else "left")
    for name, side in sides.items():
        each = ", ".join(f"{rate:.2f}" for rate in side.rates)
        speed.add_row(name, f"{statistics.median(side.rates):.2f}", each, str(side.failed))
    console.print(speed)
    rates = {name: side.rates for name, side in sides.items()}
    result: dict[str, Any] = {
        "trials_per_second": rates,
        "speedup": statistics.median(rates["engine"]) / statistics.median(rates["stock"]),
        "failed": {name: side.failed for name, side in sides.items()},
    }
    console.print(f"{result['speedup']:.1f} times the trials per second")
    if samples["plain"]:
        result |= _report_latencies(console, names, samples)
    return result


def _report_latencies(console: Console, names: list[str], samples: dict[str, list[list[float]]]) -> dict[str, Any]:
    table = Table(title="latency of the best schedule, microseconds: median (lowest)")
    for heading in ("kernel", *samples, "all / stock", "all / plain"):
        table.add_column(heading, justify="left" if heading == "kernel" else "right")
    rows: dict[str, Any] = {}
    for k, name in enumerate(names):
        times = {way: [seconds[k] * 1e6 for seconds in found] for way, found in samples.items()}
        middle = {way: statistics.median(values) for way, values in times.items()}
        ratios = {way: middle[_WHOLE] / middle[way] for way in ("stock", "plain")}
        rows[name] = {"microseconds": times, "ratio": ratios}
        cells = [f"{middle[way]:.1f} ({min(values):.1f})" for way, values in times.items()]
        table.add_row(name, *cells, *(f"{ratio:.3f}" for ratio in ratios.values()))
    console.print(table)
    summary = {}
    for way in ("stock", "plain"):
        found = [row["ratio"][way] for row in rows.values()]
        summary[way] = {"median": statistics.median(found), "worst": max(found, key=lambda ratio: abs(ratio - 1))}
        half, worst = summary[way]["median"], summary[way]["worst"]
        console.print(f"engine, {_WHOLE} / {way}: {half:.3f} in the median, {worst:.3f} in the worst case")
    return {"latencies": rows, "ratios": summary}


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks.measuring", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--trials", type=int, default=60, help="candidates in a batch; default: 60")
    parser.add_argument("--rounds", type=int, default=2, help="batches for each side; default: 2")
    parser.add_argument("--checks", type=int, default=5, help="timings of each best schedule; default: 5")
    parser.add_argument("--quick", action="store_true", help="30 candidates in a batch, 3 timings")
    parser.add_argument("--lean", action="store_true", help="spare MetaSchedule's builder loading tensor intrinsics")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    trials, checks = (30, 3) if args.quick else (args.trials, args.checks)
    result = run(trials, args.rounds, checks, args.lean)
    if args.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
