"""Real models through the whole way, import to run, and their outputs against onnxruntime's.

``python -m examples.check_models [MODEL …] [--json]``. Weights are random: constant ones hide swapped channels.
Kernels aren't tuned, so the times say nothing; the differences do.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass

import tvm
from onnx import ModelProto
from rich.console import Console
from rich.table import Table
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from examples.arguments import one_of
from examples.models import MODELS, random_inputs
from examples.programs import TOLERANCE, difference, onnxruntime, results_of
from tvm_eqsat.cost.threads import available_cores, use_threads
from tvm_eqsat.transform import host_target
from tvm_eqsat.verify.module import compile_quickly


@dataclass(frozen=True)
class Check:
    """What became of one model.

    Attributes
    ----------
    difference : float
        Largest difference to onnxruntime over all outputs, relative to the output's largest value.
    changed : bool
        Whether the pass rewrote it.
    nodes : int
        E-nodes when saturation stopped.
    stop_reason : str
        Why it stopped.
    rules : int
        Different rules in the result.
    seconds : float
        Time of the pass.
    """

    difference: float
    changed: bool
    nodes: int
    stop_reason: str
    rules: int
    seconds: float


def check(model: ModelProto, *, seed: int = 0, **options: object) -> Check:
    """Import, optimise, compile and run a model; compare with onnxruntime on random inputs."""
    target = host_target()
    optimize = relax.transform.EqSatOptimize(target=target, **options)
    started = time.perf_counter()
    mod = optimize(from_onnx(model))
    seconds = time.perf_counter() - started
    relax.analysis.well_formed(mod)
    machine = compile_quickly(mod, target)
    inputs = random_inputs(model, seed=seed)
    outputs = results_of(machine["main"](*[tvm.runtime.tensor(value) for value in inputs.values()]))
    expected = onnxruntime(model, inputs, available_cores())()
    report = optimize.report
    return Check(
        difference=difference(outputs, expected),
        changed=report.changed,
        nodes=sum(region.iterations[-1]["nodes"] for region in report.regions),
        stop_reason=", ".join(dict.fromkeys(region.stop_reason for region in report.regions)),
        rules=len(report.rules_used()),
        seconds=seconds,
    )


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit status is 1 if an output differs too much."""
    parser = argparse.ArgumentParser(prog="python -m examples.check_models", description=__doc__.splitlines()[0])
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", type=one_of(MODELS), help=f"default: all of {', '.join(MODELS)}"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    use_threads(available_cores())
    table = Table(title="outputs against onnxruntime")
    for heading in ("model", "largest difference", "e-nodes", "stopped by", "rules in the result", "pass s"):
        table.add_column(heading, justify="left" if heading in ("model", "stopped by") else "right")
    results = {}
    for name in args.models or MODELS:
        found = results[name] = check(MODELS[name]())
        print(f"{name}: {found.difference:.1e}", file=sys.stderr, flush=True)
        table.add_row(
            name,
            f"{found.difference:.1e}",
            f"{found.nodes:,}",
            found.stop_reason,
            str(found.rules),
            f"{found.seconds:.1f}",
        )
    Console(width=110).print(table)
    if args.json:
        print(json.dumps({name: asdict(found) for name, found in results.items()}))
    return int(any(not found.difference <= TOLERANCE for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())
