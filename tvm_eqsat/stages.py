"""The stages of the pass. Each runs as a TVM pass of its own name, so that TVM's instruments see and time it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import tvm
from tvm import IRModule
from tvm.target import Target

from .cost.machine import Machine
from .cost.node_cost import NodeCost
from .cost.pricer import KernelPricer
from .cost.pricing import price_module
from .egraph.egraph import EGraph
from .egraph.frozen import FrozenEGraph
from .extract import extract
from .graph.module import ModuleRegions, read_module
from .graph.tensor_graph import TensorGraph
from .options import EqSatOptions
from .rules.rule import RuleSet
from .run_report import RegionReport, Report, total_counts
from .search.program import load, unload
from .search.saturate import Limits, saturate

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
    """One region on its way through the stages."""

    graph: TensorGraph
    report: RegionReport
    egraph: EGraph
    roots: list[int]
    names: dict[int, str]
    frozen: FrozenEGraph | None = None
    candidates: list[Candidate] = field(default_factory=list)
    best: TensorGraph | None = None  # None: leave the block as it is


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
        self.module = ModuleRegions(IRModule({}))
        self.work: list[Work] = []

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
        for region in self.module.regions:
            graph = region.graph
            egraph, class_of = load(graph)
            live = graph.live()
            opaque = {graph.nodes[i].attrs[0] for i in live if graph.nodes[i].op == "opaque"}
            leaves = ("input", "constant", "opaque")
            facts = RegionReport(
                where=region.where,
                operators=sum(graph.nodes[i].op not in leaves for i in live),
                opaque=len(opaque),
            )
            self.report.regions.append(facts)
            names = {class_of[i]: name for i, name in graph.names.items() if class_of[i] >= 0}
            self.work.append(Work(graph, facts, egraph, [class_of[i] for i in graph.outputs], names))
        self.report.skipped = [f"{s.where}: {s.reason}" for s in self.module.skipped]

    def saturate(self, mod: IRModule) -> None:
        """Grow each e-graph."""
        options = self.options
        limits = Limits(options.node_limit, options.iter_limit, options.time_limit, options.match_limit)
        for work in self.work:
            run = saturate(work.egraph, self.rules, limits)
            work.report.stop_reason = run.stop_reason
            work.report.iterations = [
                {"nodes": i.nodes, "classes": i.classes, "seconds": i.seconds, "applied": i.applied}
                for i in run.iterations
            ]
            if run.stop_reason == "time limit":
                log.warning("saturation of %s was stopped by time_limit: another run may differ", work.report.where)

    def extract(self, mod: IRModule) -> None:
        """Select the programs that are worth pricing.

        What a data movement costs depends on what it is fused with, which an e-node can't know: several shares of
        its full price give several programs, and pricing after real fusion decides among them.
        """
        for work in self.work:
            egraph = work.egraph
            frozen = egraph.freeze(work.roots)
            names = {egraph.find(c): name for c, name in work.names.items()}
            names = {index: names[c] for index, c in enumerate(frozen.class_key) if c in names}
            known: list[tuple[object, ...]] = [_identity(work.graph)]
            for share in _MOVEMENT_SHARES[: self.options.candidates]:
                priced = frozen.with_costs(self._costs(egraph, frozen, share))
                found = extract(priced, self.options.extractor, seed=self.options.seed)
                graph = unload(frozen, found.choice, names)
                identity = _identity(graph)
                if identity in known:
                    continue
                known.append(identity)
                made_by = (egraph.reason(frozen.node_key[node]) for node in found.choice.values())
                rules = total_counts({rule: 1} for rule in made_by if rule)
                origin = f"{self.options.extractor}, movement at {share:.0%}"
                work.candidates.append(Candidate(origin, graph, rules))

    def _costs(self, egraph: EGraph, frozen: FrozenEGraph, movement: float) -> list[float]:
        cost = NodeCost(self.machine, fold_limit=self.options.fold_limit, movement=movement)
        data = [egraph.data(c) for c in frozen.class_key]
        return [
            cost(op, attrs, [data[c] for c in children], data[cls])
            for op, attrs, children, cls in zip(
                frozen.node_op, frozen.node_attrs, frozen.node_children, frozen.node_class, strict=True
            )
        ]

    def emit(self, mod: IRModule) -> IRModule:
        """Price the candidates after TVM's real fusion, and put the best one of each block in place."""
        originals = [work.graph for work in self.work]
        before = self._price(originals)
        total = before
        for index, work in enumerate(self.work):
            best = before
            work.report.candidates.append({"origin": "original", "predicted_ms": before * 1e3})
            for candidate in work.candidates:
                price = self._price([*originals[:index], candidate.graph, *originals[index + 1 :]])
                work.report.candidates.append({"origin": candidate.origin, "predicted_ms": price * 1e3})
                if price < best * (1 - _TIE):
                    best, work.best = price, candidate.graph
                    work.report.chosen, work.report.rules_used = candidate.origin, candidate.rules
            total -= before - best
        self.report.predicted_ms_before, self.report.predicted_ms_after = before * 1e3, total * 1e3
        self.report.changed = any(work.best is not None for work in self.work)
        return self.module.rebuild([work.best for work in self.work], self.options.fold_limit)

    def _price(self, graphs: Sequence[TensorGraph]) -> float:
        """Predicted seconds of the module with these programs in its blocks."""
        if not graphs:
            return 0.0
        found = price_module(self.module.rebuild(graphs, self.options.fold_limit), self.target, self.pricer)
        self.report.price_source = ", ".join(found.by_source())
        return found.seconds
