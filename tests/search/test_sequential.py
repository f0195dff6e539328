"""Greedy sequential rewriting, the baseline without an e-graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.graphs import apply, tensor
from tvm_eqsat.graph.tensor_graph import Constant, TensorGraph
from tvm_eqsat.rules import ALL, Rule, op, tensors
from tvm_eqsat.search.sequential import rewrite_sequentially
from tvm_eqsat.verify.field import evaluate

x, y = tensors("x y")
WEIGHTS = {"relu": 1.0, "tanh": 3.0, "exp": 1.0, "matmul": 5.0}


def _price(name: str, attrs: Any, ins: Any, out: Any) -> float:
    return 0.0 if out.const else WEIGHTS.get(name, 0.1 if ins else 0.0)


def _ops(graph: TensorGraph) -> list[str]:
    return [graph.nodes[i].op for i in graph.live()]


def test_it_keeps_what_helps_and_forgets_the_rest() -> None:
    graph = TensorGraph()
    a = tensor(graph, 2, 3)
    graph.outputs = [apply(graph, "relu", apply(graph, "relu", apply(graph, "relu", a)))]
    found = rewrite_sequentially(graph, ALL.only("relu-twice", "add-commute"), _price)
    assert (_ops(found.graph), set(found.applied), found.cost) == (["input", "relu"], {"relu-twice"}, 1.0)
    assert found.complete


def test_it_merges_all_members_of_a_k_way_rule_at_once() -> None:
    graph, rng = TensorGraph(), np.random.default_rng(0)
    a = tensor(graph, 2, 3)
    for columns in (2, 4, 3):
        weight = apply(graph, "constant", value=Constant(rng.standard_normal((3, columns))))
        graph.outputs.append(apply(graph, "matmul", a, weight))
    found = rewrite_sequentially(graph, ALL, _price)
    assert _ops(found.graph).count("matmul") == 1
    assert "matmul-share-input" in found.applied
    value = {0: rng.standard_normal((2, 3))}
    for mine, theirs in zip(evaluate(found.graph, value), evaluate(graph, value), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


def test_it_misses_what_pays_only_after_a_step_that_costs() -> None:
    """relu = tanh(exp) costs more; exp(tanh(exp(x))) = x would have paid. An e-graph finds it."""
    worse = Rule(name="worse", law="", lhs=op.relu(x), rhs=op.tanh(op.exp(x)))
    pays = Rule(name="pays", law="", lhs=op.exp(op.tanh(op.exp(x))), rhs=x)
    graph = TensorGraph()
    graph.outputs = [apply(graph, "exp", apply(graph, "relu", tensor(graph, 2)))]
    found = rewrite_sequentially(graph, [worse, pays], _price)
    assert (found.applied, _ops(found.graph)) == ([], ["input", "relu", "exp"])


def test_a_rewrite_that_needs_itself_is_no_program() -> None:
    """x = relu(x) would be free if the relu could be its own operand."""
    loop = Rule(name="loop", law="", lhs=op.tanh(x), rhs=op.relu(op.tanh(x)))
    graph = TensorGraph()
    graph.outputs = [apply(graph, "tanh", tensor(graph, 2))]
    found = rewrite_sequentially(graph, [loop], _price)
    assert (found.applied, _ops(found.graph)) == ([], ["input", "tanh"])


def test_it_stops_in_time() -> None:
    graph = TensorGraph()
    graph.outputs = [apply(graph, "relu", apply(graph, "relu", tensor(graph, 2)))]
    found = rewrite_sequentially(graph, ALL, _price, seconds=0.0)
    assert not found.complete
    assert _ops(found.graph) == ["input", "relu", "relu"] or found.applied
