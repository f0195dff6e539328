"""How well latencies of kernels are predicted for a model that was never measured.

``python -m examples.benchmarks.predictor DIR --collect --models squeezenet resnet18 …`` measures kernels of models, and
of the same models after ``EqSatOptimize``, into a MetaSchedule database in ``DIR``, which may hold some already.
Without ``--collect``, and after it, a predictor is trained on all models but one and asked for that one's kernels.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from tvm import relax
from tvm.target import Target

from examples.logs import show_logs
from examples.models import BENCHMARK, MODELS
from examples.programs import imported
from tvm_eqsat.cost.database import index_of
from tvm_eqsat.cost.engine import DEFAULT_CONFIG
from tvm_eqsat.cost.lower import Kernel, kernels
from tvm_eqsat.cost.machine import machine_for
from tvm_eqsat.cost.predict import Predictor, Records
from tvm_eqsat.cost.roofline import seconds
from tvm_eqsat.cost.store import KernelStore, Settings
from tvm_eqsat.cost.threads import use_threads
from tvm_eqsat.cost.tuning import KernelTuner, is_tunable
from tvm_eqsat.errors import EqSatError, FormatError, OptionError
from tvm_eqsat.files import write_atomically
from tvm_eqsat.interrupt import INTERRUPTED, interruptible
from tvm_eqsat.options import EqSatOptions
from tvm_eqsat.progress import Progress
from tvm_eqsat.transform import host_target

MODELS_FILE = "models.json"
#: Seconds. Kernels that the roofline expects to take longer aren't measured: random schedules take ten times as long.
_LONGEST = 0.02


def collect(folder: Path, models: Sequence[str], target: Target, trials: int, seed: int = 0) -> bool:
    """Measure kernels that ``folder`` doesn't hold yet; returns whether it got to the end.

    Ctrl-C ends it after the kernel that is being measured.

    Parameters
    ----------
    folder : pathlib.Path
        A MetaSchedule database, made if need be; beside it, ``models.json`` tells which model has which kernels.
    models : sequence of str
        Names in :data:`examples.models.MODELS`.
    target : tvm.target.Target
        A CPU target that this machine can run.
    trials : int
        Random schedules of each kernel.
    seed : int
        Of weights and schedules.
    """
    threads = use_threads(int(target.attrs["num-cores"]))
    store = KernelStore(folder, target, settings=Settings.of(DEFAULT_CONFIG, threads))
    index = _index(folder)
    found: dict[int, Kernel] = {}
    turn: dict[int, int] = {}
    for name in models:
        mine = _kernels_of(name, target, seed)
        index[name] = {str(k.hash): {"name": k.name, "count": k.count} for k in mine.values()}
        write_atomically(folder / MODELS_FILE, json.dumps(index, indent=1))
        found |= mine
        for position, key in enumerate(sorted(mine)):
            turn[key] = min(position, turn.get(key, position))
    # A kernel of every model in turn, so that each has had its share whenever this ends.
    inturn = [found[key] for key in sorted(turn, key=lambda key: (turn[key], key)) if store.best(key) is None]
    wanted = [
        kernel for kernel in inturn if is_tunable(kernel) and seconds(machine_for(target), kernel.work) <= _LONGEST
    ]
    bar = Progress("measuring", trials * len(wanted), "trials")
    with interruptible() as stopping, bar, KernelTuner(store, seed=seed, timeout=20) as tuner:
        for kernel in wanted:
            if stopping():
                return False
            # Random schedules, since nothing was planned: evolution would take longer than measuring them. All at once,
            # so that a kernel with records is one that is finished.
            batch = tuner.measure(kernel, trials)
            bar.advance(batch.trials, f"{kernel.name} {batch.best * 1e6:.1f} us")
    return True


def _kernels_of(name: str, target: Target, seed: int) -> dict[int, Kernel]:
    """Kernels of a model as it is, and as ``EqSatOptimize`` leaves it."""
    mod = imported(MODELS[name](seed=seed), name).mod
    rewritten = relax.transform.EqSatOptimize(EqSatOptions.preset("fast"), target=target)(mod)
    return {k.hash: k for m in (rewritten, mod) for k in kernels(m, target) if k.mod is not None}


def _index(folder: Path) -> dict[str, Any]:
    path = folder / MODELS_FILE
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as err:
        raise FormatError(f"{path} is damaged: {err}; remove it and run with --collect to make it anew") from err


def evaluate(folder: Path, target: Target, seed: int = 0) -> dict[str, Any]:
    """Predict each model's kernels from those of the others.

    Parameters
    ----------
    folder : pathlib.Path
        What :func:`collect` made.
    target : tvm.target.Target
        The target of the measurements.
    seed : int
        Of the training.

    Returns
    -------
    dict
        For each model and for ``"all"`` of them together: the number of kernels, and for the predictor and for the
        roofline alone the rank correlation and the median absolute relative error. Kernels that two models share are
        left out of the training for either.

    Raises
    ------
    OptionError
        There is no dataset of this target in ``folder``.
    """
    samples = {s.kernel.hash: s for s in Records(index_of(folder, target)).samples()}
    machine = machine_for(target)
    predictor = Predictor(machine)
    rows: dict[str, Any] = {}
    everything: list[tuple[float, float, float, float]] = []
    for model, listed in _index(folder).items():
        mine = {int(h) for h in listed} & samples.keys()
        if not mine:
            continue
        predictor.fit_samples([s for h, s in samples.items() if h not in mine], seed=seed)
        found = []
        for sample in (samples[h] for h in sorted(mine)):
            predictor.trials = len(sample.trials)
            predicted = predictor.price(sample.kernel).seconds - machine.overhead
            roofline = seconds(machine, sample.kernel.work)
            found.append((sample.best(), predicted, roofline, predictor.uncertainty(sample.kernel)))
        rows[model] = _figures(found)
        everything += found
    if not rows:
        raise OptionError(f"{folder} has no measured kernel of a model for {target}; --collect measures some")
    predictor.fit_samples(list(samples.values()), seed=seed)
    return {
        "kernels": len(samples),
        "trials": sum(len(s.trials) for s in samples.values()),
        "models": rows,
        "all": _figures(everything),
        "importance": predictor.importance,
    }


def _figures(found: Sequence[tuple[float, float, float, float]]) -> dict[str, Any]:
    measured, predicted, roofline, doubt = np.array(found).T
    figures: dict[str, Any] = {"kernels": len(found)}
    for name, answer in (("predictor", predicted), ("roofline", roofline)):
        figures[f"{name}_spearman"] = float(spearmanr(measured, answer).statistic) if len(found) > 2 else None
        figures[f"{name}_error"] = float(np.median(np.abs(answer / measured - 1)))
    figures["within_two_deviations"] = float(np.mean(np.abs(measured / predicted - 1) <= 2 * doubt))
    return figures


def _show(result: dict[str, Any]) -> None:
    table = Table(title=f"each model predicted from the others: {result['kernels']} kernels, {result['trials']} trials")
    table.add_column("model")
    for heading in ("kernels", "Spearman", "roofline's", "median error", "roofline's", "within 2 deviations"):
        table.add_column(heading, justify="right")
    for name, row in [*result["models"].items(), ("all", result["all"])]:
        table.add_row(
            name,
            str(row["kernels"]),
            *("" if (rank := row[f"{who}_spearman"]) is None else f"{rank:.3f}" for who in ("predictor", "roofline")),
            *(f"{row[f'{who}_error']:.0%}" for who in ("predictor", "roofline")),
            f"{row['within_two_deviations']:.0%}",
            end_section=name == list(result["models"])[-1],
        )
    console = Console(width=110)
    console.print(table)
    best = ", ".join(f"{name} {share:.0%}" for name, share in list(result["importance"].items())[:12])
    console.print(f"what decides, by gain: {best}")


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.predictor", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="the dataset: a MetaSchedule database and models.json")
    parser.add_argument("--collect", action="store_true", help="measure kernels first")
    parser.add_argument(
        "--models", nargs="+", choices=sorted(MODELS), default=BENCHMARK, help="default: all benchmarks"
    )
    parser.add_argument("--trials-per-kernel", type=int, default=16, metavar="N", help="random schedules; default: 16")
    parser.add_argument(
        "--threads", type=int, default=1, help="that kernels run on; default: 1, which is disturbed least"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    target = Target({**json.loads(str(host_target())), "num-cores": args.threads})
    show_logs()
    try:
        if args.collect and not collect(args.folder, args.models, target, args.trials_per_kernel):
            return INTERRUPTED
        result = evaluate(args.folder, target)
    except EqSatError as error:
        print("error:", error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while nothing was being measured
        return INTERRUPTED
    _show(result)
    if args.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
