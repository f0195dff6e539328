"""How well the latency of whole programs is predicted from their kernels.

``python -m examples.benchmarks.prediction --models squeezenet --database DIR --trials-per-kernel 16``: for each model,
some thirty different programs with the same meaning, good and bad ones. Every kernel of each is tuned into ``DIR``, a
MetaSchedule database that may hold some already; then every program is compiled with it, all are measured in turns, and
the times are compared with the predictions. Ctrl-C ends tuning after the current kernel; run it again to go on. Models
that are finished aren't done again if ``--json`` names the same file.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tvm
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from tvm.target import Target

from examples.arguments import some_of
from examples.logs import show_logs
from examples.models import MODELS, random_inputs
from examples.programs import TOLERANCE, difference, imported, target_for
from tvm_eqsat.cost.engine import IN_PROGRAM
from tvm_eqsat.cost.lower import Kernel, kernels
from tvm_eqsat.cost.machine import machine_for
from tvm_eqsat.cost.pricer import KernelPricer, RooflinePricer
from tvm_eqsat.cost.pricing import Row, price_module, pricer_for
from tvm_eqsat.cost.store import KernelStore, Settings
from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.cost.tuning import is_tunable, local_tuner
from tvm_eqsat.errors import EqSatError, VerificationError
from tvm_eqsat.files import write_atomically
from tvm_eqsat.interrupt import INTERRUPTED, interruptible
from tvm_eqsat.progress import Progress

from .timing import side_by_side, without_rounds
from .together import Together
from .variants import Variant, variants

log = logging.getLogger("tvm_eqsat.benchmarks")

#: Turns of each program when measuring.
ROUNDS = 21

_PRICINGS = 3  # of each program, to time one
_CALLS = 9  # of a kernel in a row


def tune(programs: Sequence[Variant], target: Target, database: Path, trials: int, seed: int = 0) -> bool:
    """Tune every kernel of every program that has fewer trials in the database; returns whether it got to the end."""
    wanted: dict[int, Kernel] = {}
    for program in programs:
        wanted |= {kernel.hash: kernel for kernel in kernels(program.mod, target) if is_tunable(kernel)}
    with local_tuner(target, database, seed) as tuner, interruptible() as stopping:
        known = {key: tuner.store.best(key) for key in wanted}
        missing = {key: trials - (0 if best is None else best.trials) for key, best in known.items()}
        tuner.plan(sum(max(0, count) for count in missing.values()), len(wanted))
        with Progress("tuning", len(wanted), "kernels") as bar:
            for key, kernel in wanted.items():
                while missing[key] > 0 and not stopping() and not tuner.exhausted(kernel):
                    batch = tuner.measure(kernel, min(tuner.batch, missing[key]))
                    missing[key] -= max(1, batch.trials)
                bar.advance(1, kernel.name)
        return not stopping()


def compare(
    proto: onnx.ModelProto, programs: Sequence[Variant], target: Target, database: Path, rounds: int, seed: int = 0
) -> list[dict[str, Any]]:
    """Predict and measure every program.

    Returns
    -------
    list of dict
        For each program its ``origin``, ``predicted_ms`` and ``measured_ms``; ``sum_now_ms``, the same sum as the
        prediction with kernels that are measured again between the programs, which leaves out what the machine did
        while they were tuned; the number of kernel ``calls``; the share of the prediction that comes from
        measurements; and the milliseconds that it took to predict, lowering included.
    """
    threads = int(target.attrs["num-cores"])
    store = KernelStore(database, target, settings=Settings.of(IN_PROGRAM, threads))  # as it was tuned
    pricer = pricer_for(target, store)
    inputs = random_inputs(proto, seed=seed)
    rows: list[dict[str, Any]] = []
    parts: list[list[Row]] = []
    log.info("predicting")
    for program in programs:
        price = price_module(program.mod, target, pricer)
        parts.append(list(price.rows))
        rows.append(
            {
                "origin": program.origin,
                "predicted_ms": price.seconds * 1e3,
                "calls": price.calls,
                "kernels": len(price.rows),
                "measured_share": price.by_source().get("measured", 0.0) / price.seconds,
                "pricing_ms": _pricing_ms(program.mod, target, pricer),
            }
        )
    distinct = {part.kernel.hash for mine in parts for part in mine if is_tunable(part.kernel)}
    log.info("compiling %d programs of %d kernels", len(programs), len(distinct))
    together = Together([program.mod for program in programs], target, store)
    runs = {str(number): together.program(number, inputs) for number in range(len(programs))}
    log.info("measuring them")
    expected = runs["0"]()
    for row, run in zip(rows, runs.values(), strict=True):
        row["difference"] = difference(run(), expected)
        if row["difference"] > TOLERANCE:
            raise VerificationError(f"{row['origin']} computes something else: {row['difference']:.1e} off")
    calls = together.calls(distinct)
    turns: list[list[float]] = [[] for _ in rows]
    sums: list[list[float]] = [[] for _ in rows]
    with Progress("measuring", rounds, "rounds") as bar:
        for _ in range(rounds):
            timings = side_by_side(runs, rounds=1, seconds_per_turn=0.1)
            now = {shash: _alone(call) for shash, call in calls.items()}
            for mine, timing, of_all, of_kernels in zip(parts, timings.values(), turns, sums, strict=True):
                of_all.append(timing.median_ms)
                seconds = [p.kernel.count * now.get(p.kernel.hash, p.price.seconds) for p in mine]
                of_kernels.append(1e3 * sum(seconds))
            bar.advance(1)
    for name, times in ("measured_ms", turns), ("sum_now_ms", sums):
        for row, by_round, alone in zip(rows, times, without_rounds(times), strict=True):
            row[name], row[f"{name}_by_round"] = alone, by_round
    return rows


def _alone(call: Callable[[], float]) -> float:
    """Seconds of a kernel."""
    call()
    return statistics.fmean(call() for _ in range(_CALLS))


def _pricing_ms(mod: tvm.IRModule, target: Target, pricer: KernelPricer) -> float:
    times = []
    for _ in range(_PRICINGS):
        started = time.perf_counter()
        price_module(mod, target, pricer)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


def figures(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How far predictions are off: median and 90 % quantile of the relative error, the median with its sign, ranks."""
    predicted, measured = (np.array([row[name] for row in rows]) for name in ("predicted_ms", "measured_ms"))
    errors = predicted / measured - 1
    now = np.array([row["sum_now_ms"] for row in rows])
    return {
        "programs": len(rows),
        "median_error": float(np.median(np.abs(errors))),
        "error_90": float(np.quantile(np.abs(errors), 0.9)),
        "bias": float(np.median(errors)),
        "spearman": float(spearmanr(predicted, measured).statistic) if len(rows) > 2 else None,
        "median_error_now": float(np.median(np.abs(now / measured - 1))),
        "bias_now": float(np.median(now / measured - 1)),
        "spearman_now": float(spearmanr(now, measured).statistic) if len(rows) > 2 else None,
        "measured_share": float(np.mean([row["measured_share"] for row in rows])),
        "pricing_ms": float(np.median([row["pricing_ms"] for row in rows])),
        "fastest_ms": float(measured.min()),
        "slowest_ms": float(measured.max()),
        "regret": float(measured[predicted.argmin()] / measured.min() - 1),
    }


