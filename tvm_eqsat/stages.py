"""The stages of the pass. Each runs as a TVM pass of its own name, so that TVM's instruments see and time it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import tvm
from tvm import IRModule
from tvm.target import Target

from .cost.machine import Machine
from .cost.node_cost import NodeCost, priced
from .cost.pricer import KernelPricer
from .cost.pricing import price_module
from .egraph.frozen import FrozenEGraph
from .extract import extract
from .graph.module import ModuleRegions, read_module
from .graph.region import Region
from .graph.repeats import Part, Split
from .graph.standalone import standalone
from .graph.tensor_graph import TensorGraph
from .options import EqSatOptions
from .rules.rule import RuleSet
from .run_report import RegionReport, Report, total_counts
from .search.grow import Grown, Program, grow
from .search.program import unload
from .search.saturate import Limits

log = logging.getLogger("tvm_eqsat")

#: Relative difference below which two predictions are a tie, which the original wins.
_TIE = 1e-6
#: Shares of a data movement's price that extraction is run with, see :mod:`tvm_eqsat.cost.node_cost`.
_MOVEMENT_SHARES = (1.0, 0.3, 0.0, 2.0, 0.6, 0.1)


def _identity(graph: TensorGraph) -> tuple[object, ...]:
    """What two graphs that are the same program have in common."""
    return tuple(graph.nodes[i][:3] for i in graph.live()), tuple(graph.outputs)


@dataclass
class Candidate:
    """One program for a region: where it comes from, and the rules behind it."""

    origin: str
    graph: TensorGraph
    rules: dict[str, int] = field(default_factory=dict)


@dataclass
class Work:
    """One distinct program on its way through the stages: a region, or a block that repeats in it."""

    region: Region
    part: Part
    report: RegionReport
    grown: Grown
    candidates: list[Candidate] = field(default_factory=list)
    best: TensorGraph | None = None  # None: leave it as it is

    @property
    def graph(self) -> TensorGraph:
        """The program as it was read."""
        return self.part.graph


def _meets_other_layouts(work: Work) -> bool:
    """Whether some equivalent of the program takes an input, or makes an output, in another layout.

    Neighbours that do so too need no conversion in between, which only shows where they are optimised together.
    """
    egraph = work.grown.egraph
    find = egraph.find
    passing = {find(root) for root in work.grown.roots}
    passing.update(c for c, _ in egraph.with_op("input") if not egraph.data(c).const)
    return any(c in passing or find(node[1]) in passing for c, node in egraph.with_op("permute_dims"))


class Optimizer:
    """One run of the pass over one module.

    Parameters
    ----------
    options : EqSatOptions
        The options.
    rules : RuleSet
        The rewrite rules.
    target : tvm.target.Target
        What to optimise for.
    machine : Machine
        Figures of the target, which price e-nodes.
    pricer : KernelPricer
        Prices of fused kernels.
    """

    def __init__(
        self, options: EqSatOptions, rules: RuleSet, target: Target, machine: Machine, pricer: KernelPricer
    ) -> None:
        self.options = options
        self.rules = rules
        self.target = target
        self.machine = machine
        self.pricer = pricer
        self.report = Report()
        self.sources: set[str] = set()  # of prices
        self._node_costs: dict[float, NodeCost] = {}
        self.module = ModuleRegions(IRModule({}))
        self.splits: list[Split] = []
        self.work: list[Work] = []  # for each part of each split, in order

    def run(self, mod: IRModule) -> IRModule:
        """Rewrite a module; returns the very same one if nothing better was found."""
        self._stage("EqSatImport", self.read, mod)
        self._stage("EqSatSaturate", self.saturate, mod)
        self._stage("EqSatExtract", self.extract, mod)
        return self._stage("EqSatEmit", self.emit, mod)

    def _stage(self, name: str, run: Callable[[IRModule], IRModule | None], mod: IRModule) -> IRModule:
        def body(mod: IRModule, _ctx: tvm.transform.PassContext) -> IRModule:
            found = run(mod)
            return mod if found is None else found

        started = time.perf_counter()
        found = tvm.transform.module_pass(body, opt_level=0, name=name)(mod)
        self.report.stages[name] = time.perf_counter() - started
        # TVM hands the module through its FFI: give the caller back the object he came with
        return mod if found.same_as(mod) else found

    def read(self, mod: IRModule) -> None:
        """Import every dataflow block."""
        self.module = read_module(mod)
        self.report.skipped = [f"{s.where}: {s.reason}" for s in self.module.skipped]

    def saturate(self, mod: IRModule) -> None:
        """Grow the e-graph of each region, or of each distinct part of one in which blocks repeat."""
        for region in self.module.regions:
            split = Split(region.graph, reuse=self.options.reuse_blocks)
            work = self._saturate_parts(region, split)
            if work is None:
                split = Split(region.graph, reuse=False)
                work = [self._saturate(region, split.parts[0], region.where)]
            self.splits.append(split)
            self.work += work
            self.report.regions += [w.report for w in work]

    def _saturate_parts(self, region: Region, split: Split) -> list[Work] | None:
        """Work for each part; None if layouts should be chosen for the region as a whole."""
        found: dict[int, Work] = {}
        parts = split.parts
        for number in sorted(range(len(parts)), key=lambda k: -len(parts[k].places)):
            where = region.where if len(parts) == 1 else f"{region.where}, part {number}"
            work = found[number] = self._saturate(region, parts[number], where)
            if work.report.copies > 1 and _meets_other_layouts(work):
                log.info("%s: its blocks are not optimised apart, layouts may pass from one to the next", region.where)
                return None
        return [found[number] for number in range(len(parts))]

    def _saturate(self, region: Region, part: Part, where: str) -> Work:
        graph, options = part.graph, self.options
        live = graph.live()
        opaque = {graph.nodes[i].attrs[0] for i in live if graph.nodes[i].op == "opaque"}
        leaves = ("input", "constant", "opaque")
        report = RegionReport(
            where=where,
            copies=max(1, len(part.places)),
            operators=sum(graph.nodes[i].op not in leaves for i in live),
            opaque=len(opaque),
        )
        limits = Limits(options.node_limit, options.iter_limit, options.time_limit, options.match_limit)
        grown = grow(graph, self.rules, limits, self._best, restarts=options.restarts, seed=options.seed)
        report.stop_reason = grown.runs[-1].stop_reason
        report.restarts = len(grown.runs) - 1
        report.iterations = [
            {"nodes": i.nodes, "classes": i.classes, "seconds": i.seconds, "applied": i.applied}
            for run in grown.runs
            for i in run.iterations
        ]
        if any(run.stop_reason == "time limit" for run in grown.runs):
            log.warning("saturation of %s was stopped by time_limit: another run may differ", where)
        return Work(region, part, report, grown)

    def _best(self, grown: Grown) -> Program:
        return self._extracted(grown, grown.egraph.freeze(grown.roots), 1.0)

    def _extracted(self, grown: Grown, frozen: FrozenEGraph, movement: float) -> Program:
        """The cheapest program of an e-graph, at some share of the price of data movements."""
        egraph, start = grown.egraph, grown.start.graph
        number = {c: k for k, c in enumerate(frozen.class_key)}
        named = {egraph.find(grown.class_of[i]): name for i, name in start.names.items() if grown.class_of[i] >= 0}
        names = {number[c]: name for c, name in named.items() if c in number}
        costs = priced(egraph, frozen, self._node_cost(movement))
        found = extract(costs, self.options.extractor, seed=self.options.seed)
        places: dict[int, int] = {}
        graph = unload(frozen, found.choice, names, places)
        reasons = {places[c]: egraph.reason(frozen.node_key[node]) for c, node in found.choice.items()}
        return Program(graph, found.cost, {i: reason for i, reason in reasons.items() if reason})

    def extract(self, mod: IRModule) -> None:
        """Select the programs that are worth pricing.

        What a data movement costs depends on what it is fused with, which an e-node can't know: several shares of
        its full price give several programs, and pricing after real fusion decides among them.
        """
        for work in self.work:
            grown = work.grown
            frozen = grown.egraph.freeze(grown.roots)
            known: list[tuple[object, ...]] = [_identity(work.graph)]
            programs = [
                (f"{self.options.extractor}, movement at {share:.0%}", self._extracted(grown, frozen, share))
                for share in _MOVEMENT_SHARES[: self.options.candidates]
            ]
            if len(grown.runs) > 1:
                programs.append(("start of the last e-graph", grown.start))
            for origin, program in programs:
                identity = _identity(program.graph)
                if identity not in known:
                    known.append(identity)
                    rules = total_counts({rule: 1} for rule in program.reasons.values())
                    work.candidates.append(Candidate(origin, program.graph, rules))

    def _node_cost(self, movement: float) -> NodeCost:
        """Prices of e-nodes at some share of a data movement's; each is remembered for all programs."""
        if movement not in self._node_costs:
            self._node_costs[movement] = NodeCost(self.machine, fold_limit=self.options.fold_limit, movement=movement)
        return self._node_costs[movement]

    def emit(self, mod: IRModule) -> IRModule:
        """Price the candidates after TVM's real fusion, and put the best one of each program in place."""
        before = after = 0.0
        for work in self.work:
            best = original = self._price(work, work.graph)
            work.report.candidates.append({"origin": "original", "predicted_ms": best * 1e3})
            for candidate in work.candidates:
                price = self._price(work, candidate.graph)
                work.report.candidates.append({"origin": candidate.origin, "predicted_ms": price * 1e3})
                if price < best * (1 - _TIE):
                    best, work.best = price, candidate.graph
                    work.report.chosen, work.report.rules_used = candidate.origin, candidate.rules
            before += original * work.report.copies
            after += best * work.report.copies
        self.report.predicted_ms_before, self.report.predicted_ms_after = before * 1e3, after * 1e3
        self.report.price_source = ", ".join(sorted(self.sources))
        self.report.changed = any(work.best is not None for work in self.work)
        return self.module.rebuild(self._joined(), self.options.fold_limit)

    def _joined(self) -> list[TensorGraph | None]:
        """For each region its new program, or None."""
        found: list[TensorGraph | None] = []
        work = iter(self.work)
        for split in self.splits:
            mine = [next(work) for _ in split.parts]
            changed = any(w.best is not None for w in mine)
            found.append(split.join([w.best or w.graph for w in mine]) if changed else None)
        return found

    def _price(self, work: Work, graph: TensorGraph) -> float:
        """Predicted seconds of one run of a program."""
        whole = not work.part.places
        module = standalone(self.module.mod, work.region, graph, self.options.fold_limit, whole=whole)
        found = price_module(module, self.target, self.pricer)
        self.sources.update(found.by_source())
        return found.seconds
