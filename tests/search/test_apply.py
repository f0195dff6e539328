"""A right side runs once for all sites that look alike, unless it sees more of a site than that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.graphs import apply, tensor
from tvm_eqsat.egraph.egraph import EGraph
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.rules import Rule, op, tensors
from tvm_eqsat.rules.dsl import Term, rest
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


def test_what_becomes_known_after_the_search_is_not_believed_of_others() -> None:
    egraph, (_, b, _, _, first, second) = _two_sites()
    zero = egraph.add(egraph.sym("full", op.full.record.make_attrs(value=0.0, shape=(2, 3), dtype="float64")))
    for name in ("abs", "exp", "tanh"):
        egraph.add(egraph.sym(name), [zero])  # of two classes, that with more users keeps its id
    rule = _rule(lambda x, y: op.relu(x) if y.fill == 0 else None)
    sites = rule.search(egraph, 100)
    egraph.union(b, zero)
    assert egraph.find(b) == zero
    assert rule.apply(egraph, sites, lambda: False) == 1
    egraph.rebuild()
    assert len(egraph.nodes(first)) == 2 and len(egraph.nodes(second)) == 1


def test_a_search_for_more_sites_than_enough_is_given_up() -> None:
    graph = TensorGraph()
    graph.outputs = [apply(graph, "relu", apply(graph, "subtract", *[tensor(graph, 2)] * 2)) for _ in range(2000)]
    egraph, _ = load(graph)
    rule = _rule(lambda x, y: None)
    sites = rule.search(egraph, 5000)
    assert len(sites) == 2000 and rule.complete
    for enough, most, found, complete in (
        (1999, 5000, 2000, False),
        (2000, 5000, 2000, True),
        (1000, 5000, 1001, False),
        (1000, 900, 900, False),
    ):
        assert rule.search(egraph, most, enough=enough) == sites[:found]
        assert rule.complete == complete
    assert rule.search(egraph, 5000, done=set(sites[:1500]), enough=600) == sites[1500:] and rule.complete


def test_members_of_a_group_keep_what_they_do_not_share_apart() -> None:
    """Operands of a variadic operator stay together, and each member gets its own slice of the result."""
    parts = rest("p")
    found: list[tuple[tuple[int, ...], list[int]]] = []

    def rhs(x: Term, p: tuple[tuple[Term, ...], ...]) -> list[Term]:
        found.append((x.shape, [len(own) for own in p]))
        return [op.relu(op.concat(*own, x, axis=0)) for own in p]

    law = Rule(name="test", law="", lhs=op.concat(X, parts, axis=0), rhs=rhs, shared=(X,), shapes=("x:ab",))
    graph = TensorGraph()
    x, y, z = (tensor(graph, 2, 3) for _ in range(3))
    attrs = op.concat.record.make_attrs(axis=0)
    graph.outputs = [graph.add("concat", operands, attrs) for operands in ([x, y], [x, y, z], [y, x])]
    egraph, class_of = load(graph)
    rule = CompiledRule(law, everywhere=True)
    (site,) = rule.search(egraph, 100)
    assert [match[0] for match in site] == [class_of[i] for i in graph.outputs[:2]]
    for _ in range(2):  # the second time without the right side
        rule.apply(egraph, [site], lambda: False)
    assert found == [((2, 3), [1, 2])]
    for own, root in (([y], graph.outputs[0]), ([y, z], graph.outputs[1])):
        operands = [class_of[i] for i in (*own, x)]
        made = egraph.lookup(egraph.sym("relu"), [egraph.lookup(egraph.sym("concat", attrs), operands)])
        assert made >= 0 and egraph.find(made) == egraph.find(class_of[root])
