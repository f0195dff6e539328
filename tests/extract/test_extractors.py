"""Every extractor against brute force, and on shapes of e-graphs that break careless ones."""

from __future__ import annotations

from math import inf, isclose, nan

import pytest
from hypothesis import given, settings

from tests.extract.egraphs import egraph, optimum, small_egraphs
from tvm_eqsat.egraph.frozen import FrozenEGraph
from tvm_eqsat.errors import ExtractionError, OptionError
from tvm_eqsat.extract import EXTRACTORS, Extraction, base, extract

NAMES = sorted(EXTRACTORS)


@settings(max_examples=150)
@given(small_egraphs())
def test_no_extractor_beats_brute_force(frozen: FrozenEGraph) -> None:
    best = optimum(frozen)
    if best == inf:
        for name in NAMES:
            with pytest.raises(ExtractionError, match="has no program of finite cost"):
                extract(frozen, name)
        return
    costs = {name: extract(frozen, name).cost for name in NAMES}  # each checked
    assert all(cost >= best or isclose(cost, best) for cost in costs.values())
    assert costs["local"] <= costs["greedy_dag"] * (1 + 1e-12)


def test_local_search_finds_most_optima() -> None:
    found = []

    @settings(max_examples=200)
    @given(small_egraphs())
    def collect(frozen: FrozenEGraph) -> None:
        best = optimum(frozen)
        if 0 < best < inf:
            found.append(isclose(extract(frozen, "local").cost, best))

    collect()
    assert len(found) > 50
    assert sum(found) >= 0.98 * len(found)


@pytest.mark.parametrize("name", NAMES)
def test_tree_cost_is_not_dag_cost(name: str) -> None:
    # As trees, 3 + 3 + 0 against 5; shared, 3 against 5.
    frozen = egraph([[(0, [1, 2]), (5, [])], [(0, [3])], [(0, [3]), (9, [])], [(3, [])]], [0])
    assert extract(frozen, name).cost == (5.0 if name == "tree" else 3.0)


@pytest.mark.parametrize("name", NAMES)
def test_depth_needs_no_recursion(name: str) -> None:
    n = 30_000
    classes = [[(1.0, [c + 1]), (3.0, [c + 1, c])] for c in range(n)] + [[(1.0, [])]]
    assert extract(egraph(classes, [0]), name).cost == n + 1


@pytest.mark.parametrize("name", NAMES)
def test_tree_cost_may_overflow(name: str) -> None:
    # Every level doubles the tree: 2 ** 1200 is beyond a float. The infinite node still must not be taken.
    n = 1200
    classes = []
    for level in range(n):
        classes += [[(inf, []), (1.0, [2 * level + 1, 2 * level + 2])], [(1.0, [2 * level + 2]), (inf, [])]]
    classes.append([(1.0, [])])
    assert extract(egraph(classes, [0]), name).cost == 2 * n + 1


@pytest.mark.parametrize("name", NAMES)
def test_cycles_are_never_extracted(name: str) -> None:
    # Free if the two classes could take each other's nodes.
    frozen = egraph([[(0, [1]), (2, [])], [(0, [0]), (3, [])]], [0, 1])
    found = extract(frozen, name)
    assert found.cost == 2.0
    assert found.choice == {0: 1, 1: 2}


@pytest.mark.parametrize("name", NAMES)
def test_roots_repeated_shared_or_absent(name: str) -> None:
    classes = [[(1, [1])], [(2, [])], [(4, [1])]]
    assert extract(egraph(classes, [0, 0, 0]), name).cost == 3.0
    assert extract(egraph(classes, [1, 0, 2]), name).cost == 7.0
    assert extract(egraph(classes, []), name).choice == {}


@pytest.mark.parametrize("name", NAMES)
def test_zero_costs_everywhere(name: str) -> None:
    found = extract(egraph([[(0, [1, 1]), (0, [0])], [(0, [0]), (0, [])]], [0]), name)
    assert (found.cost, found.choice) == (0.0, {0: 0, 1: 3})


@pytest.mark.parametrize("name", NAMES)
def test_costs_of_any_magnitude(name: str) -> None:
    for scale in (1e-300, 1e-6, 1e285):
        frozen = egraph([[(scale, [1, 2])], [(4 * scale, []), (scale, [2])], [(2 * scale, [])]], [0])
        assert isclose(extract(frozen, name).cost, 4 * scale)


@pytest.mark.parametrize("name", NAMES)
def test_root_without_a_program_is_named(name: str) -> None:
    frozen = egraph([[(1, [])], [(1, [2])], [(inf, []), (1, [1])]], [0, 1])
    with pytest.raises(ExtractionError, match=r"root class 1 \(c1\) has no program of finite cost"):
        extract(frozen, name)
    with pytest.raises(ExtractionError, match="root class 0"):
        extract(egraph([[]], [0]), name)


@pytest.mark.parametrize("cost", [-1.0, nan, -inf, 1e300])
def test_costs_out_of_range(cost: float) -> None:
    with pytest.raises(ExtractionError, match=r"node 1 \(n1\) costs .*: give it 0 to 1e\+290, or inf"):
        extract(egraph([[(1, []), (cost, [])]], [0]))


def test_unknown_extractor_lists_the_known() -> None:
    with pytest.raises(OptionError, match="auto, greedy_dag, ilp, lns, local, tree"):
        extract(egraph([[(1, [])]], [0]), "fastest")


def test_a_further_extractor_plugs_in_and_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = egraph([[(1, []), (2, [])]], [0])
    monkeypatch.setattr(base, "EXTRACTORS", dict(EXTRACTORS))

    @base.register("second")
    def second(frozen: FrozenEGraph, /, *, seed: int, time_limit: float | None, node: int = 1) -> Extraction:
        return Extraction({0: node}, 2.0, lower_bound=0.5)

    assert extract(frozen, "second").lower_bound == 0.5
    with pytest.raises(ExtractionError, match=r"costs 1.0, not 2.0"):
        extract(frozen, "second", node=0)
