"""Candidates: the programs of an e-graph that are worth lowering and pricing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tvm import IRModule
from tvm.target import Target

from .cost.calibration import Calibration
from .cost.database import DatabasePricer
from .cost.lower import Kernel, kernels
from .cost.machine import Machine
from .cost.node_cost import NodeCost, priced
from .cost.pricer import KernelPricer
from .cost.roofline import Work as WorkDone
from .cost.tuning.race import Race
from .decisions import START, Decisions, fingerprint, program_of
from .egraph.frozen import FrozenEGraph
from .extract import Extraction, extract
from .graph.region import Region
from .graph.repeats import Part
from .graph.standalone import standalone
from .graph.tensor_graph import TensorGraph
from .options import EqSatOptions
from .run_report import RegionReport, total_counts
from .search.grow import Grown, Program
from .search.program import unload

#: Shares of a data movement's price that extraction is run with, see :mod:`tvm_eqsat.cost.node_cost`.
_MOVEMENT_SHARES = (1.0, 0.3, 0.0, 2.0, 0.6, 0.1)


def _identity(graph: TensorGraph) -> tuple[object, ...]:
    """What two graphs that are the same program have in common."""
    return tuple(graph.nodes[i][:3] for i in graph.live()), tuple(graph.outputs)


@dataclass
class Candidate:
    """One program for a region: where it comes from, the rules behind it, and which e-nodes it is made of."""

    origin: str
    graph: TensorGraph
    rules: dict[str, int] = field(default_factory=dict)
    nodes: tuple[int, ...] = ()


@dataclass
class Work:
    """One distinct program on its way through the stages: a region, or a block that repeats in it.

    The first candidate is the program as it was read.
    """

    region: Region
    part: Part
    report: RegionReport
    grown: Grown
    candidates: list[Candidate] = field(default_factory=list)
    race: Race = field(default_factory=lambda: Race([]))  # the kernels of each candidate
    chosen: int = 0
    fingerprint: str = ""
    decided: bool = False  # by an earlier run

    @property
    def graph(self) -> TensorGraph:
        """The program as it was read."""
        return self.part.graph

    def frozen(self) -> FrozenEGraph:
        """Its e-graph."""
        return self.grown.egraph.freeze(self.grown.roots)


class Selection:
    """Extracts candidates, and lowers them.

    Parameters
    ----------
    options : EqSatOptions
        The options.
    target : tvm.target.Target
        What to optimise for.
    machine : Machine
        Figures of the target, which price e-nodes.
    pricer : KernelPricer
        Prices of fused kernels: those that are measured calibrate the prices of e-nodes.
    decisions : Decisions, optional
        What earlier runs decided by tuning.
    binding : bool
        Whether their programs are taken without asking for prices again, or are candidates among others.
    """

    def __init__(
        self,
        options: EqSatOptions,
        target: Target,
        machine: Machine,
        pricer: KernelPricer,
        decisions: Decisions | None = None,
        *,
        binding: bool = True,
    ) -> None:
        self.options = options
        self.target = target
        self.machine = machine
        self.pricer = pricer
        self.decisions = decisions
        self.binding = binding
        self.measured: list[tuple[WorkDone, float]] = []  # of kernels that are in no candidate
        self._node_costs: dict[float, NodeCost] = {}

    def best(self, grown: Grown) -> Program:
        """The cheapest program of an e-graph by the roofline."""
        # Never by what has been measured so far: the e-graph mustn't depend on that.
        frozen = grown.egraph.freeze(grown.roots)
        return self._program(grown, frozen, self._choice(grown, frozen, self.node_cost()))

    def _choice(self, grown: Grown, frozen: FrozenEGraph, cost: NodeCost) -> Extraction:
        """The cheapest program of an e-graph, as e-nodes."""
        costs = priced(grown.egraph, frozen, cost)
        return extract(costs, self.options.extractor, seed=self.options.seed)

    def _program(self, grown: Grown, frozen: FrozenEGraph, found: Extraction) -> Program:
        """A program of an e-graph, from its e-nodes."""
        egraph, start = grown.egraph, grown.start.graph
        number = {c: k for k, c in enumerate(frozen.class_key)}
        named = {egraph.find(grown.class_of[i]): name for i, name in start.names.items() if grown.class_of[i] >= 0}
        names = {number[c]: name for c, name in named.items() if c in number}
        places: dict[int, int] = {}
        graph = unload(frozen, found.choice, names, places)
        reasons = {places[c]: egraph.reason(frozen.node_key[node]) for c, node in found.choice.items()}
        return Program(graph, found.cost, {i: reason for i, reason in reasons.items() if reason})

    def start(self, work: Work) -> None:
        """Find the first candidates: what was decided earlier, or the best by several prices."""
        work.candidates = [Candidate("original", work.graph)]
        work.race = Race([], work.report.copies)
        frozen = work.frozen()
        work.fingerprint = fingerprint(frozen) if self.decisions is not None else ""
        work.decided = self._decided(work, frozen) and self.binding
        if not work.decided:
            self._extend(work, frozen)
            if len(work.grown.runs) > 1:
                self._add(work, "start of the last e-graph", work.grown.start, START)

    def _decided(self, work: Work, frozen: FrozenEGraph) -> bool:
        """Take the program that an earlier run decided on, if there is one."""
        nodes = None if self.decisions is None else self.decisions.get(work.fingerprint)
        if nodes is None:
            return False
        if tuple(nodes) == START:
            self._add(work, "decided by tuning", work.grown.start, START)
        elif nodes:
            found = program_of(frozen, nodes)
            if found is None:
                return False
            self._add(work, "decided by tuning", self._program(work.grown, frozen, found), tuple(nodes))
        work.chosen = len(work.candidates) - 1
        return True

    def _extend(self, work: Work, frozen: FrozenEGraph, calibration: Calibration | None = None) -> bool:
        """Add the programs that are the cheapest now; says whether there are new ones.

        What a data movement costs depends on what it is fused with, which an e-node can't know: several shares of
        its full price give several programs, and pricing after real fusion decides among them.
        """
        before = len(work.candidates)
        how = f"{self.options.extractor}, " + ("" if calibration is None else "measured prices, ")
        for share in _MOVEMENT_SHARES[: self.options.candidates]:
            found = self._choice(work.grown, frozen, self.node_cost(share, calibration))
            program = self._program(work.grown, frozen, found)
            self._add(work, f"{how}movement at {share:.0%}", program, tuple(sorted(found.choice.values())))
        return len(work.candidates) > before

    def _add(self, work: Work, origin: str, program: Program, nodes: tuple[int, ...]) -> None:
        identity = _identity(program.graph)
        if all(_identity(known.graph) != identity for known in work.candidates):
            rules = total_counts({rule: 1} for rule in program.reasons.values())
            work.candidates.append(Candidate(origin, program.graph, rules, nodes))

    def node_cost(self, movement: float = 1.0, calibration: Calibration | None = None) -> NodeCost:
        """Prices of e-nodes at some share of a data movement's; each is remembered for all programs."""
        if calibration is not None:
            return NodeCost(
                self.machine, fold_limit=self.options.fold_limit, movement=movement, calibration=calibration
            )
        if movement not in self._node_costs:
            self._node_costs[movement] = NodeCost(self.machine, fold_limit=self.options.fold_limit, movement=movement)
        return self._node_costs[movement]

    def lower(self, mod: IRModule, works: Sequence[Work]) -> None:
        """Find the kernels of candidates that are new.

        Parameters
        ----------
        mod : tvm.IRModule
            The module that they come from.
        works : sequence of Work
            The work.
        """
        for work in works:
            for candidate in work.candidates[len(work.race.programs) :]:
                work.race.programs.append(self._kernels_of(mod, work, candidate.graph))

    def _kernels_of(self, mod: IRModule, work: Work, graph: TensorGraph) -> list[Kernel]:
        whole = not work.part.places
        module = standalone(mod, work.region, graph, self.options.fold_limit, whole=whole)
        return kernels(module, self.target, prepack=self.options.prepack)

    def extend(self, works: Sequence[Work], price: Callable[[Kernel], float]) -> bool:
        """Extract again with what is measured by now, if anything is; says whether there are new candidates.

        Parameters
        ----------
        works : sequence of Work
            The work, lowered.
        price : callable
            Seconds of one call of a measured kernel.
        """
        open_ = [work for work in works if not work.decided]
        known = {kernel.hash: kernel for work in open_ for kernel in work.race.kernels()}
        measured = self.measured + [
            (kernel.work, price(kernel) - self.machine.added(kernel.work.carried))
            for kernel in known.values()
            if (found := self.pricer.price(kernel)) is not None and found.source == DatabasePricer.source
        ]
        if not measured:
            return False
        calibration = Calibration(measured)
        new = [self._extend(work, work.frozen(), calibration) for work in open_]
        return any(new)
