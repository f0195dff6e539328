"""Greedy sequential rewriting: what compilers do without an e-graph, the baseline for phase ordering.

The rules are applied to one program, in their order. A rewrite that makes the program cheaper is kept and what it
replaced is forgotten; any other is undone. It ends when no single rewrite helps. A rewrite that pays only after another
one is never found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from ..graph.tensor_graph import TensorGraph
from ..rules.analysis import Info
from ..rules.rule import Rule
from .apply import CompiledRule
from .program import load

#: Price of one operator: its name, attributes, facts of the operands and of the result.
Price = Callable[[str, tuple[Any, ...], Sequence[Info], Info], float]

_GAIN = 1e-9  # relative; less is rounding
_SITES = 100_000  # of one rule, in one program


@dataclass
class Sequential:
    """What greedy sequential rewriting found.

    Attributes
    ----------
    graph : TensorGraph
        The program.
    cost : float
        Its price, in the unit of the operators' prices.
    applied : list of str
        Names of the rules whose rewrites were kept, in order.
    complete : bool
        False if the time limit ended it.
    """

    graph: TensorGraph
    cost: float
    applied: list[str] = field(default_factory=list)
    complete: bool = True


def rewrite_sequentially(
    graph: TensorGraph, rules: Iterable[Rule], price: Price, *, seconds: float = inf
) -> Sequential:
    """Improve a program by one rewrite at a time.

    Parameters
    ----------
    graph : TensorGraph
        The program.
    rules : iterable of Rule
        Tried in this order, again and again until none helps.
    price : callable
        Price of one operator.
    seconds : float
        Wall-clock time after which the program found so far is returned.
    """
    deadline = time.monotonic() + seconds
    program = _Program(graph, price)
    found = Sequential(graph, program.cost({}))
    rules = list(rules)
    idle = 0  # rules in a row that didn't help
    number = 0
    while rules and idle < len(rules):
        if program.improve(rules[number], found, deadline):
            idle = 0
        else:
            idle += 1
            number = (number + 1) % len(rules)
        if time.monotonic() > deadline:
            found.complete = False
            break
    found.graph = program.graph({})
    return found


class _Program:
    """A program as an e-graph with one e-node in each class; rewrites are tried in it and undone."""

    def __init__(self, graph: TensorGraph, price: Price) -> None:
        self.price = price
        self._load(graph)

    def _load(self, graph: TensorGraph) -> None:
        self.egraph, class_of = load(graph)
        self.roots = [class_of[i] for i in graph.outputs]
        self.saved = self.egraph.snapshot()

    def improve(self, rule: Rule, found: Sequential, deadline: float) -> bool:
        """Keep the first rewrite by a rule that helps."""
        compiled = CompiledRule(rule)
        egraph = self.egraph
        for site in compiled.search(egraph, _SITES):
            replaced = [match[0] for match in site] if rule.shared else [site[0]]
            old = {egraph.nodes(root)[0] for root in replaced}
            if time.monotonic() > deadline:
                return False
            if compiled.apply(egraph, [site], lambda: False):
                egraph.rebuild()
                chosen = self._chosen(replaced, old)
                cost = self.cost(chosen)
                if cost < found.cost * (1 - _GAIN):
                    found.cost = cost
                    found.applied.append(rule.name)
                    self._load(self.graph(chosen))
                    return True
            egraph.restore(self.saved)
        return False

    def _chosen(self, replaced: Sequence[int], old: set[Any]) -> dict[int, Any]:
        """For each rewritten class the e-node that takes the old one's place: the newest other one."""
        chosen = {}
        for root in map(self.egraph.find, replaced):
            others = [node for node in self.egraph.nodes(root) if node not in old]
            if others:
                chosen[root] = others[-1]
        return chosen

    def _order(self, chosen: dict[int, Any]) -> dict[int, Any] | None:
        """The e-node of each class that the roots need, operands first; None if there is a cycle."""
        egraph, find = self.egraph, self.egraph.find
        order: dict[int, Any] = {}
        open_: dict[int, Any] = {}  # classes whose operands are being visited, with their e-nodes
        todo = [find(root) for root in reversed(self.roots)]
        while todo:
            c = todo[-1]
            if c in open_:
                order[c] = open_.pop(c)
            if c in order:
                todo.pop()
                continue
            node = open_[c] = chosen[c] if c in chosen else egraph.nodes(c)[0]
            operands = [find(child) for child in node[1:]]
            if any(k in open_ for k in operands):
                return None
            todo += [k for k in reversed(operands) if k not in order]
        return order

    def cost(self, chosen: dict[int, Any]) -> float:
        """Price of the program in which some classes take other e-nodes; infinite if it has a cycle."""
        order = self._order(chosen)
        if order is None:
            return inf
        ops, attrs, data, price = self.egraph.ops, self.egraph.attrs, self.egraph.data, self.price
        return sum(price(ops[n[0]], attrs[n[0]], [data(k) for k in n[1:]], data(c)) for c, n in order.items())

    def graph(self, chosen: dict[int, Any]) -> TensorGraph:
        """The program in which some classes take other e-nodes."""
        graph, find, ops, attrs = TensorGraph(), self.egraph.find, self.egraph.ops, self.egraph.attrs
        made: dict[int, int] = {}
        for c, node in (self._order(chosen) or {}).items():
            made[c] = graph.add(ops[node[0]], [made[find(k)] for k in node[1:]], attrs[node[0]])
        graph.outputs = [made[find(root)] for root in self.roots]
        return graph
