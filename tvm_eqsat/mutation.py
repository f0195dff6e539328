"""Mutants for the pass: rules for each program's expensive operators, from one manager for all of them."""

from __future__ import annotations

import logging

from .graph.tensor_graph import TensorGraph
from .options import EqSatOptions
from .partial.alternatives import lower_bound, partial_rules
from .partial.manager import MutationManager
from .partial.subprograms import sparse
from .rules.rule import RuleSet
from .selection import Selection

log = logging.getLogger("tvm_eqsat")

_SLACK = 1.05  # of what a mutant's lower bound may be above the operator's own


class Mutation:
    """Makes the rules for the operators that the option ``partial`` asks for.

    Parameters
    ----------
    options : EqSatOptions
        The options.
    selection : Selection
        Knows the target, and the directory of the database: the file of known mutants is there. A run that doesn't tune
        only reads it.
    """

    def __init__(self, options: EqSatOptions, selection: Selection) -> None:
        self._price = selection.node_cost()
        self._bound = lower_bound(selection.node_cost(movement=0.0))
        folder = None if selection.decisions is None else selection.decisions.folder
        self._manager = MutationManager(
            folder,
            price=self._bound,
            context=str(selection.machine),
            limit=options.partial_limit,
            slack=_SLACK,
        )
        self._seconds = options.partial_time
        self._which = sparse if options.partial == "auto" else None
        self._writes = folder is not None and not selection.binding

    def rules(self, graph: TensorGraph, where: str) -> RuleSet:
        """The rules for one program."""
        rules, complete = partial_rules(
            graph, self._manager, self._price, bound=self._bound, which=self._which, seconds=self._seconds
        )
        if not complete:
            log.warning("the search for mutants of %s was stopped by partial_time: another run may differ", where)
        manager = self._manager
        log.info(
            "%s: %d rules for mutants (%d operators searched, %d like others, %d known)",
            where, len(rules), manager.searched, manager.reused, manager.known,
        )  # fmt: skip
        if self._writes:
            manager.save()
        return rules
