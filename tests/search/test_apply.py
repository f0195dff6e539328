"""A right side runs once for all sites that look alike, unless it sees more of a site than that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.graphs import apply, tensor
from tvm_eqsat.egraph.egraph import EGraph
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.rules import Rule, op, tensors
from tvm_eqsat.rules.dsl import Term
from tvm_eqsat.search.apply import CompiledRule
from tvm_eqsat.search.program import load

X, Y = tensors("x y")


def _rule(rhs: Callable[..., Any]) -> CompiledRule:
    lhs = op.relu(op.subtract(X, Y))
    return CompiledRule(Rule(name="test", law="", lhs=lhs, rhs=rhs, shapes=("x:ab y:ab",)), everywhere=True)


def _two_sites() -> tuple[EGraph, list[int]]:
    """relu(a - b) and relu(c - d), all of one type; classes of a, b, c, d and of the two results."""
    graph = TensorGraph()
    inputs = [tensor(graph, 2, 3) for _ in range(4)]
    graph.outputs = [apply(graph, "relu", apply(graph, "subtract", *pair)) for pair in (inputs[:2], inputs[2:])]
    egraph, class_of = load(graph)
    return egraph, [class_of[i] for i in (*inputs, *graph.outputs)]


def _rewrite(egraph: EGraph, rule: CompiledRule) -> int:
    changed = rule.apply(egraph, rule.search(egraph, 100), lambda: False)
    egraph.rebuild()
    return changed


def _class_of(egraph: EGraph, name: str, *operands: int) -> int:
    return egraph.lookup(egraph.sym(name), operands)


def test_the_second_site_is_rewritten_without_running_the_right_side() -> None:
    runs = []

    def rhs(x: Term, y: Term) -> Term:
        runs.append(x)
        return op.negative(op.minimum(op.subtract(y, x), op.subtract(y, x)))

    egraph, (a, b, c, d, first, second) = _two_sites()
    assert _rewrite(egraph, _rule(rhs)) == 2 and len(runs) == 1
    for x, y, root in ((a, b, first), (c, d, second)):
        difference = _class_of(egraph, "subtract", y, x)
        made = _class_of(egraph, "negative", _class_of(egraph, "minimum", difference, difference))
        assert made >= 0 and egraph.find(made) == egraph.find(root)


def test_sites_that_look_different_are_told_apart() -> None:
    graph = TensorGraph()
    pairs = [[tensor(graph, *shape) for _ in range(2)] for shape in ((2, 3), (4, 5))]
    graph.outputs = [apply(graph, "relu", apply(graph, "subtract", *pair)) for pair in pairs]
    egraph, class_of = load(graph)
    assert _rewrite(egraph, _rule(lambda x, y: op.abs(x) if x.shape[0] == 4 else None)) == 1
    assert _class_of(egraph, "abs", class_of[pairs[0][0]]) < 0


def test_a_right_side_that_looks_at_the_class_runs_everywhere() -> None:
    egraph, (_, _, c, _, first, second) = _two_sites()
    wanted = c
    assert _rewrite(egraph, _rule(lambda x, y: op.abs(x) if x.cls == wanted else None)) == 1
    made = _class_of(egraph, "abs", c)
    assert egraph.find(made) == egraph.find(second) != egraph.find(first)


def test_a_right_side_that_looks_into_the_egraph_runs_everywhere() -> None:
    egraph, (_, b, _, d, first, second) = _two_sites()
    egraph.union(d, egraph.add(egraph.sym("abs"), [b]))
    egraph.rebuild()

    def rhs(x: Term, y: Term) -> Term | None:
        nodes = y.builder.egraph.nodes(y.cls)
        return op.negative(x) if any(y.builder.egraph.ops[n[0]] == "abs" for n in nodes) else None

    assert _rewrite(egraph, _rule(rhs)) == 1
    assert egraph.find(first) != egraph.find(second)


def test_what_is_known_of_one_sites_result_is_not_believed_of_others() -> None:
    egraph, (a, b, _, _, first, second) = _two_sites()
    zero = egraph.add(egraph.sym("full", op.full.record.make_attrs(value=0.0, shape=(2, 3), dtype="float64")))
    total = egraph.add(egraph.sym("add"), [a, b])
    egraph.union(total, zero)  # a + b is known to be 0; of c + d nothing is
    egraph.rebuild()

    def rhs(x: Term, y: Term) -> Term | None:
        found = op.add(x, y)
        return found if found.fill == 0 else None

    assert _rewrite(egraph, _rule(rhs)) == 1
    assert egraph.find(first) == egraph.find(zero) != egraph.find(second)
