"""Where the time of a tuned model goes: the kernels of EqSatOptimize's program beside the nodes of onnxruntime's.

``python -m examples.benchmarks.breakdown mobilenet_v2 --database DIR`` takes a directory of records, such as
``end_to_end`` leaves for its contender. Both programs run in turns and tell the time of each of their kernels; medians
over the runs are added up by the size of the result (its dimensions in ascending order, whatever the layout), so that
the same convolution stands in one row for both. Telling times takes time: sums are above what the programs take alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime as ort
import tvm
from onnx import ModelProto
from rich.console import Console
from rich.table import Table
from tvm import relax

import tvmc
from examples.arguments import one_of
from examples.models import MODELS, build, random_inputs
from examples.programs import Inputs, imported, target_for
from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.errors import EqSatError
from tvm_eqsat.files import write_atomically
from tvm_eqsat.options import EqSatOptions

OURS, THEIRS = "EqSatOptimize", "onnxruntime"
_PRODUCTS = ("conv", "matmul", "gemm")  # in the names of kernels and nodes
_RUNS = 15

Size = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One kernel call, or one node, of a program.

    Attributes
    ----------
    name : str
        Of the kernel, or of the node's operator.
    size : tuple of int
        Dimensions of its (last) result above one, in ascending order.
    ms : float
        Median over the runs.
    """

    name: str
    size: Size
    ms: float

    @property
    def product(self) -> bool:
        """Whether it is a convolution or matrix product, maybe with others in it."""
        return any(word in self.name.lower() for word in _PRODUCTS)


def _sorted(shape: Iterable[Any]) -> Size:
    return tuple(sorted(int(d) for d in shape if int(d) != 1))


class Ours:
    """A library of TVM that tells the time of each call.

    Parameters
    ----------
    library : pathlib.Path
        From ``tvmc compile``.
    inputs : mapping of str to numpy.ndarray
        In the order of its function ``main``.
    """

    def __init__(self, library: Path, inputs: Inputs) -> None:
        self._machine = relax.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
        self._tensors = [tvm.runtime.tensor(value) for value in inputs.values()]
        self._calls: list[tuple[str, Size, float]] = []
        self._started = 0.0
        self._runs: list[list[tuple[str, Size, float]]] = []
        self._machine["main"](*self._tensors)  # what happens once
        self._machine.set_instrument(self._instrument)

    def _instrument(self, _func: Any, name: str, before: bool, _result: Any, *args: Any) -> int:
        if before:
            self._started = time.perf_counter()
            return 0
        seconds = time.perf_counter() - self._started
        tensors = [arg for arg in args if isinstance(arg, tvm.runtime.Tensor)]
        if tensors and not name.startswith("vm.builtin"):
            self._calls.append((name, _sorted(tensors[-1].shape), seconds))
        return 0

    def run(self) -> None:
        """Run once."""
        self._calls = []
        self._machine["main"](*self._tensors)
        self._runs.append(self._calls)

    def steps(self) -> list[Step]:
        """The calls of a run."""
        return [
            Step(found[0][0], found[0][1], statistics.median(seconds for _, _, seconds in found) * 1e3)
            for found in zip(*self._runs, strict=True)
        ]


class Theirs:
    """A model in onnxruntime that tells the time of each node.

    Parameters
    ----------
    model : onnx.ModelProto
        The model.
    inputs : mapping of str to numpy.ndarray
        By name.
    threads : int
        Of the session.
    folder : pathlib.Path
        For what onnxruntime writes.
    """

    def __init__(self, model: ModelProto, inputs: Inputs, threads: int, folder: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "onnxruntime")
        self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self._inputs = dict(inputs)

    def run(self) -> None:
        """Run once."""
        self._session.run(None, self._inputs)

    def steps(self) -> list[Step]:
        """The nodes of a run; no more runs after that."""
        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        times: dict[str, list[float]] = defaultdict(list)
        what: dict[str, tuple[str, Size]] = {}
        for event in events:
            name = str(event.get("name", ""))
            if event.get("cat") == "Node" and name.endswith("_kernel_time"):
                shapes = [next(iter(shape.values())) for shape in event["args"].get("output_type_shape", []) if shape]
                what[name] = str(event["args"]["op_name"]), _sorted(shapes[0] if shapes else ())
                times[name].append(event["dur"] / 1e3)
        return [Step(*what[name], statistics.median(found)) for name, found in times.items()]


