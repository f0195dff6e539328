"""The measuring engine beside MetaSchedule's own builder and runner: trials per second, and whether latencies agree.

The same schedules of ten kernels are built and timed by both, in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from tvm import te, topi
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.builder import BuilderInput
from tvm.s_tir.meta_schedule.runner import RunnerInput
from tvm.target import Target
from tvm.tirx import PrimFunc

from tvm_eqsat.cost.engine import engine
from tvm_eqsat.cost.intrinsics import load_intrinsics
from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.transform import host_target


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
    """A builder and its runner, and what they found.

    Parameters
    ----------
    pair : tuple
        The builder and the runner.
    target : Target
        What candidates are built for.
    """

    def __init__(self, pair: tuple[Any, Any], target: Target) -> None:
        self.builder, self.runner = pair
        self.target = target
        self.rates: list[float] = []
        self.artifacts: list[str | None] = []

    def batch(self, schedules: Sequence[Any]) -> list[float]:
        """Build and time a batch; returns seconds for each candidate, infinite where it failed."""
        started = time.perf_counter()
        built = self.builder.build([BuilderInput(item.sch.mod, self.target) for item in schedules])
        self.artifacts = [None if result.error_msg else str(result.artifact_path) for result in built]
        seconds = self.time(schedules, range(len(schedules)))
        self.rates.append(len(schedules) / (time.perf_counter() - started))
        return seconds

    def time(self, schedules: Sequence[Any], which: Sequence[int]) -> list[float]:
        """Time some of the last batch once more."""
        good = [i for i in which if self.artifacts[i] is not None]
        futures = self.runner.run([RunnerInput(self.artifacts[i], "cpu", schedules[i].args_info) for i in good])
        found = {i: _mean(future.result().run_secs) for i, future in zip(good, futures, strict=True)}
        return [found.get(i, float("inf")) for i in which]


def _mean(seconds: Sequence[Any] | None) -> float:
    return statistics.mean(map(float, seconds)) if seconds else float("inf")


def _lean_build(mod: Any, target: Target, _params: Any) -> Any:
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock
    from tvm.tirx import build

    return build(RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(mod), target=target)


def _stock(lean: bool) -> tuple[Any, Any]:
    if lean:
        return ms.builder.LocalBuilder(f_build=_lean_build), ms.runner.LocalRunner()
    return ms.Builder.create("local"), ms.Runner.create("local")


def run(
    trials: int = 20, rounds: int = 2, checks: int = 3, lean: bool = False, target: Target | None = None
) -> dict[str, Any]:
    """Measure, print two tables, and return the figures.

    Parameters
    ----------
    trials : int
        Candidates in a batch: the same number for each kernel, at least one.
    rounds : int
        Batches for each side, in turns.
    checks : int
        How often the best schedule of each kernel is timed again by each side, in turns.
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
    ours, stock = Side(engine(threads), target), Side(_stock(lean), target)
    found = [float("inf")] * len(schedules)
    failed = 0
    for _ in range(rounds):
        for side in (ours, stock):
            times = side.batch(schedules)
            print(f"{'engine' if side is ours else 'stock'}: {side.rates[-1]:.2f} trials/s", file=sys.stderr)
            failed += times.count(float("inf"))
            if side is ours:
                found = list(map(min, found, times))
    best = [min(range(k * each, (k + 1) * each), key=found.__getitem__) for k in range(len(functions))]
    samples: dict[str, list[list[float]]] = {"engine": [], "stock": []}
    for _ in range(checks):
        samples["engine"].append(ours.time(schedules, best))
        samples["stock"].append(stock.time(schedules, best))
    ours.builder.close()
    return _report(list(functions), ours, stock, samples, failed, len(schedules))


def _report(
    names: list[str], ours: Side, stock: Side, samples: dict[str, list[list[float]]], failed: int, trials: int
) -> dict[str, Any]:
    console = Console(width=110)
    speed = Table(title=f"trials per second, batches of {trials}")
    for heading in ("", "median", "of each batch"):
        speed.add_column(heading, justify="left" if not heading else "right")
    rates = {"engine": ours.rates, "stock": stock.rates}
    for name, values in rates.items():
        speed.add_row(name, f"{statistics.median(values):.2f}", ", ".join(f"{value:.2f}" for value in values))
    console.print(speed)
    latency = Table(title="latency of the best schedule, microseconds: median (lowest to highest)")
    for heading in ("kernel", "engine", "stock", "engine / stock"):
        latency.add_column(heading, justify="left" if heading == "kernel" else "right")
    rows: dict[str, Any] = {}
    for k, name in enumerate(names):
        times = {side: [seconds[k] * 1e6 for seconds in found] for side, found in samples.items()}
        middle = {side: statistics.median(values) for side, values in times.items()}
        ratio = middle["engine"] / middle["stock"]
        rows[name] = {**{f"{side}_us": values for side, values in times.items()}, "ratio": ratio}
        cells = (f"{middle[side]:.1f} ({min(v):.1f} to {max(v):.1f})" for side, v in times.items())
        latency.add_row(name, *cells, f"{ratio:.3f}")
    console.print(latency)
    ratios = [row["ratio"] for row in rows.values()]
    result = {
        "trials_per_second": rates,
        "speedup": statistics.median(ours.rates) / statistics.median(stock.rates),
        "latencies": rows,
        "ratio_median": statistics.median(ratios),
        "ratio_worst": max(ratios, key=lambda ratio: abs(ratio - 1)),
        "failed": failed,
    }
    console.print(
        f"{result['speedup']:.1f} times the trials per second; latencies: {result['ratio_median']:.3f} times as long"
        f" in the median, {result['ratio_worst']:.3f} in the worst case; {failed} trials failed"
    )
    return result


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks.measuring", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--trials", type=int, default=20, help="candidates in a batch; default: 20")
    parser.add_argument("--rounds", type=int, default=2, help="batches for each side; default: 2")
    parser.add_argument("--checks", type=int, default=3, help="timings of each best schedule; default: 3")
    parser.add_argument("--lean", action="store_true", help="spare MetaSchedule's builder loading tensor intrinsics")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    result = run(args.trials, args.rounds, args.checks, args.lean)
    if args.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
