"""Command line: ``python -m examples.benchmarks.end_to_end --models A,B --trials N``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from onnx import ModelProto

from examples.arguments import some_of
from examples.logs import show_logs
from examples.models import MODELS, build
from examples.programs import TOLERANCE
from tvm_eqsat.cost.store import this_host
from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.files import write_atomically
from tvm_eqsat.options import presets

from .by_hand import CONFIGURATIONS
from .chart import bar_chart
from .comparison import EQUAL, OTHERS, TVM, Comparison, Settings, say
from .report import bars, show, summary

DEFAULT = (
    "squeezenet",
    "resnet50",
    "inception_v2",
    "densenet121",
    "shufflenet",
    "mobilenet_v2",
    "bert_base",
    "nasrnn",
    "csrnet",
)


def run(
    models: Collection[str], settings: Settings, work: Path, make: Callable[..., ModelProto] = build
) -> dict[str, Any]:
    """Compare on several models; what was finished before, in the same folder with the same settings, is taken over.

    Parameters
    ----------
    models : collection of str
        Names of models.
    settings : Settings
        How to compare.
    work : pathlib.Path
        Where records and finished results are kept.
    make : callable
        Makes a model of a name and a ``seed``.

    Raises
    ------
    KeyboardInterrupt
        It was interrupted. Another call goes on where this one stopped.
    """
    work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for number, name in enumerate(models, 1):
        place = f"{name} ({number} of {len(models)})"
        finished = work / f"{name}.json"
        known = json.loads(finished.read_text(encoding="utf-8")) if finished.is_file() else {}
        if known.get("settings") == settings.to_json():
            say(f"{place}: finished before")
            found[name] = known["result"]
            continue
        say(place)
        with tempfile.TemporaryDirectory(dir=work) as scratch:
            found[name] = Comparison(name, make(name, seed=settings.seed), settings, work, Path(scratch)).run()
        write_atomically(finished, json.dumps({"settings": settings.to_json(), "result": found[name]}))
    return {"settings": settings.to_json(), "models": found, "summary": summary(found, settings.equal)}


def main(argv: list[str] | None = None) -> int:
    """Run it; the exit status is 1 if the output of some program is wrong, 130 if it was interrupted."""
    args = _arguments(argv)
    show_logs()
    settings = Settings(
        trials=args.trials,
        threads=use_threads(args.threads),
        equal=args.equal,
        by_hand=tuple(args.by_hand),
        prepack=args.prepack,
        preset=args.preset,
        rounds=args.rounds,
        seed=args.seed,
        host=this_host(),
        others=tuple(args.others),
    )
    try:
        result = run(args.models, settings, args.work_dir)
    except KeyboardInterrupt:
        say(f"interrupted; the same command goes on with what is in {args.work_dir}")
        return 130
    show(result)
    status = finish(result, args.json)
    if args.chart:
        equal = EQUAL[settings.equal][0]
        title = f"Speed-up over {TVM}: equal {equal}, {settings.trials} trials, {settings.threads} threads"
        write_atomically(args.chart, bar_chart(title, bars(result["models"], equal)))
    return status


def finish(result: dict[str, Any], json_file: Path | None) -> int:
    """Write the figures, if a file is named; the exit status, 1 if the output of some program is wrong."""
    if json_file:
        write_atomically(json_file, json.dumps(result, indent=1) + "\n")
    wrong = [
        f"{name}, {key}"
        for name, model in result["models"].items()
        for key, row in model["programs"].items()
        if not row["difference"] <= TOLERANCE
    ]
    if wrong:
        print(f"Error: outputs differ from onnxruntime's: {'; '.join(wrong)}", file=sys.stderr)
    return int(bool(wrong))


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks.end_to_end",
        description="Whole models: TVM with MetaSchedule, TVM's own passes by hand, EqSatOptimize, other runtimes.",
    )
    add = parser.add_argument
    add("--models", type=some_of(MODELS), default=list(DEFAULT), metavar="A,B", help=f"default: {','.join(DEFAULT)}")
    add("--trials", type=int, default=1000, help="trials of everybody who tunes; default: 1000")
    add("--equal", choices=EQUAL, default="both", help="what everybody has the same of; default: both, in turn")
    add(
        "--by-hand",
        type=some_of(CONFIGURATIONS),
        default=list(CONFIGURATIONS),
        metavar="A,B",
        help="configurations of TVM's own passes, or none; each costs as many trials. "
        f"Default: {','.join(CONFIGURATIONS)}",
    )
    add(
        "--others",
        type=some_of(OTHERS),
        default=list(OTHERS),
        metavar="A,B",
        help=f"other runtimes, or none; left out where they aren't installed. Default: {','.join(OTHERS)}",
    )
    add(
        "--prepack",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether kernels of EqSatOptimize's program choose the layout of their weights; default: yes",
    )
    add("--preset", default="default", choices=sorted(presets()), help="options of EqSatOptimize")
    add("--rounds", type=int, default=15, help="turns of each program when measuring; default: 15")
    add("--threads", type=int, default=available_cores(), help="default: all cores")
    add("--seed", type=int, default=0, help="of weights, inputs and tuning; default: 0")
    add(
        "--work-dir",
        type=Path,
        default=Path("end-to-end"),
        metavar="DIR",
        help="where records and finished results are kept, and found again; default: end-to-end",
    )
    add("--json", type=Path, metavar="FILE", help="write all figures here")
    add("--chart", type=Path, metavar="FILE", help="write a bar chart here, as SVG")
    args = parser.parse_args(argv)
    if min(args.trials, args.threads, args.rounds) < 1:
        parser.error("--trials, --threads and --rounds must be 1 or more")
    return args


if __name__ == "__main__":
    sys.exit(main())
