"""What partially equivalent programs (PET) bring to whole models: EqSatOptimize without and with ``partial="all"``.

Beside both, TVM with MetaSchedule and onnxruntime; the sides are those of :mod:`examples.benchmarks.end_to_end`.
Whoever tunes has the same trials, all have the same threads, all are run in turns, and every output is compared with
onnxruntime's. ``python -m examples.benchmarks.mutants --measure N`` shows single operators.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from rich.console import Console
from rich.table import Table
from tvm.relax.frontend.onnx import from_onnx

from examples.arguments import numbers, some_of
from examples.logs import show_logs
from examples.models import MODELS, build
from tvm_eqsat.cost.store import this_host
from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.files import write_atomically
from tvm_eqsat.options import EqSatOptions, presets

from .end_to_end.__main__ import finish
from .end_to_end.comparison import ORT, TVM, Comparison, Settings, say, tuned

WITHOUT, WITH = "EqSatOptimize", "EqSatOptimize, partial"
SIDES = {label: tuned(label, "trials") for label in (TVM, WITHOUT, WITH)} | {ORT: ORT}
"""Keys of the programs in a result, by label."""

DEFAULT = ("resnet18", "csrnet", "inception_v3_pet", "bert_pet", "dcgan", "fsrcnn", "infogan")
"""The models on which PET (OSDI 2021) and EinNet (OSDI 2023) report, of those that are built here."""

Result = dict[str, Any]


class PartialComparison(Comparison):
    """One model in four programs."""

    def run(self) -> Result:
        """Tune, compile, measure; returns the figures.

        Raises
        ------
        KeyboardInterrupt
            It was interrupted; another run goes on with what was measured.
        """
        mod, settings = from_onnx(self.model), self.settings
        options = EqSatOptions.preset(settings.preset, seed=settings.seed)
        folder = f"eqsat-{settings.preset}"
        sides = {
            TVM: self._contender("tvm", mod),
            WITHOUT: self._contender(folder, mod, settings.prepack, options.with_(partial="none")),
            WITH: self._contender(f"{folder}+partial", mod, settings.prepack, options.with_(partial="all")),
        }
        for label, contender in sides.items():
            self._say(f"{label}: {settings.trials} trials")
            contender.tune(settings.trials)
        self._compile(sides, "trials")
        self._add_others()
        return self._measured()


def run(models: Collection[tuple[str, int]], settings: Settings, work: Path) -> Result:
    """Compare on several models, each with its batch; finished ones with the same settings are taken over.

    Raises
    ------
    KeyboardInterrupt
        It was interrupted. Another call goes on where this one stopped.
    """
    work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Result] = {}
    for number, (name, batch) in enumerate(models, 1):
        title = f"{name}, batch {batch}"
        place = f"{title} ({number} of {len(models)})"
        finished = work / f"{name}-batch-{batch}.json"
        known = json.loads(finished.read_text(encoding="utf-8")) if finished.is_file() else {}
        if known.get("settings") == settings.to_json():
            say(f"{place}: finished before")
            found[title] = known["result"]
            continue
        say(place)
        with tempfile.TemporaryDirectory(dir=work) as scratch:
            model = build(name, seed=settings.seed, batch=batch)
            comparison = PartialComparison(f"{name}-batch-{batch}", model, settings, work, Path(scratch))
            found[title] = comparison.run()
        write_atomically(finished, json.dumps({"settings": settings.to_json(), "result": found[title]}))
    return {"settings": settings.to_json(), "models": found, "summary": summary(found)}


def summary(models: dict[str, Result]) -> dict[str, Any]:
    """How many times as fast programs with mutants are as the other ones, and which models gain a tenth by them."""
    gains = {
        label: {name: model["speedups"][SIDES[WITH]][key] for name, model in models.items()}
        for label, key in SIDES.items()
        if label != WITH
    }
    return {
        "geometric_means": {label: geometric_mean(of.values()) for label, of in gains.items() if of},
        "gain_a_tenth": [name for name, gain in gains[WITHOUT].items() if gain >= 1.1],
    }


def show(result: Result) -> None:
    """Print the table."""
    settings = result["settings"]
    table = Table(title=f"milliseconds, {settings['trials']} trials, {settings['threads']} threads")
    table.add_column("model", no_wrap=True)
    for heading in (*SIDES, *(f"partial against {label}" for label in (WITHOUT, TVM, ORT)), "largest difference"):
        table.add_column(heading, justify="right")
    for name, model in result["models"].items():
        programs, speedups = model["programs"], model["speedups"][SIDES[WITH]]
        table.add_row(
            name,
            *(f"{programs[key]['median_ms']:.3f}" for key in SIDES.values()),
            *(f"{speedups[SIDES[label]]:.2f}x" for label in (WITHOUT, TVM, ORT)),
            f"{max(row['difference'] for row in programs.values()):.1e}",
        )
    console = Console(width=140)
    console.print(table)
    for label, mean in result["summary"]["geometric_means"].items():
        console.print(f"{WITH} against {label}: {mean:.3f}x (geometric mean)")
    console.print(f"at least 1.1 times as fast by it alone: {', '.join(result['summary']['gain_a_tenth']) or 'none'}")


def main(argv: list[str] | None = None) -> int:
    """Run it; the exit status is 1 if the output of some program is wrong, 130 if it was interrupted."""
    args = _arguments(argv)
    show_logs()
    settings = Settings(
        trials=args.trials,
        threads=use_threads(args.threads),
        equal="trials",
        by_hand=(),
        prepack=args.prepack,
        preset=args.preset,
        rounds=args.rounds,
        seed=args.seed,
        host=this_host(),
        others=(),
    )
    try:
        result = run([(name, batch) for name in args.models for batch in args.batch], settings, args.database)
    except KeyboardInterrupt:
        say(f"interrupted; the same command goes on with what is in {args.database}")
        return 130
    show(result)
    return finish(result, args.json)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.partial", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--models", type=some_of(MODELS), default=list(DEFAULT), metavar="A,B", help=f"default: {','.join(DEFAULT)}")
    add("--batch", type=numbers, default=[1, 16], metavar="N,M", help="inputs at once; default: 1,16")
    add("--trials", type=int, default=300, help="of each side that tunes; default: 300")
    add(
        "--prepack",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether kernels of EqSatOptimize's programs choose the layout of their weights; default: yes",
    )
    add("--preset", default="default", choices=sorted(presets()), help="options of EqSatOptimize")
    add("--rounds", type=int, default=15, help="turns of each program when measuring; default: 15")
    add("--threads", type=int, default=available_cores(), help="default: all cores")
    add("--seed", type=int, default=0, help="of weights, inputs and tuning; default: 0")
    add(
        "--database",
        type=Path,
        default=Path("partial"),
        metavar="DIR",
        help="where records and finished results are kept, and found again; default: partial",
    )
    add("--json", type=Path, metavar="FILE", help="write all figures here")
    args = parser.parse_args(argv)
    if min(args.trials, args.threads, args.rounds) < 1:
        parser.error("--trials, --threads and --rounds must be 1 or more")
    return args


if __name__ == "__main__":
    sys.exit(main())
