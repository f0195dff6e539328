"""Monte Carlo tree search over regions and rules."""

from __future__ import annotations

import os
import random
import signal
from typing import Any

import numpy as np
import pytest

from tests.graphs import apply, tensor
from tvm_eqsat import EqSatOptions
from tvm_eqsat.errors import OptionError
from tvm_eqsat.extract import extract
from tvm_eqsat.graph.tensor_graph import Constant, TensorGraph
from tvm_eqsat.rewards import bundle_cost
from tvm_eqsat.rules import Rule, RuleSet, attributes, op, tensors
from tvm_eqsat.search.grow import Grown, Program, grow
from tvm_eqsat.search.mcts import Budget, Judge, grow_by_mcts
from tvm_eqsat.search.mcts.paper import SIMULATIONS, grow_as_published
from tvm_eqsat.search.mcts.sharing import sharing_aware_cost
from tvm_eqsat.search.mcts.window import Outline
from tvm_eqsat.search.program import unload
from tvm_eqsat.search.saturate import Limits
from tvm_eqsat.search.sequential import rewrite_sequentially
from tvm_eqsat.verify.field import evaluate

x, y, z = tensors("x y z")
k = attributes("k")
#: Concatenate later, associate, merge: the first steps cost, the last one saves an exponential.
SPLIT = Rule(
    name="split",
    law="relu(concat(x, y)) = concat(relu(x), relu(y))",
    lhs=op.relu(op.concat(x, y, axis=k)),
    rhs=lambda x, y, k: op.concat(op.relu(x), op.relu(y), axis=k),
)
POSITIVE = Rule(name="positive", law="relu(exp(x)) = exp(x)", lhs=op.relu(op.exp(x)), rhs=op.exp(x))
ASSOCIATE = Rule(
    name="associate",
    law="concat(x, concat(y, z)) = concat(concat(x, y), z)",
    lhs=op.concat(x, op.concat(y, z, axis=k), axis=k),
    rhs=lambda x, y, z, k: op.concat(op.concat(x, y, axis=k), z, axis=k),
)
MERGE = Rule(
    name="merge",
    law="concat(exp(x), exp(y)) = exp(concat(x, y))",
    lhs=op.concat(op.exp(x), op.exp(y), axis=k),
    rhs=lambda x, y, k: op.exp(op.concat(x, y, axis=k)),
)
USELESS = Rule(name="useless", law="", lhs=op.tanh(x), rhs=op.tanh(op.add(op.subtract(x, x), x)))
RULES = RuleSet([USELESS, SPLIT, POSITIVE, ASSOCIATE, MERGE])
LIMITS = Limits(nodes=100, iterations=10)


def _price(name: str, attrs: Any, ins: Any, out: Any) -> float:
    if name == "concat":
        return 1e-3 * float(out.type.numel())
    return {"exp": 10.0, "relu": 2.0, "input": 0.0}.get(name, 0.1)


def _deceptive(distractors: int = 60) -> TensorGraph:
    """concat(exp(a), relu(concat(exp(b), c))), and beside it a chain that a useless rule makes an e-graph of."""
    graph = TensorGraph()
    a, b, c = tensor(graph, 4, 50), tensor(graph, 4, 50), tensor(graph, 4, 1)
    inner = apply(graph, "concat", apply(graph, "exp", b), c, axis=1)
    graph.outputs = [apply(graph, "concat", apply(graph, "exp", a), apply(graph, "relu", inner), axis=1)]
    i = a
    for _ in range(distractors):
        i = apply(graph, "tanh", i)
    graph.outputs.append(i)
    return graph


def _frozen(grown: Grown) -> Any:
    egraph = grown.egraph
    frozen = egraph.freeze(grown.roots)
    data = [egraph.data(c) for c in frozen.class_key]
    nodes = zip(frozen.node_op, frozen.node_attrs, frozen.node_children, frozen.node_class, strict=True)
    return frozen.with_costs([_price(o, a, [data[i] for i in kids], data[c]) for o, a, kids, c in nodes])


def _best(grown: Grown) -> Program:
    frozen = _frozen(grown)
    found = extract(frozen, "local")
    places: dict[int, int] = {}
    graph = unload(frozen, found.choice, None, places)
    reasons = {places[c]: grown.egraph.reason(frozen.node_key[node]) for c, node in found.choice.items()}
    return Program(graph, found.cost, {i: reason for i, reason in reasons.items() if reason})


JUDGE = Judge(_price, _best, lambda grown: bundle_cost(_frozen(grown)))


def _search(graph: TensorGraph, budget: Budget | None = None, judge: Judge = JUDGE, seed: int = 0) -> Grown:
    return grow_by_mcts(graph, RULES, LIMITS, judge, budget or Budget(20), seed=seed)


def _exponentials(program: Program) -> int:
    return sum(program.graph.nodes[i].op == "exp" for i in program.graph.live())


def test_it_finds_what_pays_only_after_steps_that_cost() -> None:
    graph = _deceptive()
    sequential = rewrite_sequentially(graph, RULES, _price)
    backoff = _best(grow(graph, RULES, LIMITS, _best))
    found = _search(graph)
    assert _exponentials(Program(sequential.graph)) == _exponentials(backoff) == 2
    assert _exponentials(_best(found)) == _exponentials(found.start) == 1
    assert _best(found).cost < min(sequential.cost, backoff.cost) - 5
    assert found.egraph.num_nodes < LIMITS.nodes + 10
    assert {"split", "associate", "merge"} & set(found.start.reasons.values())


