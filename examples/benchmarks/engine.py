"""The e-graph engine at 50,000 e-nodes, on a BERT-base encoder.

The package's own rules saturate the encoder long before that, so a rule that they avoid is added: merging *pairs* of
matrix multiplications that share an input, merged ones too, as TENSAT's multi-pattern rules do.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table
from tvm.relax.frontend.onnx import from_onnx

from examples.models import build
from tvm_eqsat.egraph.egraph import EGraph
from tvm_eqsat.egraph.matcher import compile_join
from tvm_eqsat.graph.module import read_module
from tvm_eqsat.rules import ALL, op, tensors
from tvm_eqsat.rules.dsl import Builder
from tvm_eqsat.rules.lib import slices
from tvm_eqsat.search.program import load
from tvm_eqsat.search.saturate import Limits, saturate


def merge_pairs(egraph: EGraph, limit: int) -> None:
    """One round of merging every pair of matrix multiplications by constants that share an input."""
    x, v, w = tensors("x v w")
    pairs = compile_join([op.matmul(x, v), op.matmul(x, w)], ordered=True)
    slot = {name: i for i, name in enumerate(pairs.variables, start=1)}
    builder = Builder(egraph, egraph.reason_id("merge-pairs"))
    for match in pairs.search(egraph, limit):
        shared, first, second = (builder.given(match[slot[name]]) for name in "xvw")
        same = first.rank == second.rank and first.shape[:-1] == second.shape[:-1]
        if not (same and first.const and second.const):
            continue
        merged = op.matmul(shared, op.concat(first, second, axis=first.rank - 1))
        parts = slices(merged, merged.rank - 1, [first.shape[-1], second.shape[-1]])
        for root, part in zip(match[0], parts, strict=True):
            egraph.union(root, part.cls)
        if egraph.num_nodes >= limit:
            break
    egraph.rebuild()


def _resident() -> float:
    """Megabytes of memory in use; what was freed is given back to the system first, so that it can't be reused."""
    gc.collect()
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(limit: int = 50_000, repeats: int = 3) -> dict[str, Any]:
    """Measure, print a table, and return the figures."""
    graph = read_module(from_onnx(build("bert_base"))).regions[0].graph
    seconds, snapshots, sizes = [], [], []
    egraph = EGraph()
    for _ in range(repeats):
        egraph = EGraph()
        before = _resident()
        started = time.perf_counter()
        egraph, _ = load(graph)
        while egraph.num_nodes < limit:
            nodes = egraph.num_nodes
            saturate(egraph, ALL, Limits(nodes=limit, iterations=2, matches=20_000))
            merge_pairs(egraph, limit)
            if egraph.num_nodes == nodes:
                break
        seconds.append(time.perf_counter() - started)
        sizes.append(_resident() - before)
        for number in range(5):
            started = time.perf_counter()
            saved = egraph.snapshot()
            egraph.add(egraph.sym("relu"), [number])  # a copy-on-write snapshot costs at the first write
            egraph.restore(saved)
            snapshots.append(time.perf_counter() - started)
    result = {
        "nodes": egraph.num_nodes,
        "classes": egraph.num_classes,
        "seconds": statistics.median(seconds),
        "megabytes": statistics.median(sizes),
        "snapshot_restore_ms": statistics.median(snapshots) * 1e3,
    }
    table = Table(title="e-graph engine, BERT-base encoder")
    for heading in ("e-nodes", "e-classes", "seconds", "MB for the e-graph", "snapshot + restore ms"):
        table.add_column(heading, justify="right")
    table.add_row(
        f"{result['nodes']:,}",
        f"{result['classes']:,}",
        f"{result['seconds']:.2f}",
        f"{result['megabytes']:.0f}",
        f"{result['snapshot_restore_ms']:.1f}",
    )
    Console(width=110).print(table)
    return result


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.engine", description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=50_000, help="e-nodes to reach; default: 50000")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the median counts; default: 3")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    result = run(args.nodes, args.repeats)
    if args.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