def run(
    models: Sequence[str],
    database: Path,
    trials: int,
    *,
    programs: int = 30,
    threads: int,
    rounds: int = ROUNDS,
    seed: int = 0,
    json_file: Path | None = None,
) -> dict[str, Any] | None:
    """Tune, predict, measure and compare; None if tuning was interrupted.

    Figures of all models so far are in ``json_file``, which may hold some from an earlier run with the same settings.
    """
    target = target_for(threads)
    use_threads(threads)
    machine = machine_for(target)
    roofline = RooflinePricer(machine)
    settings = {"target": str(target), "trials_per_kernel": trials, "programs": programs}
    settings |= {"rounds": rounds, "seed": seed}
    finished = _finished(json_file, settings)
    for name in models:
        if name in finished:
            log.info("%s: as measured before, see %s", name, json_file)
            continue
        log.info("%s: looking for %d different programs", name, programs)
        proto = MODELS[name](seed=seed)
        mod = imported(proto, name).mod
        found = variants(mod, machine, programs, lambda m: price_module(m, target, roofline).seconds, seed=seed)
        if not tune(found, target, database, trials, seed):
            return None
        rows = compare(proto, found, target, database, rounds, seed)
        finished[name] = {**figures(rows), "rows": rows}
        if json_file:
            write_atomically(json_file, json.dumps(_result(settings, finished), indent=1))
    return _result(settings, finished)


