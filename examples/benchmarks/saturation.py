"""Saturation and extraction on the ten benchmark models, beside greedy sequential rewriting with the same rules.

For each model and node limit (TENSAT's 50,000 and the PACT'24 paper's 2,000): how large the e-graph gets and how long
that takes; how often a new one is started from the best program, where the limit binds; and for each extractor the
predicted milliseconds of its program and its own seconds. With ``--schedule mcts``, tree search chooses what grows
where the limit binds, with the pass's own budget of simulations. Costs are the sums of e-node prices, which extraction
minimises; nothing is compiled. Blocks that repeat are not taken out, so that every column sees the same e-graph.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from tvm.relax.frontend.onnx import from_onnx

from examples.arguments import one_of
from examples.models import BENCHMARK, MODELS, build
from tvm_eqsat.cost.machine import machine_for
from tvm_eqsat.cost.node_cost import NodeCost, priced
from tvm_eqsat.extract import extract
from tvm_eqsat.graph.module import read_module
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.options import EqSatOptions
from tvm_eqsat.rewards import judge_for
from tvm_eqsat.rules import ALL
from tvm_eqsat.search.grow import Grown, Program, grow
from tvm_eqsat.search.mcts import Budget, grow_by_mcts
from tvm_eqsat.search.program import load, unload
from tvm_eqsat.search.saturate import Limits
from tvm_eqsat.search.sequential import rewrite_sequentially
from tvm_eqsat.transform import host_target

NODE_LIMITS = (50_000, 2_000)
EXTRACTORS = ("tree", "greedy_dag", "local", "lns", "auto")
ITERATIONS = 30
RESTARTS = 30


@dataclass
class Figures:
    """One model at one node limit; milliseconds are predicted, seconds measured.

    Attributes
    ----------
    nodes, classes, iterations : int
        Size of the first e-graph, and rounds over all rules.
    stop_reason : str
        What ended its growth.
    saturation_s : float
        Seconds to grow it.
    restarts : int
        New e-graphs that were started from the best program so far; extraction is from the last one.
    growth_s : float
        Seconds for all e-graphs, with the extractions between them.
    original_ms, sequential_ms, bound_ms : float
        Cost of the original program, of what greedy sequential rewriting makes of it, and lower bound of any program
        in the last e-graph.
    sequential_s : float
        Seconds of sequential rewriting.
    cost_ms, extraction_s : dict of str to float
        By extractor.
    """

    nodes: int
    classes: int
    iterations: int
    stop_reason: str
    saturation_s: float
    restarts: int
    growth_s: float
    original_ms: float
    sequential_ms: float
    sequential_s: float
    bound_ms: float | None = None
    cost_ms: dict[str, float] = field(default_factory=dict)
    extraction_s: dict[str, float] = field(default_factory=dict)


def measure(
    graph: TensorGraph,
    price: NodeCost,
    limit: int,
    sequential: tuple[float, float],
    seconds: float,
    restarts: int,
    schedule: str = "backoff",
) -> Figures:
    """Saturate one program and extract from it with every extractor."""

    def best(grown: Grown) -> Program:
        frozen = priced(grown.egraph, grown.egraph.freeze(grown.roots), price)
        found = extract(frozen, "local")
        return Program(unload(frozen, found.choice), found.cost)

    egraph, class_of = load(graph)
    roots = [class_of[i] for i in graph.outputs]
    original = extract(priced(egraph, egraph.freeze(roots), price), "tree").cost
    gc.collect()
    started = time.perf_counter()
    limits = Limits(nodes=limit, iterations=ITERATIONS)
    if schedule == "mcts":
        options = EqSatOptions()
        budget = Budget(options.simulations, options.search_time)
        grown = grow_by_mcts(graph, ALL, limits, judge_for(price, best), budget, restarts=restarts)
    else:
        grown = grow(graph, ALL, limits, best, restarts=restarts)
    first = grown.runs[0]
    figures = Figures(
        nodes=first.iterations[-1].nodes,
        classes=first.iterations[-1].classes,
        iterations=len(first.iterations),
        stop_reason=first.stop_reason,
        saturation_s=sum(iteration.seconds for iteration in first.iterations),
        restarts=len(grown.runs) - 1,
        growth_s=time.perf_counter() - started,
        original_ms=original * 1e3,
        sequential_ms=sequential[0] * 1e3,
        sequential_s=sequential[1],
    )
    frozen = priced(grown.egraph, grown.egraph.freeze(grown.roots), price)
    bounds = []
    for name in (*EXTRACTORS, "ilp"):
        started = time.perf_counter()
        found = extract(frozen, name, time_limit=seconds if name == "ilp" else None)
        figures.extraction_s[name] = time.perf_counter() - started
        figures.cost_ms[name] = found.cost * 1e3
        if found.lower_bound is not None:
            bounds.append(found.lower_bound * 1e3)
    figures.bound_ms = max(bounds, default=None)
    return figures


def run(
    models: tuple[str, ...] = BENCHMARK,
    limits: tuple[int, ...] = NODE_LIMITS,
    seconds: float = 20.0,
    restarts: int = RESTARTS,
    schedule: str = "backoff",
) -> dict[str, Any]:
    """Measure, print a table for each node limit, and return the figures."""
    price = NodeCost(machine_for(host_target()))
    progress = Console(stderr=True)
    result: dict[str, dict[str, Figures]] = {str(limit): {} for limit in limits}
    for name in models:
        graph = read_module(from_onnx(build(name))).regions[0].graph
        started = time.perf_counter()
        greedy = rewrite_sequentially(graph, ALL, price, seconds=60)
        sequential = greedy.cost, time.perf_counter() - started
        for limit in limits:
            figures = result[str(limit)][name] = measure(graph, price, limit, sequential, seconds, restarts, schedule)
            progress.print(f"{name}: {figures.nodes:,} e-nodes in {figures.saturation_s:.2f} s")
    console = Console(width=200)
    for limit_, rows in result.items():
        console.print(_table(f"at most {int(limit_):,} e-nodes; predicted ms (seconds)", rows))
    return {limit: {name: asdict(row) for name, row in rows.items()} for limit, rows in result.items()}


def _table(title: str, rows: dict[str, Figures]) -> Table:
    table = Table(title=title)
    table.add_column("model")
    headings = (
        "e-nodes",
        "e-classes",
        "rounds",
        "saturation",
        "restarts",
        "original",
        "sequential",
        *EXTRACTORS,
        "ilp",
        "bound",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, f in rows.items():
        table.add_row(
            name,
            f"{f.nodes:,}",
            f"{f.classes:,}",
            f"{f.iterations}",
            f"{f.saturation_s:.2f} s",
            f"{f.restarts} ({f.growth_s:.1f} s)",
            f"{f.original_ms:.3f}",
            f"{f.sequential_ms:.3f} ({f.sequential_s:.1f})",
            *(f"{f.cost_ms[e]:.3f} ({f.extraction_s[e]:.2f})" for e in (*EXTRACTORS, "ilp")),
            "no bound" if f.bound_ms is None else f"{f.bound_ms:.3f}",
        )
    return table


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.benchmarks.saturation", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "models", nargs="*", default=BENCHMARK, metavar="MODEL", type=one_of(MODELS), help=f"of: {', '.join(MODELS)}"
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=NODE_LIMITS, metavar="N", help="node limits")
    parser.add_argument("--time-limit", type=float, default=20.0, metavar="S", help="for each ILP; default: 20")
    parser.add_argument("--restarts", type=int, default=RESTARTS, metavar="N", help="the most; default: 30")
    parser.add_argument("--schedule", choices=("backoff", "mcts"), default="backoff", help="default: backoff")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    args = parser.parse_args(argv)
    result = run(tuple(args.models), tuple(args.nodes), args.time_limit, args.restarts, args.schedule)
    if args.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
