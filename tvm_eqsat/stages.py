"""The stages of the pass. Each runs as a TVM pass of its own name, so that TVM's instruments see and time it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import tvm
from tvm import IRModule

from .cost.database import DatabasePricer
from .cost.lower import Kernel
from .cost.pricing import price_kernel
from .cost.store.conditions import target_identity
from .cost.tuning import is_tunable
from .graph.module import ModuleRegions, read_module
from .graph.region import Region
from .graph.repeats import Part, Split
from .graph.tensor_graph import TensorGraph
from .layouts import LayoutChoice
from .mutation import Mutation
from .options import EqSatOptions
from .progress import Progress
from .rewards import judge_for
from .rules.rule import RuleSet
from .run_report import RegionReport, Report
from .search.grow import Grown, grow
from .search.mcts import SCORES, Budget, Usefulness, grow_by_mcts
from .search.saturate import Limits
from .selection import Selection, Work

log = logging.getLogger("tvm_eqsat")


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
    selection : Selection
        Finds candidates; it knows the target, and what kernels cost there.
    """

    def __init__(self, options: EqSatOptions, rules: RuleSet, selection: Selection) -> None:
        self.options = options
        self.rules = rules
        self.selection = selection
        self.pricer = selection.pricer
        self.report = Report()
        self.module = ModuleRegions(IRModule({}))
        self.splits: list[Split] = []
        self.work: list[Work] = []  # for each part of each split, in order
        self._mutation: Mutation | None = None
        self._layouts: LayoutChoice | None = None

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
        if self.options.layouts == "joint" and self.options.numerics != "strict":
            self._layouts = LayoutChoice(self.module, self.selection)

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
        rules = self._rules(graph, where)
        grown = self._grown(graph, rules, limits, where)
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

    def _grown(self, graph: TensorGraph, rules: RuleSet, limits: Limits, where: str) -> Grown:
        """An e-graph grown by the schedule of the options."""
        options, selection = self.options, self.selection
        if options.schedule == "backoff":
            return grow(graph, rules, limits, selection.best, restarts=options.restarts, seed=options.seed)
        folder = None if selection.decisions is None else selection.decisions.folder
        title = f"searching {where}"
        with Progress(title, options.simulations, "simulations", quiet=not options.progress) as progress:
            return grow_by_mcts(
                graph,
                rules,
                limits,
                judge_for(selection.node_cost(), selection.best, options.reward),
                Budget(
                    options.simulations,
                    options.search_time,
                    progress=lambda done, cost: progress.advance(done - progress.done, f"{cost * 1e3:.3f} ms"),
                ),
                restarts=options.restarts,
                seed=options.seed,
                usefulness=Usefulness(folder and folder / SCORES, target_identity(selection.target)),
            )

    def _rules(self, graph: TensorGraph, where: str) -> RuleSet:
        """The rules, with those for forms and mutants of the program's operators."""
        options = self.options
        rules = self.rules if self._layouts is None else self.rules + self._layouts.rules()
        if options.partial == "none" or options.numerics == "strict":
            return rules
        if self._mutation is None:
            self._mutation = Mutation(options, self.selection)
        return rules + self._mutation.rules(graph, where)

    def extract(self, mod: IRModule) -> None:
        """Select the programs that are worth pricing."""
        for work in self.work:
            self.selection.start(work)

    def emit(self, mod: IRModule) -> IRModule:
        """Price the candidates after TVM's real fusion, and put the best one of each program in place."""
        self.choose()
        return self.rebuilt()

    def choose(self) -> None:
        """Decide by predicted latency, among programs with records of all their kernels if there are any.

        A kernel without a record will run as TVM writes it when it hasn't been tuned: slower than any prediction.
        """
        self.selection.lower(self.module.mod, self.work)
        if self.selection.extend(self.work, self.price):
            self.selection.lower(self.module.mod, self.work)
        recorded = self.selection.decisions is not None
        for work in self.work:
            if not work.decided:
                work.chosen = work.race.leader(self.price, self.measured(work) if recorded else None)
        if recorded:
            taken = {k.hash: k for work in self.work for k in work.race.programs[work.chosen] if is_tunable(k)}
            without = sum(not self._is_measured(kernel) for kernel in taken.values())
            log.info("%d of %d kernels of the chosen program have no record", without, len(taken))

    def measured(self, work: Work) -> list[int]:
        """The candidates of which every kernel is measured."""
        return [i for i, program in enumerate(work.race.programs) if all(map(self._is_measured, program))]

    def _is_measured(self, kernel: Kernel) -> bool:
        return not is_tunable(kernel) or self._source(kernel) == DatabasePricer.source

    def _source(self, kernel: Kernel) -> str:
        return price_kernel(kernel, self.pricer).source

    def price(self, kernel: Kernel) -> float:
        """Seconds of one call."""
        return price_kernel(kernel, self.pricer).seconds

    def rebuilt(self) -> IRModule:
        """The module with what was chosen in place."""
        self.tell()
        return self.module.rebuild(self._joined(), self.options.fold_limit)

    def tell(self) -> None:
        """Report what was chosen, and why."""
        before = after = 0.0
        sources: set[str] = set()
        for work in self.work:
            times = [work.race.seconds(i, self.price) for i in range(len(work.candidates))]
            sources.update(self._source(kernel) for kernel in work.race.kernels())
            work.report.candidates = [
                {"origin": candidate.origin, "predicted_ms": seconds * 1e3}
                for candidate, seconds in zip(work.candidates, times, strict=True)
            ]
            chosen = work.candidates[work.chosen]
            work.report.chosen, work.report.rules_used = chosen.origin, chosen.rules
            before += times[0] * work.report.copies
            after += times[work.chosen] * work.report.copies
        self.report.predicted_ms_before, self.report.predicted_ms_after = before * 1e3, after * 1e3
        self.report.price_source = ", ".join(sorted(sources))
        self.report.changed = any(work.chosen for work in self.work)

    def _joined(self) -> list[TensorGraph | None]:
        """For each region its new program, or None."""
        found: list[TensorGraph | None] = []
        work = iter(self.work)
        for split in self.splits:
            mine = [next(work) for _ in split.parts]
            changed = any(w.chosen for w in mine)
            found.append(split.join([w.candidates[w.chosen].graph for w in mine]) if changed else None)
        return found
