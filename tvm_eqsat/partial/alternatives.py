"""Mutants as rewrite rules: for the expensive operators of a program, and for any that is like them.

Each rule stands for one mutant of one name, and is an ordinary rule: it composes with all others, every schedule of
saturation applies it, and reports tell it by its name, ``partial:`` and how the mutant is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from ..graph.operator import OPERATORS
from ..graph.tensor_graph import Node, TensorGraph
from ..graph.types import TensorType
from ..rules.analysis import Info, facts_of
from ..rules.dsl import Term, attributes, op, tensors
from ..rules.rule import Rule, RuleSet
from .manager import MutationManager
from .mutants import Price, holes

#: Operators whose mutants are looked for.
MULTILINEAR = ("conv2d", "conv2d_transpose", "matmul")
_CHEAPER = 0.95  # of an operator's price, what a mutant may cost at least to be worth a rule
_SHARE = 0.02  # of a program's price, from which an operator is worth the search

NodePrice = Callable[[str, tuple[Any, ...], Sequence[Info], Info], float]
_Key = tuple[Any, ...]


def lower_bound(price: NodePrice) -> Price:
    """The price of a program as the sum of its operators' prices, each convolution in its better layout.

    Parameters
    ----------
    price : callable
        Price of one operator: its name, attributes, facts of the operands and of the result.
    """

    def total(graph: TensorGraph) -> float:
        facts = facts_of(graph)
        return sum(_in_best_layout(graph.nodes[i], facts, i, price) for i in facts)

    return total


def _in_best_layout(node: Node, facts: dict[int, Info], i: int, price: NodePrice) -> float:
    cost = _price(node, facts, i, price)
    if node.op != "conv2d" or node.attrs[-3:-1] != ("NCHW", "OIHW"):
        return cost
    attrs = node.attrs._replace(data_layout="NHWC", kernel_layout="HWIO")  # type: ignore[attr-defined]
    x, w = (facts[c] for c in node.inputs)
    turned = [_turned(x, (0, 2, 3, 1)), _turned(w, (2, 3, 1, 0))]
    return min(cost, price(node.op, attrs, turned, _turned(facts[i], (0, 2, 3, 1))))


def _turned(fact: Info, axes: Sequence[int]) -> Info:
    return fact._replace(type=TensorType(tuple(fact.shape[k] for k in axes), fact.type.dtype))  # type: ignore[union-attr]


def _price(node: Node, facts: dict[int, Info], i: int, price: NodePrice) -> float:
    return price(node.op, node.attrs, [facts[c] for c in node.inputs], facts[i])


def partial_rules(
    graph: TensorGraph,
    manager: MutationManager,
    price: NodePrice,
    *,
    bound: Price | None = None,
    share: float = _SHARE,
    seconds: float = inf,
) -> tuple[RuleSet, bool]:
    """Rules that put the mutants of a program's operators beside them.

    Parameters
    ----------
    graph : TensorGraph
        The program.
    manager : MutationManager
        Finds mutants.
    price : callable
        Price of one operator, see :func:`lower_bound`.
    bound : callable, optional
        A lower bound of what a program costs. Mutants are left out then that aren't cheaper by it, unless they are
        free of strides or dilations that the operator has: they would only fill the e-graph.
    share : float
        Operators of one kind and type that cost less than this share of the program aren't looked at.
    seconds : float
        Time after which no other operator is looked at.

    Returns
    -------
    rules : RuleSet
        One for each name of a mutant and operator.
    complete : bool
        False if time ran out.
    """
    deadline = time.monotonic() + seconds
    facts = facts_of(graph)
    prices = {i: _price(graph.nodes[i], facts, i, price) for i in facts}
    costs: dict[_Key, float] = {}
    for i, cost in prices.items():
        node = graph.nodes[i]
        if node.op in MULTILINEAR and _fits(node, facts):
            key = _key(node.op, node.attrs, [facts[c] for c in node.inputs])
            costs[key] = costs.get(key, 0.0) + cost
    least = share * sum(prices.values())
    tables: dict[tuple[str, str], dict[_Key, TensorGraph]] = {}
    complete = True
    for key in sorted((k for k in costs if costs[k] >= least), key=lambda k: -costs[k]):
        if time.monotonic() > deadline:
            complete = False
            break
        program = _program(key)
        for mutant in manager.mutants(program):
            if bound and not _promising(program, mutant.graph, bound):
                continue
            tables.setdefault((key[0], mutant.name), {})[key] = mutant.graph
    named = sorted(tables.items(), key=lambda item: item[0])
    return RuleSet(_rule(*of, table) for of, table in named), complete


def _promising(program: TensorGraph, mutant: TensorGraph, bound: Price) -> bool:
    return holes(mutant) < holes(program) or bound(mutant) < _CHEAPER * bound(program)


def _fits(node: Node, facts: dict[int, Info]) -> bool:
    """Whether an operator has two different operands of static shape, and isn't known before the first run."""
    x, w = node.inputs
    types = [facts[i].type for i in (x, w)]
    return x != w and not facts[x].const and all(isinstance(t, TensorType) and t.static for t in types)


def _key(operator: str, attrs: tuple[Any, ...], operands: Sequence[Info]) -> _Key:
    """What decides which mutants an operator has."""
    return (operator, attrs, *((fact.type, fact.const > 0) for fact in operands))


def _program(key: _Key) -> TensorGraph:
    """An operator by itself."""
    operator, attrs, *operands = key
    graph = TensorGraph()
    record = OPERATORS["input"]
    leaves = [
        graph.add("input", (), record.make_attrs(index=i, type=type_, weight=weight))
        for i, (type_, weight) in enumerate(operands)
    ]
    graph.outputs = [graph.add(operator, leaves, attrs)]
    return graph


def _rule(operator: str, name: str, table: dict[_Key, TensorGraph]) -> Rule:
    """The rule for mutants of one name, of one operator at several types."""
    x, w = tensors("x w")
    a = attributes("a")

    def graph_of(x: Term, w: Term, a: Any) -> TensorGraph | None:
        return table.get(_key(operator, a, (x.info, w.info)))

    def rhs(x: Term, w: Term, a: Any) -> Term | None:
        graph = graph_of(x, w, a)
        return None if graph is None else _instance(graph, (x, w))

    return Rule(
        name=f"partial:{name}" if operator == "conv2d" else f"partial:{operator}-{name}",
        law=f"{operator}(x, w) = its mutant {name}",
        lhs=getattr(op, operator)(x, w, attrs=a),
        rhs=rhs,
        when=lambda x, w, a: graph_of(x, w, a) is not None,
        reassociates=True,
        source="PET (OSDI 2021)",
    )


def _instance(graph: TensorGraph, operands: Sequence[Term]) -> Term:
    """A mutant's result, for these operands."""
    made: dict[int, Term] = {}
    builder = operands[0].builder
    for i in graph.live():
        node = graph.nodes[i]
        if node.op == "input":
            made[i] = operands[node.attrs[0]]
        else:
            made[i] = builder.add(node.op, node.attrs, [made[c] for c in node.inputs])
    (output,) = graph.outputs
    return made[output]
