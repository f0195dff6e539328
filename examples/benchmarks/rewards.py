"""The rewards of Monte Carlo tree search compared: the PACT 2024 paper's cost that knows of sharing, and bundles.

``python -m examples.benchmarks.rewards --models squeezenet resnet18``: for each model, e-graphs of several sizes that
back-off grows. For each reward: how long an estimate takes, and how far it is from the cheapest program of the e-graph,
which an integer program finds. Where that isn't proven in time, errors are against the cheapest program known.

``--latencies FILE`` takes what ``python -m examples.benchmarks.prediction --json FILE`` measured, and also ranks those
programs by each reward of the e-graph that holds just the program: Spearman's correlation with the measured latency.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from tvm.relax.frontend.onnx import from_onnx
from tvm.target import Target

from examples.arguments import one_of
from examples.models import BENCHMARK, MODELS, build
from examples.programs import imported
from tvm_eqsat.cost.machine import machine_for
from tvm_eqsat.cost.node_cost import NodeCost, priced
from tvm_eqsat.cost.pricer import RooflinePricer
from tvm_eqsat.cost.pricing import price_module
from tvm_eqsat.egraph.frozen import FrozenEGraph
from tvm_eqsat.errors import FormatError
from tvm_eqsat.extract import extract
from tvm_eqsat.files import write_atomically
from tvm_eqsat.graph.module import read_module
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.rewards import REWARDS
from tvm_eqsat.rules import ALL
from tvm_eqsat.search.program import load
from tvm_eqsat.search.saturate import Limits, saturate
from tvm_eqsat.transform import host_target

from .variants import variants

SIZES = (500, 1_000, 2_000)
_PROVEN = 1e-6  # relative distance of a program to the bound
_REPEATS = 3  # of each estimate, to time it


@dataclass(frozen=True)
class Estimate:
    """What a reward says of one e-graph.

    Attributes
    ----------
    model, reward : str
        Of which model's e-graph, and which reward.
    nodes : int
        E-nodes.
    ms : float
        How long it took.
    error : float
        How much more the reward says than the cheapest program costs, as a share of that.
    proven : bool
        Whether that program is proven to be the cheapest.
    """

    model: str
    reward: str
    nodes: int
    ms: float
    error: float
    proven: bool


def estimates(model: str, graph: TensorGraph, price: NodeCost, time_limit: float) -> Iterator[Estimate]:
    """What each reward says of e-graphs of several sizes."""
    for number, nodes in enumerate(SIZES):
        egraph, class_of = load(graph)
        size = len(graph.live()) + nodes
        saturate(egraph, ALL, Limits(nodes=size), shuffle=random.Random(number))
        frozen = priced(egraph, egraph.freeze([class_of[i] for i in graph.outputs]), price)
        best = extract(frozen, "ilp", time_limit=time_limit)
        proven = best.lower_bound is not None and best.cost - best.lower_bound <= _PROVEN * best.cost
        for name in REWARDS:
            cost, ms = _timed(name, frozen)
            yield Estimate(model, name, egraph.num_nodes, ms, cost / best.cost - 1, proven)


def _timed(reward: str, frozen: FrozenEGraph) -> tuple[float, float]:
    """A reward, and the milliseconds that it takes."""
    times, cost = [], 0.0
    for _ in range(_REPEATS):
        started = time.process_time()
        cost = REWARDS[reward](frozen)
        times.append(time.process_time() - started)
    return cost, median(times) * 1e3


def correlations(path: Path, seed: int) -> dict[str, dict[str, float]]:
    """Rank correlations of rewards with the latencies of programs that the benchmark of predictions measured.

    Parameters
    ----------
    path : pathlib.Path
        The file that it wrote.
    seed : int
        The seed that it was given: the programs are made again.

    Returns
    -------
    dict
        For each model, by reward.

    Raises
    ------
    FormatError
        The file isn't one of that benchmark, or its programs are others than those that are made now.
    """
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        target = Target(json.loads(whole["target"]))
        measured = {
            str(name): [(str(row["origin"]), float(row["measured_ms"])) for row in model["rows"]]
            for name, model in whole["models"].items()
        }
    except (OSError, ValueError, TypeError, KeyError) as err:
        raise FormatError(f"{path} isn't a file of examples.benchmarks.prediction: {err!r}") from err
    return {name: _ranked(name, rows, target, seed) for name, rows in measured.items()}


def _ranked(model: str, rows: Sequence[tuple[str, float]], target: Target, seed: int) -> dict[str, float]:
    machine = machine_for(target)
    roofline = RooflinePricer(machine)
    mod = imported(MODELS[model](seed=seed), model).mod
    programs = variants(mod, machine, len(rows), lambda m: price_module(m, target, roofline).seconds, seed=seed)
    if [program.origin for program in programs] != [origin for origin, _ in rows]:
        raise FormatError(f"the programs of {model} were measured with another seed or version: measure them again")
    price = NodeCost(machine)
    alone = []
    for program in programs:
        graph = max((region.graph for region in read_module(program.mod).regions), key=lambda g: len(g.nodes))
        egraph, class_of = load(graph)
        alone.append(priced(egraph, egraph.freeze([class_of[i] for i in graph.outputs]), price))
    latencies = [ms for _, ms in rows]
    return {
        name: float(spearmanr([reward(frozen) for frozen in alone], latencies).statistic)
        for name, reward in REWARDS.items()
    }


def _table(found: Sequence[Estimate], ranks: dict[str, dict[str, float]]) -> Table:
    table = Table(title="rewards: ms of an estimate, error against the cheapest program, ranks of measured programs")
    table.add_column("model")
    for heading in ("reward", "e-nodes", "ms", "median error", "worst error", "proven", "Spearman"):
        table.add_column(heading, justify="right")
    for model in dict.fromkeys([*(e.model for e in found), *ranks]):
        for reward in REWARDS:
            mine = [e for e in found if (e.model, e.reward) == (model, reward)]
            row = ["", "", "", "", ""]
            if mine:
                errors = [e.error for e in mine]
                proven = f"{sum(e.proven for e in mine)} of {len(mine)}"
                sizes = f"{min(e.nodes for e in mine):,} - {max(e.nodes for e in mine):,}"
                worst = max(errors, key=abs)
                row = [sizes, f"{median(e.ms for e in mine):.0f}", f"{median(errors):.2%}", f"{worst:.2%}", proven]
            rank = f"{ranks[model][reward]:.3f}" if model in ranks else ""
            table.add_row(model, reward, *row, rank)
    return table


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.rewards", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="*", default=BENCHMARK, metavar="MODEL", type=one_of(MODELS), help=f"of: {', '.join(MODELS)}"
    )
    parser.add_argument(
        "--time-limit", type=float, default=20.0, metavar="S", help="seconds for each integer program; default: 20"
    )
    parser.add_argument("--latencies", type=Path, metavar="FILE", help="JSON of examples.benchmarks.prediction")
    parser.add_argument("--seed", type=int, default=0, help="that was given to it; default: 0")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    args = parser.parse_args(argv)
    price = NodeCost(machine_for(host_target()))
    progress = Console(stderr=True)
    found: list[Estimate] = []
    for model in args.models:
        progress.print(model)
        graph = read_module(from_onnx(build(model))).regions[0].graph
        found += estimates(model, graph, price, args.time_limit)
    ranks: dict[str, dict[str, float]] = {}
    if args.latencies:
        try:
            ranks = correlations(args.latencies, args.seed)
        except FormatError as err:
            print("error:", err, file=sys.stderr)
            return 2
    Console(width=140).print(_table(found, ranks))
    if args.json:
        whole: dict[str, Any] = {"estimates": [asdict(e) for e in found], "spearman": ranks}
        write_atomically(args.json, json.dumps(whole, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
