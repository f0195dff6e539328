"""States and regions of the Monte Carlo tree search: room in full e-graphs, one state by several ways, reuse."""

from __future__ import annotations

import random

import pytest

from tests.graphs import apply, tensor
from tests.search.test_mcts import ASSOCIATE, JUDGE, MERGE, POSITIVE, RULES, SPLIT, USELESS, _best, _deceptive, _price
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.rules import RuleSet
from tvm_eqsat.search.grow import Program
from tvm_eqsat.search.mcts import Usefulness
from tvm_eqsat.search.mcts.frontier import Frontier
from tvm_eqsat.search.mcts.region import Region
from tvm_eqsat.search.mcts.state import Move, State, applied, fingerprint, grown_from, make_room, opened
from tvm_eqsat.search.mcts.tree import Statistics, most_promising
from tvm_eqsat.search.mcts.window import Outline
from tvm_eqsat.search.saturate import Limits

LIMITS = Limits(nodes=80, iterations=10)
PAYING = Move("paying", RuleSet([SPLIT, POSITIVE, ASSOCIATE, MERGE]))


def _cost(state: State, start: Program) -> float:
    return _best(grown_from(start, state.open(), state.roots)).cost


def test_the_search_goes_on_from_a_full_e_graph() -> None:
    start = Outline(Program(_deceptive(distractors=40)), _price).program
    full = applied(opened(start), Move("useless", RuleSet([USELESS])), LIMITS, random.Random(0))
    assert full.full
    assert _cost(applied(full, PAYING, LIMITS, random.Random(0)), start) == pytest.approx(start.cost)
    make_room(full, JUDGE, [])
    assert not full.full and full.open().num_nodes < 60
    assert _cost(full, start) == pytest.approx(start.cost)
    assert _cost(applied(full, PAYING, LIMITS, random.Random(0)), start) < start.cost - 5


def test_moves_in_another_order_lead_to_one_state() -> None:
    first = opened(Program(_deceptive(distractors=1)))
    useless, split = Move("useless", RuleSet([USELESS])), Move("split", RuleSet([SPLIT]))
    seen = []
    for moves in ((useless, split), (split, useless), (useless,)):
        state = first
        for move in moves:
            state = applied(state, move, LIMITS, random.Random(0))
        seen.append(fingerprint(state.open()))
    assert seen[0] == seen[1] != seen[2]


def test_regions_elsewhere_are_kept_when_one_is_rewritten() -> None:
    graph = TensorGraph()
    a, b = tensor(graph, 4, 50), tensor(graph, 4, 50)
    graph.outputs = [apply(graph, "relu", apply(graph, "exp", a)), apply(graph, "tanh", apply(graph, "exp", b))]

    def make(part: Program) -> Region:
        return Region(part, RULES, LIMITS, JUDGE, Usefulness())

    frontier = Frontier(Program(graph), _price, make, random.Random(0))
    while frontier.widen() is not None:
        pass
    regions = {child.window.nodes: child.region for child in frontier.children.values()}
    assert len(regions) == 2
    paying = regions[frozenset([2, 3])]
    other = regions[frozenset([4, 5])]
    before = frontier.program.cost
    paying.simulate(random.Random(0), 10.0, 0.0)
    assert [child.region for child in frontier.commit(0.0)] == [paying]
    assert frontier.program.cost == pytest.approx(before - paying.gain) and paying.gain > 1.9
    assert [child.region for child in frontier.children.values() if child.region is other] == [other]


def test_a_good_child_is_visited_more_often_and_none_is_forgotten() -> None:
    root, gains = Statistics(), [0.0, 0.9, 0.1]
    children = [Statistics() for _ in gains]
    for _ in range(60):
        child = most_promising(children, root, 1.0)
        assert child is not None
        gain = next(gain for other, gain in zip(children, gains, strict=True) if other is child)
        root.add(gain)
        child.add(gain)
    assert children[1].visits > 2 * max(children[0].visits, children[2].visits)
    assert min(child.visits for child in children) > 1
    assert [Statistics(visits=n).width(0.5) for n in (0, 3, 8)] == [1, 2, 3]
