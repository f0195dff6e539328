"""How long the pass takes on each model, stage by stage, without tuning; and to price one candidate when warm."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any

import tvm
from rich.console import Console
from rich.table import Table
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx
from tvm.target import Target

from examples.arguments import one_of
from examples.models import MODELS, build
from tvm_eqsat.cost.pricing import price_module, pricer_for
from tvm_eqsat.transform import host_target

_PRICINGS = 5
DEFAULT = ("resnet50", "bert_base", "squeezenet", "inception_v2", "densenet121", "shufflenet")


def run(models: tuple[str, ...] = DEFAULT) -> dict[str, Any]:
    """Measure, print a table, and return the figures."""
    table = Table(title="EqSatOptimize, seconds")
    stages_of = ("model", "import", "saturate", "extract", "emit", "total")
    headings = (*stages_of, "e-nodes", "stopped by", "predicted ms", "pricing ms")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("model", "stopped by") else "right")
    target = host_target()
    relax.transform.EqSatOptimize(target=target)(from_onnx(build("bert_small")))  # measures the machine once
    result: dict[str, Any] = {}
    for name in models:
        mod = from_onnx(build(name))
        optimize = relax.transform.EqSatOptimize(target=target)
        started = time.perf_counter()
        optimized = optimize(mod)
        total = time.perf_counter() - started
        pricing = _pricing_ms(optimized, target)
        report = optimize.report
        stages = {stage.removeprefix("EqSat").lower(): seconds for stage, seconds in report.stages.items()}
        nodes = sum(region.iterations[-1]["nodes"] for region in report.regions)
        stopped = report.regions[0].stop_reason
        result[name] = {
            **stages,
            "total": total,
            "nodes": nodes,
            "stop_reason": stopped,
            "predicted_ms_before": report.predicted_ms_before,
            "predicted_ms_after": report.predicted_ms_after,
            "pricing_ms": pricing,
        }
        table.add_row(
            name,
            *(f"{stages[stage]:.2f}" for stage in ("import", "saturate", "extract", "emit")),
            f"{total:.2f}",
            f"{nodes:,}",
            stopped,
            f"{report.predicted_ms_before:.2f} -> {report.predicted_ms_after:.2f}",
            f"{pricing:.1f}",
        )
    Console(width=120).print(table)
    return result


def _pricing_ms(mod: tvm.IRModule, target: Target) -> float:
    """The median time to price a program through TVM's fusion, its kernels known."""
    pricer = pricer_for(target)
    times = []
    for _ in range(_PRICINGS + 1):
        started = time.perf_counter()
        price_module(mod, target, pricer)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:]) * 1e3


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.pass_time", description=__doc__)
    parser.add_argument(
        "models", nargs="*", default=DEFAULT, metavar="MODEL", type=one_of(MODELS), help=f"of: {', '.join(MODELS)}"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    result = run(tuple(args.models))
    if args.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