def test_its_program_computes_the_same() -> None:
    graph, rng = _deceptive(), np.random.default_rng(0)
    found = _search(graph).start.graph
    values = {i: rng.standard_normal(graph.nodes[i].type.shape) for i in range(3)}
    for mine, theirs in zip(evaluate(found, values), evaluate(graph, values), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


def test_a_seed_decides() -> None:
    first, second = (_search(_deceptive(), Budget(6), seed=1) for _ in range(2))
    assert first.start.graph.nodes == second.start.graph.nodes
    assert first.egraph.classes() == second.egraph.classes()


def test_without_simulations_it_is_back_off() -> None:
    graph = _deceptive()
    assert _best(_search(graph, Budget(0))).cost == _best(grow(graph, RULES, LIMITS, _best)).cost
    assert _best(_search(graph, Budget(20, seconds=0.0))).cost == _best(grow(graph, RULES, LIMITS, _best)).cost


def test_a_saturated_e_graph_needs_no_search() -> None:
    found = _search(_deceptive(distractors=0))
    assert [run.stop_reason for run in found.runs] == ["saturated"]
    assert _exponentials(_best(found)) == 1


def test_ctrl_c_keeps_the_best_program() -> None:
    asked = 0

    def reward(grown: Grown) -> float:
        nonlocal asked
        asked += 1
        cost = bundle_cost(_frozen(grown))
        if cost < 20 and _exponentials(grown.start) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return cost

    found = _search(_deceptive(), Budget(10_000), Judge(_price, _best, reward))
    assert _exponentials(_best(found)) == 1
    assert asked < 100


@pytest.mark.parametrize("seed", range(8))
def test_a_window_can_be_put_back(seed: int) -> None:
    rng = random.Random(seed)
    graph = _deceptive(distractors=4)
    outline = Outline(Program(graph, reasons={5: "somebody"}), _price)
    window = outline.window(rng.sample(outline.order, 3))
    again, place = outline.replace(window, window.program)
    values = {i: np.random.default_rng(i).standard_normal(graph.nodes[i].type.shape) for i in range(3)}
    for mine, theirs in zip(evaluate(again.graph, values), evaluate(graph, values), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert "somebody" in again.reasons.values()
    assert set(window.inputs) <= set(place)
    assert Outline(again, _price).program.cost == pytest.approx(outline.program.cost)


def test_windows_that_are_alike_but_for_weights_are_one() -> None:
    graph, rng = TensorGraph(), np.random.default_rng(0)
    i = tensor(graph, 4, 4)
    for _ in range(2):
        weight = apply(graph, "constant", value=Constant(rng.standard_normal((4, 4))))
        i = apply(graph, "relu", apply(graph, "matmul", i, weight))
    graph.outputs = [i]
    outline = Outline(Program(graph), _price)
    first, second = outline.window(outline.order[:2]), outline.window(outline.order[2:])
    assert first.fingerprint == second.fingerprint
    assert first.nodes.isdisjoint(second.nodes)


def test_the_published_search_respects_the_node_limit_and_gains() -> None:
    judge = Judge(_price, _best, lambda grown: sharing_aware_cost(_frozen(grown)))
    grown = grow_as_published(_deceptive(distractors=1), RULES, 60, judge, Budget(5 * SIMULATIONS), seed=0)
    assert grown.egraph.num_nodes <= 70
    assert _exponentials(_best(grown)) == 1


def test_the_published_search_tries_a_rule_whose_guard_refuses_the_first_match() -> None:
    graph = TensorGraph()
    graph.outputs = [apply(graph, "tanh", tensor(graph, 4, n)) for n in (1, 50)]
    wide = Rule(name="wide", law="", lhs=op.tanh(x), rhs=op.abs(x), when=lambda x: x.type.shape[1] == 50)
    judge = Judge(lambda name, *rest: float(name == "tanh"), lambda grown: Program(graph, 2.0), lambda grown: 2.0)
    grown = grow_as_published(graph, RuleSet([wide]), 60, judge, Budget(5), seed=0)
    assert len(grown.egraph.nodes(grown.roots[1])) == 2 > len(grown.egraph.nodes(grown.roots[0]))


def test_options_name_the_schedules() -> None:
    assert EqSatOptions(schedule="mcts", reward="sharing").schedule == "mcts"
    with pytest.raises(OptionError, match=r"schedule='greedy'.*backoff, mcts"):
        EqSatOptions(schedule="greedy")


def test_it_tells_how_it_stands() -> None:
    told: list[tuple[int, float]] = []
    found = _search(_deceptive(), Budget(6, progress=lambda done, cost: told.append((done, cost))))
    assert [done for done, _ in told if done] == [1, 2, 3, 4, 5, 6]
    costs = [cost for done, cost in told if done]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == pytest.approx(_best(found).cost)
    assert told[0][0] == 0
    assert told[0][1] == pytest.approx(_best(grow(_deceptive(), RULES, LIMITS, _best)).cost)


def test_it_is_as_patient_as_it_had_success() -> None:
    told: list[tuple[int, float]] = []
    _search(_deceptive(distractors=200), Budget(10_000, progress=lambda done, cost: told.append((done, cost))))
    costs = {done: cost for done, cost in told if done}
    last = max(done for done, cost in costs.items() if cost < costs.get(done - 1, told[0][1]))
    assert max(costs) <= last + max(16, min(last, 40))
