"""The pass's ``layouts="joint"``: forms of a module's operators as rules, searched while it tunes, remembered after."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator

from tvm import IRModule

from .cost.lower import Kernel, kernels
from .cost.space.registers import registers_of
from .cost.tuning import Batch, KernelTuner
from .forms.records import FormRecords
from .forms.search import SHARE, FormSearch, Found
from .forms.site import Site, sites_of
from .forms.table import best_forms, program_id, rules_for
from .graph.module import ModuleRegions
from .graph.standalone import standalone
from .graph.tensor_graph import Node, TensorGraph
from .rules.analysis import facts_of
from .rules.rule import RuleSet
from .selection import Selection

log = logging.getLogger("tvm_eqsat")


class LayoutChoice:
    """The forms of one module's operators.

    Parameters
    ----------
    module : ModuleRegions
        The module.
    selection : Selection
        Knows the target, the options and the directory of the database, and receives the prices of what is measured.
    """

    def __init__(self, module: ModuleRegions, selection: Selection) -> None:
        self._module = module
        self._selection = selection
        folder = None if selection.decisions is None else selection.decisions.folder
        prepack = selection.options.prepack
        self._records = None if folder is None else FormRecords(folder, selection.target, prepack=prepack)
        self._sites: Counter[Site] = Counter()
        for region in module.regions:
            self._sites += sites_of(region.graph)
        self._program = program_id(self._sites)
        self._rules: RuleSet | None = None

    def rules(self) -> RuleSet:
        """Rules for the forms that were chosen for this module; none if none were."""
        if self._rules is None:
            chosen = None if self._records is None else self._records.chosen(self._program)
            self._rules = rules_for(self._sites, chosen or {})
        return self._rules

    def search(
        self,
        tuner: KernelTuner,
        price: Callable[[Kernel], float],
        trials: int,
        *,
        on_batch: Callable[[Batch], None],
        stopping: Callable[[], bool],
    ) -> Found:
        """Choose forms by measuring, unless that was done earlier: a choice is final.

        Parameters
        ----------
        tuner : KernelTuner
            Measures.
        price : callable
            Seconds that a measured kernel is expected to take, once it is tuned.
        trials : int
            The whole budget, of which a part is used.
        on_batch, stopping : callable
            As for :meth:`KernelTuner.tune <tvm_eqsat.cost.tuning.KernelTuner.tune>`.
        """
        if self._records is None or self._records.chosen(self._program) is not None:
            return Found()
        if str(self._selection.target.kind.name) != "llvm":
            return Found()  # sizes come from vector registers
        lanes = registers_of(self._selection.target).lanes(32)
        search = FormSearch(lanes, self._kernels, self._roofline, price, tuner, self._records)
        found = search.run(self._sites, int(trials * SHARE), on_batch=on_batch, stopping=stopping)
        if found.ratios and not stopping():
            self._records.choose(self._program, best_forms(found.ratios))
            self._rules = None
        added = self._selection.machine.added
        self._selection.measured += [(work, seconds - added(work.carried)) for work, seconds in found.works]
        tried = sum(map(len, found.ratios.values()))
        log.info("%d forms of %d operators measured, %d rules for them", tried, len(self._sites), len(self.rules()))
        return found

    def _kernels(self, graph: TensorGraph) -> list[Kernel]:
        selection = self._selection
        module = standalone(IRModule({}), self._module.regions[0], graph, selection.options.fold_limit, whole=False)
        return kernels(module, selection.target, prepack=selection.options.prepack)

    def _roofline(self, graph: TensorGraph) -> float:
        """Seconds of a program as the sum of its operators' prices."""
        facts, cost = facts_of(graph), self._selection.node_cost()
        return sum(cost(node.op, node.attrs, [facts[k] for k in node.inputs], facts[i]) for i, node in _nodes(graph))


def _nodes(graph: TensorGraph) -> Iterator[tuple[int, Node]]:
    """Those that compute something."""
    return ((i, graph.nodes[i]) for i in graph.live() if graph.nodes[i].op != "input")
