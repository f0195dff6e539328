"""Monte Carlo tree search beside back-off on the ten benchmark models, with the same rules and prices.

For each model: the predicted milliseconds of the program that the back-off schedule finds (with the pass's default
number of new starts), and of what the search finds with several seeds, with their spread; and the seconds of both.
``--baseline`` adds the PACT 2024 paper's search on the same e-graph. Costs are sums of e-node prices, as extraction
minimises them; nothing is compiled.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import exp, fsum, log
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tvm.relax.frontend.onnx import from_onnx

from examples.models import BENCHMARK, MODELS, build
from tvm_eqsat import EqSatOptions
from tvm_eqsat.cost.machine import machine_for
from tvm_eqsat.cost.node_cost import NodeCost, priced
from tvm_eqsat.extract import extract
from tvm_eqsat.files import write_atomically
from tvm_eqsat.graph.module import read_module
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.rewards import judge_for
from tvm_eqsat.rules import ALL
from tvm_eqsat.search.grow import Grown, Program, grow
from tvm_eqsat.search.mcts import Budget, grow_by_mcts
from tvm_eqsat.search.mcts.paper import grow_as_published
from tvm_eqsat.search.program import unload
from tvm_eqsat.search.saturate import Limits
from tvm_eqsat.transform import host_target

DEFAULTS = EqSatOptions()
ITERATIONS = 30


@dataclass
class Figures:
    """One model; milliseconds are predicted, seconds measured.

    Attributes
    ----------
    backoff_ms, backoff_s : float
        Back-off.
    mcts_ms, mcts_s : list of float
        The search, by seed.
    baseline_ms, baseline_s : list of float
        The published search, by seed.
    peak_mb : float
        The most memory that this process had by then.
    """

    backoff_ms: float
    backoff_s: float
    mcts_ms: list[float] = field(default_factory=list)
    mcts_s: list[float] = field(default_factory=list)
    baseline_ms: list[float] = field(default_factory=list)
    baseline_s: list[float] = field(default_factory=list)
    peak_mb: float = 0.0


class Extractor:
    """Extracts programs of one model, with the names of the rules that made their nodes."""

    def __init__(self, price: NodeCost) -> None:
        self.price = price

    def best(self, grown: Grown) -> Program:
        """The cheapest program of an e-graph."""
        frozen = priced(grown.egraph, grown.egraph.freeze(grown.roots), self.price)
        found = extract(frozen, "local")
        places: dict[int, int] = {}
        graph = unload(frozen, found.choice, None, places)
        reasons = {places[c]: grown.egraph.reason(frozen.node_key[node]) for c, node in found.choice.items()}
        return Program(graph, found.cost, {i: reason for i, reason in reasons.items() if reason})

    def timed(self, run: Callable[[], Grown]) -> tuple[float, float]:
        """Milliseconds of the best program of what a schedule grows, and the schedule's seconds."""
        started = time.perf_counter()
        grown = run()
        seconds = time.perf_counter() - started
        return self.best(grown).cost * 1e3, seconds


def measure(graph: TensorGraph, price: NodeCost, args: argparse.Namespace) -> Figures:
    """Run all schedules on one program."""
    extractor = Extractor(price)
    limits = Limits(nodes=args.nodes, iterations=ITERATIONS)
    judge = judge_for(price, extractor.best, args.reward)
    figures = Figures(*extractor.timed(lambda: grow(graph, ALL, limits, extractor.best, restarts=args.restarts)))
    for seed in range(args.seeds):

        def search(seed: int = seed) -> Grown:
            budget = Budget(args.simulations, args.seconds)
            return grow_by_mcts(graph, ALL, limits, judge, budget, restarts=DEFAULTS.restarts, seed=seed)

        def published(seed: int = seed) -> Grown:
            budget = Budget(sys.maxsize, args.baseline_seconds)
            return grow_as_published(
                graph, ALL, args.nodes, judge_for(price, extractor.best, "sharing"), budget, seed=seed
            )

        ms, seconds = extractor.timed(search)
        figures.mcts_ms.append(ms)
        figures.mcts_s.append(seconds)
        if args.baseline:
            ms, seconds = extractor.timed(published)
            figures.baseline_ms.append(ms)
            figures.baseline_s.append(seconds)
    figures.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)


def _spread(values: Sequence[float]) -> float:
    """Largest minus smallest, as a share of the mean."""
    return (max(values) - min(values)) / _mean(values)


def _table(rows: dict[str, Figures], title: str) -> Table:
    table = Table(title=title)
    headings = ("model", "back-off", "s", "MCTS", "spread", "s", "saved", "published", "spread", "s", "peak MB")
    for k, heading in enumerate(headings):
        table.add_column(heading, justify="right" if k else "left")
    for name, f in rows.items():
        ours = [f"{_mean(f.mcts_ms):.3f}", f"{_spread(f.mcts_ms):.1%}", f"{_mean(f.mcts_s):.1f}"]
        saved = f"{1 - _mean(f.mcts_ms) / f.backoff_ms:.1%}"
        theirs = ["", "", ""]
        if f.baseline_ms:
            theirs = [f"{_mean(f.baseline_ms):.3f}", f"{_spread(f.baseline_ms):.1%}", f"{_mean(f.baseline_s):.1f}"]
        table.add_row(name, f"{f.backoff_ms:.3f}", f"{f.backoff_s:.1f}", *ours, saved, *theirs, f"{f.peak_mb:.0f}")
    ratio = exp(_mean([log(_mean(f.mcts_ms) / f.backoff_ms) for f in rows.values()]))
    table.add_row("geometric mean", "", "", "", "", "", f"{1 - ratio:.1%}")
    return table


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.mcts", description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=BENCHMARK, metavar="MODEL", help=f"of: {', '.join(MODELS)}")
    parser.add_argument("--nodes", type=int, default=2_000, metavar="N", help="node limit; default: 2000")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds; default: 5")
    parser.add_argument(
        "--simulations", type=int, default=DEFAULTS.simulations, metavar="N", help="default: the pass's"
    )
    parser.add_argument("--seconds", type=float, default=DEFAULTS.search_time, metavar="S", help="default: the pass's")
    parser.add_argument("--restarts", type=int, default=DEFAULTS.restarts, metavar="N", help="of back-off by itself")
    parser.add_argument("--reward", choices=("bundles", "sharing"), default=DEFAULTS.reward, help="of the search")
    parser.add_argument("--baseline", action="store_true", help="also run the search of the PACT 2024 paper")
    parser.add_argument("--baseline-seconds", type=float, default=600.0, metavar="S", help="of each; default: 600")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file")
    args = parser.parse_args(argv)
    if args.seeds < 1:
        parser.error(f"--seeds {args.seeds} is too few: give 1 or more")
    for name in args.models:
        if name not in MODELS:
            parser.error(f"no model is called {name!r}; there are: {', '.join(MODELS)}")
    price = NodeCost(machine_for(host_target()))
    progress = Console(stderr=True)
    rows: dict[str, Figures] = {}
    for name in args.models:
        graph = read_module(from_onnx(build(name))).regions[0].graph
        f = rows[name] = measure(graph, price, args)
        progress.print(f"{name}: back-off {f.backoff_ms:.3f} ms, MCTS {_mean(f.mcts_ms):.3f} ms")
    title = f"at most {args.nodes:,} e-nodes; predicted ms, seconds"
    Console(width=160).print(_table(rows, title))
    if args.json:
        record: dict[str, Any] = {name: asdict(row) for name, row in rows.items()}
        write_atomically(args.json, json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
