"""How many mutants the generator finds, beside what the released code of PET lists by hand, and how long it takes.

PET's paper enumerates programs; its released generator (``src/Mutant/generator.cc``) classifies a subgraph and tries a
short list of operators for its class: a digit of *two* from the batch to rows or columns or back, phases of two side by
side, one padding to an even size, and so on. For each class of subprogram, the table has the distinct mutants that this
list reaches, of those that our search finds at the same depth; all of ours; how many are exact as they are, through a
halo or through corrections; and the seconds to find the 16 cheapest for a cold and for a warm manager.

``--measure N`` tunes instead: each subprogram, and those of its mutants that papers report on, with N trials each of
EqSatOptimize without mutants, so that all have the same layouts and other rules. Run in turns, they show which of the
published gains carry over to this machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from math import inf, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from tvm import IRModule, relax

from examples.benchmarks.timing import side_by_side
from examples.programs import Program, difference, from_library, target_for
from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.graph.ops import OPERATORS
from tvm_eqsat.graph.region import Region
from tvm_eqsat.graph.standalone import standalone
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.graph.types import TensorType
from tvm_eqsat.options import EqSatOptions
from tvm_eqsat.partial.draft import inputs_of
from tvm_eqsat.partial.manager import MutationManager
from tvm_eqsat.partial.mutants import mutants
from tvm_eqsat.verify.field import evaluate
from tvmc import TVMCModel

from .end_to_end.contender import Contender

Shape = tuple[int, ...]
_ALL = 1_000_000


class Case(NamedTuple):
    """A subprogram of one class: parallel operators of one kind.

    Attributes
    ----------
    operator : str
        The kind.
    operands : tuple of (int, tuple of int, tuple of int)
        Number of the data, its shape and the weight's, of each.
    attrs : dict
        Attributes of all.
    listed : tuple of str
        Names of our mutants that PET's list has, too.
    reported : tuple of str
        Names of those that papers report to be faster, on GPUs.
    """

    operator: str
    operands: tuple[tuple[int, Shape, Shape], ...]
    attrs: dict[str, Any]
    listed: tuple[str, ...]
    reported: tuple[str, ...]

    def program(self) -> TensorGraph:
        """The subprogram."""
        graph = TensorGraph()

        def leaf(index: int, shape: Shape, weight: bool) -> int:
            attrs = OPERATORS["input"].make_attrs(index=index, type=TensorType(shape, "float32"), weight=weight)
            return graph.add("input", (), attrs)

        data = {number: leaf(number, shape, False) for number, shape, _ in self.operands}
        attrs = OPERATORS[self.operator].make_attrs(**self.attrs)
        for k, (number, _, shape) in enumerate(self.operands):
            graph.outputs.append(graph.add(self.operator, (data[number], leaf(len(data) + k, shape, True)), attrs))
        return graph


def _conv(data: Shape, weight: Shape, listed: tuple[str, ...], reported: tuple[str, ...], **attrs: Any) -> Case:
    return Case("conv2d", ((0, data, weight),), attrs, listed, reported)


_TWO = ("exchange-n/2-[hw]-halo", "exchange-[hw]/2-n-halo")  # a digit of two
_X = (1, 768, 18, 18)
_SAME: dict[str, Any] = {"padding": (1, 1, 1, 1)}
_DENSE = ("dilated-to-dense-h%2-n+w%2-n", "dilated-to-dense-h%2-h+w%2-w-halo", "dilated-to-dense-h%2-h+w%2-w-corrected")
CASES: dict[str, Case] = {
    "convolution 3x3": _conv((1, 64, 14, 14), (64, 64, 3, 3), _TWO, ("product-and-offsets",), **_SAME),
    "convolution 3x3, batch 16": _conv((16, 64, 14, 14), (64, 64, 3, 3), _TWO, ("exchange-n/16-w-halo",), **_SAME),
    "convolution 5x5 (PET's case)": _conv(
        (1, 48, 38, 38), (64, 48, 5, 5), _TWO, ("exchange-h/4-n+w/4-n-halo",), padding=(2, 2, 2, 2)
    ),
    "odd image": _conv((1, 64, 17, 17), (64, 64, 3, 3), (*_TWO, "enlarged-1-1"), ("enlarged-1-1",), **_SAME),
    "strided": _conv((1, 64, 28, 28), (128, 64, 3, 3), _TWO, ("space-to-depth",), **_SAME, strides=(2, 2)),
    "dilated (CSRNet)": _conv(
        (1, 512, 14, 14), (512, 512, 3, 3), (_DENSE[1], "exchange-[hw]%2-[hw]-halo"), _DENSE,
        padding=(2, 2, 2, 2), dilation=(2, 2),
    ),
    "convolution 1x1": _conv((1, 256, 14, 14), (512, 256, 1, 1), ("product-of-columns",), ("product-of-columns",)),
    "convolution 1x7": _conv((1, 192, 17, 17), (192, 192, 1, 7), *[("transposed",)] * 2, padding=(0, 3, 0, 3)),
    "groups": _conv((1, 128, 14, 14), (128, 4, 3, 3), (), (), groups=32, **_SAME),
    "branches (Inception)": Case(
        "conv2d", tuple((int(f == 192 and k > 0), _X, (f, 768, 1, 1)) for k, f in enumerate((192, 160, 160, 192))), {},
        ("branches-*",), ("branches-*",),
    ),
    "transposed (DCGAN)": Case(
        "conv2d_transpose", ((0, (1, 256, 8, 8), (256, 128, 4, 4)),), {"strides": (2, 2), **_SAME}, (),
        ("phases-as-filters", "transposed-product-and-offsets"),
    ),
    "matrix product": Case("matmul", ((0, (512, 768), (768, 768)),), {}, (), ()),
    "matrix products (BERT)": Case(
        "matmul", ((0, (512, 768), (768, 768)),) * 3, {}, ("branches-as-batch",), ("branches-*",),
    ),
}  # fmt: skip


@dataclass
class Figures:
    """Numbers of distinct mutants, and seconds.

    Attributes
    ----------
    listed : int
        Of ours, those that PET's released list has.
    found : int
        All of ours.
    as_they_are, halo, corrected : int
        How they are exact.
    cold_s, warm_s : float
        Seconds for the 16 cheapest, at the published shape.
    """

    listed: int
    found: int
    as_they_are: int
    halo: int
    corrected: int
    cold_s: float
    warm_s: float


def measure(case: Case, depth: int) -> Figures:
    """Count and time the mutants of one subprogram."""
    found = mutants(case.program(), depth=depth, limit=_ALL, alike=_ALL, corrections=_ALL, slack=inf)
    names = [mutant.name for mutant in found]
    corrected = sum(mutant.recipe.corrected for mutant in found)
    halo = sum(name.endswith("-halo") for name in names)
    manager, program = MutationManager(depth=depth), case.program()
    started = time.perf_counter()
    manager.mutants(program)
    cold = time.perf_counter() - started
    program = case.program()
    started = time.perf_counter()
    manager.mutants(program)
    return Figures(
        listed=sum(any(fnmatch(name, pattern) for pattern in case.listed) for name in names),
        found=len(names),
        as_they_are=len(names) - halo - corrected,
        halo=halo,
        corrected=corrected,
        cold_s=cold,
        warm_s=time.perf_counter() - started,
    )


def run(depth: int = 4, cases: tuple[str, ...] = tuple(CASES)) -> dict[str, Any]:
    """Measure, print a table, and return the figures."""
    result = {name: measure(CASES[name], depth) for name in cases}
    table = Table(title=f"distinct mutants of at most {depth} operators in a row")
    table.add_column("subprogram")
    for heading in ("PET's list", "ours", "as they are", "halo", "corrected", "cold", "warm"):
        table.add_column(heading, justify="right")
    for name, f in result.items():
        counts = (f.listed, f.found, f.as_they_are, f.halo, f.corrected)
        table.add_row(name, *map(str, counts), f"{f.cold_s:.2f} s", f"{f.warm_s * 1e3:.1f} ms")
    Console(width=120).print(table)
    return {name: asdict(figures) for name, figures in result.items()}


def module_of(graph: TensorGraph, weights: dict[int, np.ndarray]) -> IRModule:
    """A module that computes a program, with its weights as constants.

    Parameters
    ----------
    graph : TensorGraph
        The program.
    weights : dict of int to numpy.ndarray
        Values of inputs, by their index.
    """
    module = standalone(IRModule(), Region(relax.DataflowBlock([]), graph), graph, 0, whole=False)
    return relax.transform.BindParams("main", {f"p{i}": value for i, value in weights.items()})(module)


def measure_reported(case: Case, trials: int, threads: int) -> dict[str, Any]:
    """Milliseconds of a subprogram and of its reported mutants, tuned alike."""
    original = case.program()
    found = mutants(original, limit=_ALL, alike=_ALL, corrections=_ALL, slack=inf)
    graphs = {m.name: m.graph for m in found if any(fnmatch(m.name, pattern) for pattern in case.reported)}
    rng = np.random.default_rng(0)
    data: dict[int, np.ndarray] = {}
    weights: dict[int, np.ndarray] = {}
    for i in inputs_of(original):
        index, type_, weight = original.nodes[i].attrs
        fan_in = type_.numel() / max(type_.shape[0], type_.shape[-1]) if weight else 1
        (weights if weight else data)[index] = rng.standard_normal(type_.shape, "float32") / np.float32(sqrt(fan_in))
    expected = evaluate(original, {**data, **weights})
    programs: dict[str, Program] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, graph) in enumerate({"as it is": original, **graphs}.items()):
            print(f"{name}: {trials} trials", file=sys.stderr, flush=True)
            model = TVMCModel(module_of(graph, weights))
            place = Path(folder, str(number))
            contender = Contender(model, target_for(threads), place, True, EqSatOptions(partial="none"))
            contender.tune(trials)
            contender.compile(place / "kernels.so")
            inputs = {f"p{index}": data[index] for index in sorted(data)}
            programs[name] = from_library(place / "kernels.so", inputs)
        times = side_by_side(programs)
    base = times["as it is"]
    return {
        name: {
            "ms": times[name].median_ms,
            "speedup": times[name].faster_than(base),
            "difference": difference(program(), expected),
        }
        for name, program in programs.items()
    }


def run_reported(trials: int, threads: int, cases: tuple[str, ...]) -> dict[str, Any]:
    """Measure mutants that papers report on, print a table, and return the figures."""
    table = Table(title=f"milliseconds of reported mutants, {trials} trials each, {threads} threads")
    for heading in ("subprogram", "mutant"):
        table.add_column(heading)
    for heading in ("ms", "speed-up", "difference"):
        table.add_column(heading, justify="right")
    result = {}
    for case in cases:
        if CASES[case].reported:
            result[case] = measure_reported(CASES[case], trials, threads)
            for name, row in result[case].items():
                first = case if name == "as it is" else ""
                table.add_row(first, name, f"{row['ms']:.3f}", f"{row['speedup']:.2f}x", f"{row['difference']:.0e}")
    Console(width=120).print(table)
    return result


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=4, metavar="N", help="operators in a row; default: 4")
    parser.add_argument("--case", nargs="+", choices=CASES, default=tuple(CASES), help="which subprograms")
    parser.add_argument(
        "--measure", type=int, default=0, metavar="N", help="tune those that papers report on: N trials"
    )
    parser.add_argument("--threads", type=int, default=available_cores(), help="of --measure; default: all cores")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    if args.measure:
        result = run_reported(args.measure, use_threads(args.threads), tuple(args.case))
    else:
        result = run(args.depth, tuple(args.case))
    if args.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
