"""How long the pass takes on each model, stage by stage, without tuning."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from examples.models import MODELS, build
from tvm_eqsat.transform import host_target

DEFAULT = ("resnet50", "bert_base", "squeezenet", "inception_v2", "densenet121", "shufflenet")


def run(models: tuple[str, ...] = DEFAULT) -> dict[str, Any]:
    """Measure, print a table, and return the figures."""
    table = Table(title="EqSatOptimize, seconds")
    headings = ("model", "import", "saturate", "extract", "emit", "total", "e-nodes", "stopped by", "predicted ms")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("model", "stopped by") else "right")
    target = host_target()
    relax.transform.EqSatOptimize(target=target)(from_onnx(build("bert_small")))  # measures the machine once
    result: dict[str, Any] = {}
    for name in models:
        mod = from_onnx(build(name))
        optimize = relax.transform.EqSatOptimize(target=target)
        started = time.perf_counter()
        optimize(mod)
        total = time.perf_counter() - started
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
        }
        table.add_row(
            name,
            *(f"{stages[stage]:.2f}" for stage in ("import", "saturate", "extract", "emit")),
            f"{total:.2f}",
            f"{nodes:,}",
            stopped,
            f"{report.predicted_ms_before:.2f} -> {report.predicted_ms_after:.2f}",
        )
    Console(width=120).print(table)
    return result


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.pass_time", description=__doc__)
    parser.add_argument("models", nargs="*", default=DEFAULT, metavar="MODEL", help=f"of: {', '.join(MODELS)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    for name in args.models:
        if name not in MODELS:
            parser.error(f"no model is called {name!r}; there are: {', '.join(MODELS)}")
    result = run(tuple(args.models))
    if args.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
