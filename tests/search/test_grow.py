"""New starts from the best program where the node limit ends saturation."""

from __future__ import annotations

from typing import Any

from tests.graphs import apply, tensor
from tvm_eqsat.egraph.frozen import FrozenEGraph
from tvm_eqsat.extract import extract
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.rules import Rule, RuleSet, op, tensors
from tvm_eqsat.search.grow import Grown, Program, grow
from tvm_eqsat.search.program import unload
from tvm_eqsat.search.saturate import Limits

x, y = tensors("x y")
#: Each step makes a chain of ten cheaper by one operator, and an e-graph of 20 e-nodes holds only a few steps.
SHORTER = Rule(name="shorter", law="", lhs=op.exp(op.exp(x)), rhs=op.exp(x))
USELESS = Rule(name="useless", law="", lhs=op.exp(x), rhs=op.exp(op.relu(op.abs(x))))
RULES = RuleSet([USELESS, SHORTER])
LIMITS = Limits(nodes=20, iterations=10)
SEED = 1  # of six, one draws the useless rule first every time


def _chain(length: int) -> TensorGraph:
    graph = TensorGraph()
    i = tensor(graph, 2)
    graph.names[i] = "x"
    for _ in range(length):
        i = apply(graph, "exp", i)
    graph.names[i] = "y"
    graph.outputs = [i]
    return graph


def _best(grown: Grown) -> Program:
    frozen: FrozenEGraph = grown.egraph.freeze(grown.roots)
    found = extract(frozen, "greedy_dag")
    places: dict[int, int] = {}
    graph = unload(frozen, found.choice, None, places)
    reasons: dict[int, Any] = {}
    for c, node in found.choice.items():
        if reason := grown.egraph.reason(frozen.node_key[node]):
            reasons[places[c]] = reason
    return Program(graph, found.cost, reasons)


def test_restarts_go_beyond_the_node_limit() -> None:
    once = grow(_chain(10), RULES, LIMITS, _best)
    again = grow(_chain(10), RULES, LIMITS, _best, restarts=10, seed=SEED)
    assert [run.stop_reason for run in once.runs] == ["node limit"]
    assert all(run.iterations[-1].nodes <= 25 for run in again.runs)
    assert _best(again).cost < _best(once).cost
    assert again.start.cost >= _best(again).cost


def test_restarts_end_when_nothing_gets_cheaper() -> None:
    only = RuleSet([USELESS])
    grown = grow(_chain(10), only, LIMITS, _best, restarts=10)
    assert len(grown.runs) == 9  # the first program has no cost to compare with; then eight in vain


def test_a_saturated_e_graph_is_not_started_again() -> None:
    grown = grow(_chain(3), RuleSet([SHORTER]), LIMITS, _best, restarts=10)
    assert [run.stop_reason for run in grown.runs] == ["saturated"]
    assert grown.start.graph.names[grown.start.graph.outputs[0]] == "y"


def test_it_remembers_which_rule_made_a_node() -> None:
    grown = grow(_chain(10), RULES, LIMITS, _best, restarts=10)
    assert len(grown.runs) > 1
    assert set(_best(grown).reasons.values()) <= {"shorter", "useless"}
    kept = {grown.egraph.reason(grown.egraph.nodes(grown.class_of[i])[0]) for i in grown.start.reasons}
    assert kept <= {"shorter", "useless"} and "" not in kept
