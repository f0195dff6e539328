"""How well latencies of kernels are predicted for a model that was never measured.

``python -m examples.benchmarks.predictor DIR --collect --models squeezenet resnet18 …`` measures kernels of models, and
of the same models after ``EqSatOptimize``, into a MetaSchedule database in ``DIR``, which may hold some already; a
kernel of each model in turn, so that what the machine does meanwhile disturbs all models alike.
Without ``--collect``, and after it, a predictor is trained on all models but one and asked for that one's kernels.

Any database that was tuned into can be evaluated, too: ``NAME=DIR`` stands for the records of one model, and may be
given several times. Such records are the noisier for having been measured at different times: with ``--again FILE``
the best schedule of each kernel is timed once more, those of all models in turn.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
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
from tvm_eqsat.cost.engine import IN_PROGRAM
from tvm_eqsat.cost.lower import Kernel, kernels
from tvm_eqsat.cost.machine import machine_for
from tvm_eqsat.cost.predict import Predictor, Records, Sample
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

from .again import times_again

MODELS_FILE = "models.json"
#: Seconds. Kernels that the roofline expects to take longer aren't measured: random schedules take ten times as long.
_LONGEST = 0.02
_BATCH = 4
#: A kernel's latency is known once its two best schedules are so near to each other, relatively.
_SETTLED = 0.1


def collect(
    folder: Path, models: Sequence[str], target: Target, trials: int, minutes: float = inf, seed: int = 0
) -> bool:
    """Measure kernels that ``folder`` doesn't hold yet; returns whether it got to the end, of them or of its time.

    Schedules come from both design spaces, as the pass tunes. A kernel is tried four times, and again as long as its
    two best schedules differ much. Ctrl-C ends it after the kernel that is being measured.

    Parameters
    ----------
    folder : pathlib.Path
        A MetaSchedule database, made if need be; beside it, ``models.json`` tells which model has which kernels.
    models : sequence of str
        Names in :data:`examples.models.MODELS`.
    target : tvm.target.Target
        A CPU target that this machine can run.
    trials : int
        The most schedules of each kernel.
    minutes : float
        After which no other kernel is begun. What it takes to find the kernels counts, too.
    seed : int
        Of weights and schedules.
    """
    end = time.monotonic() + 60 * minutes
    threads = use_threads(int(target.attrs["num-cores"]))
    store = KernelStore(folder, target, settings=Settings.of(IN_PROGRAM, threads))
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
    bar = Progress("measuring", len(wanted), "kernels")
    # Nothing is planned, so nothing is evolved: that would take longer than measuring.
    with interruptible() as stopping, bar, KernelTuner(store, seed=seed, timeout=20) as tuner:
        for kernel in wanted:
            if stopping():
                return False
            if time.monotonic() > end:
                break
            _measure(kernel, tuner, trials)
            best = store.best(kernel.hash)
            bar.advance(1, f"{kernel.name} {'failed' if best is None else f'{best.seconds * 1e6:.1f} us'}")
    return True


def _measure(kernel: Kernel, tuner: KernelTuner, trials: int) -> None:
    """Try schedules of a kernel until its best latency can be relied on."""
    index = tuner.store.index_for(tuner.target)
    while trials > 0 and not tuner.exhausted(kernel):
        trials -= tuner.measure(kernel, min(_BATCH, trials)).trials
        times = [entry.seconds for entry in index.entries(*index.positions(kernel.hash))]
        if len(times) > 1 and times[1] < (1 + _SETTLED) * times[0]:
            break


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


@dataclass(frozen=True)
class Dataset:
    """Measured kernels of some models.

    Attributes
    ----------
    samples : dict
        Every kernel with all of its trials, by structural hash.
    models : dict
        For each model the hashes of its kernels.
    """

    samples: dict[int, Sample]
    models: dict[str, set[int]]

    @classmethod
    def load(cls, sources: Sequence[str], target: Target) -> Dataset:
        """Read what :func:`collect` made, and other databases.

        Parameters
        ----------
        sources : sequence of str
            Each a directory that :func:`collect` filled, or ``NAME=DIR``: all records of ``DIR`` belong to that model.
        target : tvm.target.Target
            The target of the measurements.

        Raises
        ------
        OptionError
            There is no kernel of a model that was measured for this target.
        """
        samples: dict[int, Sample] = {}
        models: dict[str, set[int]] = {}
        for source in sources:
            name, _, folder = source.rpartition("=")
            found = {s.kernel.hash: s for s in Records(index_of(folder, target)).samples()}
            listed = {name: found.keys()} if name else {m: map(int, ks) for m, ks in _index(Path(folder)).items()}
            for model, hashes in listed.items():
                models.setdefault(model, set()).update(found.keys() & set(hashes))
            for key, sample in found.items():
                before = samples[key].trials if key in samples else ()
                samples[key] = Sample(sample.kernel, before + sample.trials)
        models = {model: mine for model, mine in models.items() if mine}
        if not models:
            raise OptionError(
                f"{', '.join(sources)}: no measured kernel of a model for {target}; --collect measures some"
            )
        return cls(samples, models)

    def in_turn(self) -> list[Sample]:
        """All samples, one of each model in turn."""
        turns = {h: place for mine in self.models.values() for place, h in enumerate(sorted(mine))}
        return [self.samples[h] for h in sorted(turns, key=lambda h: (turns[h], h))]

    def rescaled(self, times: Mapping[int, float]) -> Dataset:
        """The kernels that were timed again; all trials of one are as much faster or slower as its best was then."""
        samples = {h: _rescaled(self.samples[h], seconds) for h, seconds in times.items() if h in self.samples}
        models = {model: mine & samples.keys() for model, mine in self.models.items()}
        return Dataset(samples, {model: mine for model, mine in models.items() if mine})


def _rescaled(sample: Sample, best: float) -> Sample:
    factor = best / sample.best()
    return Sample(sample.kernel, tuple([seconds * factor for seconds in sample.trials]))


def evaluate(data: Dataset, target: Target, seed: int = 0) -> dict[str, Any]:
    """Predict each model's kernels from those of the others.

    Parameters
    ----------
    data : Dataset
        The measurements.
    target : tvm.target.Target
        Their target.
    seed : int
        Of the training.

    Returns
    -------
    dict
        For each model and for ``"all"`` of them together: the number of kernels, and for the predictor and for the
        roofline alone the rank correlation and the median absolute relative error. Kernels that two models share are
        left out of the training for either.
    """
    machine = machine_for(target)
    predictor = Predictor(machine)
    rows: dict[str, Any] = {}
    everything: list[tuple[float, float, float, float]] = []
    for model, mine in data.models.items():
        predictor.fit_samples([s for h, s in data.samples.items() if h not in mine], seed=seed)
        found = []
        for sample in (data.samples[h] for h in sorted(mine)):
            predictor.trials = len(sample.trials)
            added = machine.added(sample.kernel.work.carried)  # in a program; it was timed alone
            predicted = predictor.price(sample.kernel).seconds - added
            roofline = seconds(machine, sample.kernel.work)
            found.append((sample.best(), predicted, roofline, predictor.uncertainty(sample.kernel)))
        rows[model] = _figures(found)
        everything += found
    predictor.fit_samples(list(data.samples.values()), seed=seed)
    return {
        "kernels": len(data.samples),
        "trials": sum(len(s.trials) for s in data.samples.values()),
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
    parser.add_argument(
        "data", nargs="+", metavar="DIR", help="a MetaSchedule database with its models.json; or NAME=DIR, one model's"
    )
    parser.add_argument("--collect", action="store_true", help="measure kernels first, into the one DIR")
    parser.add_argument(
        "--models", nargs="+", choices=sorted(MODELS), default=BENCHMARK, help="default: all benchmarks"
    )
    parser.add_argument(
        "--trials-per-kernel", type=int, default=16, metavar="N", help="schedules of each at most; default: 16"
    )
    parser.add_argument("--minutes", type=float, default=8, help="of measuring, for all models together; default: 8")
    parser.add_argument(
        "--threads", type=int, default=1, help="that kernels run on; default: 1, which is disturbed least"
    )
    parser.add_argument(
        "--again", type=Path, metavar="FILE", help="time the best schedules once more; their times are kept in FILE"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    target = Target({**json.loads(str(host_target())), "num-cores": args.threads})
    show_logs()
    try:
        if args.collect:
            if len(args.data) > 1 or "=" in args.data[0]:
                parser.error("--collect measures into one DIR")
            if not collect(Path(args.data[0]), args.models, target, args.trials_per_kernel, args.minutes):
                return INTERRUPTED
        data = Dataset.load(args.data, target)
        if args.again:
            folders = [source.rpartition("=")[2] for source in args.data]
            times = times_again(data.in_turn(), folders, target, args.again)
            if times is None:
                return INTERRUPTED
            data = data.rescaled(times)
        result = evaluate(data, target)
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
