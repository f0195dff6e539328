"""Time of the pass on GPT-2-like decoders of more and more identical layers, with and without reuse of blocks."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from examples.models import gpt2
from tvm_eqsat.transform import host_target


def run(layers: tuple[int, ...] = (4, 12, 48), repeats: int = 5) -> dict[str, Any]:
    """Measure in turns, print a table of medians, and return the figures."""
    target = host_target()
    modules = {count: from_onnx(gpt2(layers=count, hidden=256, heads=4)) for count in layers}
    seconds: dict[tuple[int, bool], list[tuple[float, float]]] = {(n, r): [] for n in layers for r in (True, False)}
    for number in range(repeats + 1):  # the first round warms up
        for (count, reuse), times in seconds.items():
            optimize = relax.transform.EqSatOptimize(target=target, reuse_blocks=reuse)
            started = time.perf_counter()
            optimize(modules[count])
            total = time.perf_counter() - started
            stages = optimize.report.stages
            if number:
                times.append((stages["EqSatSaturate"] + stages["EqSatExtract"], total))
    table = Table(title="GPT-2-like decoder, seconds (median)")
    for heading in ("layers", "reuse: saturate + extract", "whole pass", "without: saturate + extract", "whole pass"):
        table.add_column(heading, justify="right")
    result: dict[str, Any] = {}
    for count in layers:
        row = []
        for reuse in (True, False):
            search, total = (statistics.median(column) for column in zip(*seconds[count, reuse], strict=True))
            result.setdefault(str(count), {})["reuse" if reuse else "whole"] = {"search": search, "total": total}
            row += [f"{search:.2f}", f"{total:.2f}"]
        table.add_row(str(count), *row)
    Console(width=110).print(table)
    return result


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.repeats", description=__doc__)
    parser.add_argument("--layers", type=int, nargs="+", default=(4, 12, 48), metavar="N", help="default: 4 12 48")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    result = run(tuple(args.layers))
    if args.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