def breakdown(name: str, model: ModelProto, database: Path, threads: int, runs: int) -> dict[str, list[Step]]:
    """The steps of both programs, measured in turns."""
    inputs = random_inputs(model)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        library = Path(folder) / "model.so"
        tvmc.compile(
            imported(model, name),
            target_for(threads),
            tuning_records=database,
            weight_prepack=True,
            eqsat=EqSatOptions.preset("default"),
            package_path=library,
        )
        programs: dict[str, Ours | Theirs] = {
            OURS: Ours(library, inputs),
            THEIRS: Theirs(model, inputs, threads, Path(folder)),
        }
        for _ in range(runs):
            for program in programs.values():
                time.sleep(0.02)  # the other's threads spin for a moment
                program.run()
                program.run()
        return {label: program.steps() for label, program in programs.items()}


def rows_of(steps: Mapping[str, Sequence[Step]]) -> list[tuple[str, dict[str, tuple[int, float]]]]:
    """By the size of products, and by the kind of everything else: number of steps and milliseconds of each program."""
    found: dict[str, dict[str, tuple[int, float]]] = defaultdict(dict)
    for label, mine in steps.items():
        for step in mine:
            key = "x".join(map(str, step.size)) if step.product else "all else"
            number, ms = found[key].get(label, (0, 0.0))
            found[key][label] = number + 1, ms + step.ms
    return sorted(found.items(), key=lambda row: -max(ms for _, ms in row[1].values()))


def report(name: str, steps: Mapping[str, Sequence[Step]], console: Console) -> None:
    """Print the rows, and the dearest steps of each program."""
    table = Table(title=f"{name}: milliseconds of convolutions and products, by the size of their results")
    table.add_column("size")
    for label in (OURS, THEIRS):
        table.add_column(label, justify="right")
        table.add_column("steps", justify="right")
    for key, sides in rows_of(steps):
        cells = [sides.get(label, (0, 0.0)) for label in (OURS, THEIRS)]
        table.add_row(
            key, *[cell for number, ms in cells for cell in (f"{ms:.3f}" if number else "", str(number or ""))]
        )
    totals = [(len(steps[label]), sum(step.ms for step in steps[label])) for label in (OURS, THEIRS)]
    table.add_row("sum", *[cell for number, ms in totals for cell in (f"{ms:.3f}", str(number))])
    console.print(table)
    for label in (OURS, THEIRS):
        dearest = sorted(steps[label], key=lambda step: -step.ms)[:8]
        console.print(f"{label}: " + ", ".join(f"{s.name} {'x'.join(map(str, s.size))} {s.ms:.3f}" for s in dearest))


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks.breakdown", description=__doc__.splitlines()[0]
    )
    parser.add_argument("model", type=one_of(MODELS), metavar="MODEL", help=f"one of: {', '.join(MODELS)}")
    parser.add_argument("--database", type=Path, required=True, metavar="DIR", help="tuning records, prepacked")
    parser.add_argument("--runs", type=int, default=_RUNS, metavar="N", help=f"turns of each; default: {_RUNS}")
    parser.add_argument("--threads", type=int, default=available_cores(), metavar="N", help="default: all cores")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all steps")
    args = parser.parse_args(argv)
    if args.runs < 1:
        parser.error(f"--runs {args.runs} is too few: give 1 or more")
    use_threads(args.threads)
    try:
        steps = breakdown(args.model, build(args.model), args.database, args.threads, args.runs)
    except EqSatError as err:
        parser.error(str(err))
    report(args.model, steps, Console(width=160))
    if args.json:
        found = {label: [[s.name, list(s.size), s.ms] for s in mine] for label, mine in steps.items()}
        write_atomically(args.json, json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
