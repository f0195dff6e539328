"""Mutants as rewrite rules: for the expensive operators of a program, several of them together, and any like them.

Each rule stands for one mutant of one name, and is an ordinary rule: it composes with all others, every schedule of
saturation applies it, and reports tell it by its name, ``partial:`` and how the mutant is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter, Signature
from itertools import count
from math import inf
from typing import Any

from ..egraph.pattern import AttrVar, Pat, Var
from ..errors import IllTyped
from ..graph.tensor_graph import Node, TensorGraph
from ..graph.types import TensorType
from ..rules.analysis import Info, facts_of
from ..rules.dsl import Term
from ..rules.rule import Rule, RuleSet, variables
from .chains import alone, sites
from .draft import part_of
from .manager import MutationManager
from .mutants import Price, holes, identity
from .subprograms import chains, operators

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
    which: Callable[[TensorGraph], bool] | None = None,
    share: float = _SHARE,
    seconds: float = inf,
) -> tuple[RuleSet, bool]:
    """Rules that put the mutants of a program's operators beside them.

    Several operators together are looked at where two of them have mutants each.

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
    which : callable, optional
        Whether a subprogram is looked at; by default all are.
    share : float
        Subprograms of one kind and type that cost less than this share of the program aren't looked at.
    seconds : float
        Time after which no other subprogram is looked at.

    Returns
    -------
    rules : RuleSet
        One for each name of a mutant and kind of subprogram.
    complete : bool
        False if time ran out.
    """
    deadline = time.monotonic() + seconds
    facts = facts_of(graph)
    prices = {i: _price(graph.nodes[i], facts, i, price) for i in facts}
    least = share * sum(prices.values())
    tables: dict[tuple[str, Pat], dict[_Key, TensorGraph]] = {}
    worthwhile = set[object]()  # operators that have mutants
    for find in (operators, chains):
        for program in _costly(graph, facts, prices, find(graph, facts), least):
            if which and not which(program):
                continue
            if find is chains and sum(identity(alone(program, i)) in worthwhile for i in sites(program)) < 2:
                continue
            if time.monotonic() > deadline:
                return _rules(tables), False
            for mutant in manager.mutants(program):
                if bound and not _promising(program, mutant.graph, bound):
                    continue
                if mutant.recipe.kind == "chain" and () in mutant.recipe.params:
                    continue  # an operator stays as it is: rules for the others do the same
                worthwhile.add(identity(program))
                table = tables.setdefault((mutant.name, _pattern(program)), {})
                table[_key(program)] = mutant.graph
    return _rules(tables), True


def _costly(
    graph: TensorGraph,
    facts: dict[int, Info],
    prices: dict[int, float],
    parts: Iterable[tuple[int, ...]],
    least: float,
) -> list[TensorGraph]:
    """Parts as programs, each once, that together cost as much as asked for; the dearest first."""
    programs: dict[object, TensorGraph] = {}
    costs: dict[object, float] = {}
    for nodes in parts:
        try:
            program = part_of(graph, nodes, lambda c: facts[c].const > 0)
        except IllTyped:  # not of static shapes
            continue
        key = identity(program)
        programs[key] = program
        costs[key] = costs.get(key, 0.0) + sum(prices[i] for i in nodes)
    return [programs[key] for key in sorted(costs, key=lambda key: -costs[key]) if costs[key] >= least]


def _promising(program: TensorGraph, mutant: TensorGraph, bound: Price) -> bool:
    return holes(mutant) < holes(program) or bound(mutant) < _CHEAPER * bound(program)


def _pattern(program: TensorGraph) -> Pat:
    """What a subprogram looks like; variables are named by its inputs, and by its operators in their order."""
    made: dict[int, Any] = {}
    for i in program.live():
        node = program.nodes[i]
        if node.op == "input":
            made[i] = Var(f"x{node.attrs[0]}")
        else:
            made[i] = Pat(node.op, tuple(made[c] for c in node.inputs), AttrVar(f"a{i}"))
    return made[program.outputs[0]]


def _key(program: TensorGraph) -> _Key:
    """What decides, of programs that look alike, which mutants they have: inputs by number, then operators."""
    nodes = [program.nodes[i] for i in program.live()]
    return (*(n.attrs[1:] for n in nodes if n.op == "input"), *(n.attrs for n in nodes if n.op != "input"))


def _rules(tables: Mapping[tuple[str, Pat], dict[_Key, TensorGraph]]) -> RuleSet:
    """One rule for each name of a mutant and each pattern."""
    rules: dict[str, Rule] = {}
    for (name, pattern), table in sorted(tables.items(), key=lambda item: (item[0][0], repr(item[0][1]))):
        one = pattern.op if all(isinstance(child, Var) for child in pattern.children) else "chain"
        title = f"partial:{name}" if one in ("conv2d", "chain") else f"partial:{one}-{name}"
        unique = next(t for n in count(1) if (t := title if n == 1 else f"{title}-{n}") not in rules)
        rules[unique] = _rule(unique, name, pattern, table)
    return RuleSet(rules.values())


def _rule(title: str, name: str, pattern: Pat, table: dict[_Key, TensorGraph]) -> Rule:
    """The rule for mutants of one name, of one subprogram at several types."""
    names = sorted(set(variables(pattern)), key=lambda n: (n[0] == "a", int(n[1:])))
    leaves = [n for n in names if n[0] == "x"]
    signature = Signature([Parameter(n, Parameter.POSITIONAL_OR_KEYWORD) for n in names])

    def graph_of(*values: Any) -> TensorGraph | None:
        terms, attrs = values[: len(leaves)], values[len(leaves) :]
        return table.get((*((term.type, term.const) for term in terms), *attrs))

    def rhs(*values: Any) -> Term | None:
        graph = graph_of(*values)
        return None if graph is None else _instance(graph, values[: len(leaves)])

    def when(*values: Any) -> bool:
        return graph_of(*values) is not None

    rhs.__signature__ = when.__signature__ = signature  # type: ignore[attr-defined]
    return Rule(
        name=title,
        law=f"{_text(pattern)} = its mutant {name}",
        lhs=pattern,
        rhs=rhs,
        when=when,
        reassociates=True,
        source="PET (OSDI 2021)",
    )


def _text(pattern: Any) -> str:
    return f"{pattern.op}({', '.join(map(_text, pattern.children))})" if isinstance(pattern, Pat) else str(pattern.name)


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