def _result(settings: dict[str, Any], models: dict[str, Any]) -> dict[str, Any]:
    """What is written and shown."""
    return {**settings, "models": models, "all": figures([row for model in models.values() for row in model["rows"]])}


def _finished(json_file: Path | None, settings: dict[str, Any]) -> dict[str, Any]:
    """The models that a file has figures of, if they were measured with these settings."""
    if json_file is None or not json_file.is_file():
        return {}
    try:
        known = json.loads(json_file.read_text(encoding="utf-8"))
        return dict(known["models"]) if all(known[name] == value for name, value in settings.items()) else {}
    except (ValueError, KeyError, TypeError):
        return {}  # something else, which is overwritten


def _show(result: dict[str, Any]) -> None:
    table = Table(title=f"programs predicted from their kernels, {result['trials_per_kernel']} trials each")
    table.add_column("model")
    for heading in (
        *("programs", "measured ms", "median error", "90 %", "bias", "Spearman"),
        *("kernels now: error", "bias", "regret", "measured share", "pricing ms"),
    ):
        table.add_column(heading, justify="right")
    for name, row in [*result["models"].items(), ("all", result["all"])]:
        table.add_row(
            name,
            str(row["programs"]),
            f"{row['fastest_ms']:.2f} - {row['slowest_ms']:.2f}",
            *(f"{row[figure]:.1%}" for figure in ("median_error", "error_90", "bias")),
            "" if row["spearman"] is None else f"{row['spearman']:.3f}",
            *(f"{row[figure]:.1%}" for figure in ("median_error_now", "bias_now", "regret")),
            f"{row['measured_share']:.0%}",
            f"{row['pricing_ms']:.0f}",
        )
    Console(width=150).print(table)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.prediction", description=__doc__)
    parser.add_argument("--models", required=True, type=some_of(MODELS), metavar="A,B", help=f"of: {', '.join(MODELS)}")
    parser.add_argument("--database", required=True, type=Path, metavar="DIR", help="where tuning records are kept")
    parser.add_argument("--trials-per-kernel", type=int, default=16, metavar="T", help="default: 16")
    parser.add_argument("--programs", type=int, default=30, metavar="N", help="of each model; default: 30")
    parser.add_argument("--threads", type=int, default=available_cores(), help="default: all cores")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help=f"turns of each program when measuring; default: {ROUNDS}"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights, programs and tuning; default: 0")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there; what it holds is kept")
    args = parser.parse_args(argv)
    if min(args.trials_per_kernel, args.programs, args.threads, args.rounds) < 1:
        parser.error("--trials-per-kernel, --programs, --threads and --rounds must be 1 or more")
    show_logs()
    try:
        result = run(
            args.models,
            args.database,
            args.trials_per_kernel,
            programs=args.programs,
            threads=args.threads,
            rounds=args.rounds,
            seed=args.seed,
            json_file=args.json,
        )
    except EqSatError as error:
        print("error:", error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while nothing was being tuned
        return INTERRUPTED
    if result is None:
        return INTERRUPTED
    _show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
