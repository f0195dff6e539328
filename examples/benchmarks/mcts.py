"""Monte Carlo tree search beside back-off on the ten benchmark models, with the same rules and prices.

For each model and node limit: the predicted milliseconds of the program that the back-off schedule finds (with the
pass's default number of new starts), and of what the search finds with several seeds, with their spread; the CPU
seconds of both, and the most memory that the process had during the search, with TVM and the model's weights in it.
``--baseline`` adds the PACT 2024 paper's search: one rule at all matches a step, 128 simulations before each, random
rollouts, the paper's cost as reward. It has the same e-graph, rules, prices and extraction, and as much time as
``--baseline-seconds`` says: a search that is stopped there has not ended by itself. Costs are sums of e-node prices, as
extraction minimises them; nothing is compiled. "sooner" compares the CPU time that the paper's search takes until its
last improvement with what ours takes until it has a program as cheap as that.

With ``--json FILE`` every run is written there as soon as it has ended, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from math import exp, fsum, inf, log
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tvm.relax.frontend.onnx import from_onnx

from examples.arguments import one_of
from examples.models import BENCHMARK, MODELS, build
from tvm_eqsat import EqSatOptions
from tvm_eqsat.cost.machine import machine_for
from tvm_eqsat.cost.node_cost import NodeCost, priced
from tvm_eqsat.errors import FormatError
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
BACKOFF, MCTS, PUBLISHED = "backoff", "mcts", "published"


@dataclass(frozen=True)
class Run:
    """One run of one schedule.

    Attributes
    ----------
    model, schedule : str
        What was grown, and how.
    nodes, seed : int
        Node limit and seed.
    ms : float
        Predicted milliseconds of the program that was found.
    seconds, cpu_seconds : float
        How long the schedule took, without the last extraction.
    peak_mb : float
        The most memory that the process had meanwhile.
    reached : list of [float, float]
        CPU seconds, and predicted milliseconds of the best program by then, whenever there was a cheaper one.
    """

    model: str
    nodes: int
    schedule: str
    seed: int
    ms: float
    seconds: float
    cpu_seconds: float
    peak_mb: float
    reached: list[list[float]] = field(default_factory=list)

    def seconds_to(self, ms: float) -> float:
        """CPU seconds until there was a program as cheap as this; infinite if there never was."""
        return next((seconds for seconds, found in self.reached if found <= ms * (1 + 1e-9)), inf)


class Results:
    """The runs so far, in a JSON file.

    Parameters
    ----------
    path : pathlib.Path, optional
        The file; without it they are kept in memory only.
    settings : dict
        What all runs have in common.

    Raises
    ------
    FormatError
        The file isn't one of these, or has runs with other settings.
    """

    def __init__(self, path: Path | None, settings: dict[str, Any]) -> None:
        self._path = path
        self._settings = settings
        self.runs: list[Run] = []
        if path is None or not path.exists():
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            self.runs = [Run(**run) for run in found["runs"]]
            before = found["settings"]
        except (OSError, ValueError, TypeError, KeyError) as err:
            raise FormatError(f"{path} isn't a file of this benchmark: {err!r}; give another name") from err
        if before != settings:
            raise FormatError(f"{path} has runs with other settings, {before}: give another name")

    def of(self, model: str, nodes: int, schedule: str) -> list[Run]:
        """The runs of a schedule."""
        return [run for run in self.runs if (run.model, run.nodes, run.schedule) == (model, nodes, schedule)]

    def add(self, run: Run) -> None:
        """One more, on disk when this returns."""
        self.runs.append(run)
        if self._path is not None:
            whole = {"settings": self._settings, "runs": [asdict(run) for run in self.runs]}
            write_atomically(self._path, json.dumps(whole, indent=1) + "\n")


class Schedules:
    """The schedules on one model.

    Parameters
    ----------
    graph : TensorGraph
        The model.
    price : NodeCost
        Prices of e-nodes.
    args : argparse.Namespace
        The command line.
    """

    def __init__(self, graph: TensorGraph, price: NodeCost, args: argparse.Namespace) -> None:
        self._graph = graph
        self._price = price
        self._args = args
        self._started = 0.0
        self._reached: list[list[float]] = []

    def best(self, grown: Grown) -> Program:
        """The cheapest program of an e-graph, with the names of the rules that made its nodes."""
        frozen = priced(grown.egraph, grown.egraph.freeze(grown.roots), self._price)
        found = extract(frozen, "local")
        places: dict[int, int] = {}
        graph = unload(frozen, found.choice, None, places)
        reasons = {places[c]: grown.egraph.reason(frozen.node_key[node]) for c, node in found.choice.items()}
        return Program(graph, found.cost, {i: reason for i, reason in reasons.items() if reason})

    def run(self, model: str, nodes: int, schedule: str, seed: int) -> Run:
        """Run one."""
        grow_it = {BACKOFF: self._backoff, MCTS: self._mcts, PUBLISHED: self._published}[schedule]
        _forget_peak()
        started, self._started, self._reached = time.perf_counter(), time.process_time(), []
        grown = grow_it(nodes, seed)
        seconds, cpu = time.perf_counter() - started, time.process_time() - self._started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        ms = self.best(grown).cost * 1e3
        if not self._reached or ms < self._reached[-1][1] * (1 - 1e-9):
            self._reached.append([cpu, ms])
        return Run(model, nodes, schedule, seed, ms, seconds, cpu, peak, self._reached)

    def _note(self, simulations: int, cost: float) -> None:
        if not self._reached or cost * 1e3 < self._reached[-1][1]:
            self._reached.append([time.process_time() - self._started, cost * 1e3])

    def _backoff(self, nodes: int, seed: int) -> Grown:
        limits = Limits(nodes=nodes, iterations=ITERATIONS)
        return grow(self._graph, ALL, limits, self.best, restarts=self._args.restarts, seed=seed)

    def _mcts(self, nodes: int, seed: int) -> Grown:
        args, limits = self._args, Limits(nodes=nodes, iterations=ITERATIONS)
        judge = judge_for(self._price, self.best, args.reward)
        budget = Budget(args.simulations, args.seconds, progress=self._note)
        return grow_by_mcts(self._graph, ALL, limits, judge, budget, restarts=args.restarts, seed=seed)

    def _published(self, nodes: int, seed: int) -> Grown:
        budget = Budget(sys.maxsize, self._args.baseline_seconds, progress=self._note)
        judge = judge_for(self._price, self.best, "sharing")
        return grow_as_published(self._graph, ALL, nodes, judge, budget, seed=seed)


def _forget_peak() -> None:
    """Let the highest memory count from now on, where Linux allows that."""
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)


def _spread(values: Sequence[float]) -> float:
    """Largest minus smallest, as a share of the mean."""
    return (max(values) - min(values)) / _mean(values)


def _cells(runs: Sequence[Run]) -> list[str]:
    if not runs:
        return ["", "", ""]
    costs = [run.ms for run in runs]
    return [f"{_mean(costs):.3f}", f"{_spread(costs):.1%}", f"{_mean([run.cpu_seconds for run in runs]):.1f}"]


def _sooner(ours: Sequence[Run], theirs: Sequence[Run]) -> str:
    """How many times less time ours needs for what each run of the published search found."""
    pairs = zip(ours, theirs, strict=False)
    ratios = [his.reached[-1][0] / mine.seconds_to(his.ms) for mine, his in pairs if his.reached]
    return f"{exp(_mean([log(ratio) for ratio in ratios])):.0f}x" if ratios and min(ratios) > 0 else ""


def _table(results: Results, models: Sequence[str], nodes: int) -> Table:
    table = Table(title=f"at most {nodes:,} e-nodes; predicted ms, CPU seconds")
    headings = (
        "model",
        "back-off",
        "s",
        "MCTS",
        "spread",
        "s",
        "saved",
        "peak MB",
        "published",
        "spread",
        "s",
        "sooner",
    )
    for k, heading in enumerate(headings):
        table.add_column(heading, justify="right" if k else "left")
    ratios = []
    for model in models:
        (backoff,) = results.of(model, nodes, BACKOFF)
        ours, theirs = results.of(model, nodes, MCTS), results.of(model, nodes, PUBLISHED)
        ratios.append(_mean([run.ms for run in ours]) / backoff.ms)
        first = [model, f"{backoff.ms:.3f}", f"{backoff.cpu_seconds:.1f}"]
        more = [f"{1 - ratios[-1]:.1%}", f"{max(run.peak_mb for run in ours):.0f}"]
        table.add_row(*first, *_cells(ours), *more, *_cells(theirs), _sooner(ours, theirs))
    saved = 1 - exp(_mean([log(ratio) for ratio in ratios]))
    table.add_row("geometric mean", "", "", "", "", "", f"{saved:.1%}")
    return table


def _missing(results: Results, model: str, args: argparse.Namespace) -> Iterator[tuple[int, str, int]]:
    """Node limit, schedule and seed of what has to be run."""
    for nodes in args.nodes:
        wanted = [(BACKOFF, 0)]
        for seed in range(args.seeds):
            wanted += [(MCTS, seed), *([(PUBLISHED, seed)] if args.baseline else [])]
        for schedule, seed in wanted:
            if all(run.seed != seed for run in results.of(model, nodes, schedule)):
                yield nodes, schedule, seed


def _run(results: Results, args: argparse.Namespace, tell: Callable[[str], None]) -> None:
    price = NodeCost(machine_for(host_target()))
    for model in args.models:
        graph = cache(lambda name=model: read_module(from_onnx(build(name))).regions[0].graph)
        for nodes, schedule, seed in _missing(results, model, args):
            run = Schedules(graph(), price, args).run(model, nodes, schedule, seed)
            results.add(run)
            tell(f"{model}, {nodes:,} e-nodes, {schedule}, seed {seed}: {run.ms:.3f} ms in {run.cpu_seconds:.1f} s")


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.benchmarks.mcts", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", nargs="+", default=BENCHMARK, metavar="MODEL", type=one_of(MODELS), help=f"of: {', '.join(MODELS)}"
    )
    parser.add_argument("--nodes", nargs="+", type=int, default=[2_000], metavar="N", help="node limits; default: 2000")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds; default: 5")
    parser.add_argument(
        "--simulations", type=int, default=DEFAULTS.simulations, metavar="N", help="default: the pass's"
    )
    parser.add_argument("--seconds", type=float, default=DEFAULTS.search_time, metavar="S", help="default: the pass's")
    parser.add_argument("--restarts", type=int, default=DEFAULTS.restarts, metavar="N", help="of back-off")
    parser.add_argument("--reward", choices=("bundles", "sharing"), default=DEFAULTS.reward, help="of the search")
    parser.add_argument("--baseline", action="store_true", help="also run the search of the PACT 2024 paper")
    parser.add_argument("--baseline-seconds", type=float, default=600.0, metavar="S", help="of each; default: 600")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write each run to a file, and go on from what it has"
    )
    args = parser.parse_args(argv)
    if args.seeds < 1:
        parser.error(f"--seeds {args.seeds} is too few: give 1 or more")
    names = ("simulations", "seconds", "restarts", "reward", "baseline_seconds")
    settings = {"target": str(host_target()), **{name: getattr(args, name) for name in names}}
    try:
        results = Results(args.json, settings)
    except FormatError as err:
        parser.error(str(err))
    progress = Console(stderr=True)
    _run(results, args, lambda text: progress.print(text, highlight=False))
    for nodes in args.nodes:
        Console(width=160).print(_table(results, args.models, nodes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
