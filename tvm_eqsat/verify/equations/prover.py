"""Proofs: both sides in one e-graph, and rules applied until they are in one class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...graph.fold import fold_constants
from ...graph.ops import OPERATORS
from ...graph.tensor_graph import TensorGraph
from ...rules import ALGEBRA, ALL, RuleSet
from ...search.program import load
from ...search.saturate import Limits, saturate

#: Rules of the pass that, with the laws that multiply out, lead to the same form from both sides of an equation.
TOWARDS_ONE_FORM = (
    "add-commute", "multiply-commute", "add-constants", "multiply-constants", "scale-bias", "multiply-one",
    "relu-twice", "max-pool-of-relu", "matmul-associate-right", "matmul-transpose", "matmul-of-concat",
    "conv-of-concat", "permute-permute", "permute-same", "permute-past-add", "permute-past-multiply",
    "permute-past-relu", "permute-past-tanh", "permute-past-sigmoid", "permute-of-concat", "relu-of-concat",
    "tanh-of-concat", "sigmoid-of-concat", "max_pool2d-of-concat", "avg_pool2d-of-concat", "slice-of-concat",
    "slice-past-concat", "slice-of-slice", "slice-all", "reshape-same", "reshape-reshape",
)  # fmt: skip


_LARGEST_CONSTANT = 1 << 20  # bytes


@dataclass(frozen=True)
class Proof:
    """How two terms came to be in one e-class.

    Attributes
    ----------
    rules : tuple of str
        Names of the rules that changed the e-graph on the way, in the order in which they first did. Not all of them
        need be steps of the proof.
    """

    rules: tuple[str, ...]


def prove(graph: TensorGraph) -> Proof | None:
    """Prove that the two outputs of a graph are equal; None if the rules don't within the limits.

    First only rules that lead towards one form, which takes milliseconds; then every rule, wherever its law holds.
    """
    graph = _folded(graph)
    egraph, class_of = load(graph)
    lhs, rhs = (class_of[i] for i in graph.outputs)
    used: dict[str, None] = {}
    for rules, limits in _attempts():
        if egraph.find(lhs) == egraph.find(rhs):
            break
        run = saturate(egraph, rules, limits, everywhere=True)
        for iteration in run.iterations:
            used.update(dict.fromkeys(iteration.applied))
    return Proof(tuple(used)) if egraph.find(lhs) == egraph.find(rhs) else None


def _folded(graph: TensorGraph) -> TensorGraph:
    """The same graph with what constants alone decide computed."""
    values = fold_constants(graph, _LARGEST_CONSTANT).items()
    folded = TensorGraph()
    constants = {i: folded.add("constant", (), OPERATORS["constant"].make_attrs(value=value)) for i, value in values}
    place = folded.include(graph, constants)
    folded.outputs = [place[i] for i in graph.outputs]
    return folded


def _attempts() -> Iterator[tuple[RuleSet, Limits]]:
    """Rules and limits, from cheap to dear; the number of nodes limits a run, so that every run is the same."""
    towards = ALGEBRA + ALL.only(*TOWARDS_ONE_FORM)
    yield towards, Limits(nodes=1_000, iterations=3)
    yield towards, Limits(nodes=3_000, iterations=4)
    yield towards, Limits(nodes=6_000, iterations=6)
    yield ALGEBRA + ALL, Limits(nodes=10_000, iterations=4)
