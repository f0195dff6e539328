"""Local search where it matters: operators that only pay if several classes use them."""

from __future__ import annotations

import os
import time
from math import isclose
from pathlib import Path

import pytest

from tests.extract.egraphs import Node, egraph, layers, optimum
from tvm_eqsat.egraph.frozen import FrozenEGraph
from tvm_eqsat.egraph.serialize import load
from tvm_eqsat.extract import extract
from tvm_eqsat.extract.greedy_dag import greedy
from tvm_eqsat.extract.local import Search
from tvm_eqsat.extract.reduce import reduce


@pytest.mark.parametrize("k", [2, 3, 4, 8])
def test_merged_operator_is_taken_by_all_its_users(k: int) -> None:
    """k matmuls of 10 share an input; one of 15 serves them all through slices of 1."""
    merged = k
    classes: list[list[Node]] = [[(10.0, [k + 1]), (1.0, [merged])] for _ in range(k)]
    classes += [[(15.0, [k + 1])], [(0.0, [])]]
    frozen = egraph(classes, range(k))
    assert extract(frozen, "greedy_dag").cost == 10 * k
    found = extract(frozen, "local")
    assert found.cost == min(10 * k, 15 + k)
    assert (merged in found.choice) == (k > 1)


def descended(frozen: FrozenEGraph) -> float:
    """Cost after descending from the greedy program, without any noise."""
    problem = reduce(frozen)
    search = Search(problem, greedy(problem), lambda work: False)
    search.descend()
    return problem.extraction(search.best()).cost


def test_merge_through_slices_of_slices() -> None:
    """Four matmuls; only merging all four pays, and they reach it through the slices for two."""
    #          matmuls 0-3, pairs 4 (0, 1) and 5 (2, 3), all 6
    classes: list[list[Node]] = [[(10.0, []), (1.0, [4])] for _ in range(2)]
    classes += [[(10.0, []), (1.0, [5])] for _ in range(2)]
    classes += [[(25.0, []), (1.0, [6])], [(25.0, []), (1.0, [6])], [(22.0, [])]]
    frozen = egraph(classes, range(4))
    assert extract(frozen, "greedy_dag").cost == 40.0
    assert descended(frozen) == 28.0


def test_partial_merge_beats_the_full_one() -> None:
    """Of three matmuls the third is cheap: merging the first two pays, with the third it would not."""
    classes: list[list[Node]] = [
        [(10.0, []), (0.5, [3]), (0.5, [4])],
        [(10.0, []), (0.5, [3]), (0.5, [4])],
        [(1.0, []), (0.5, [4])],
        [(12.0, [])],
        [(18.0, [])],
    ]
    assert descended(egraph(classes, [0, 1, 2])) == 14.0


def test_merge_that_would_close_a_cycle_is_left_out() -> None:
    """The merged operator needs the result of one class that it could serve; the other two may use it."""
    classes: list[list[Node]] = [
        [(10.0, []), (0.5, [3])],
        [(10.0, []), (0.5, [3])],
        [(10.0, []), (0.5, [3])],
        [(12.0, [2])],
    ]
    assert descended(egraph(classes, [0, 1, 2])) == 23.0


def test_classes_that_are_not_live_choose_anew() -> None:
    """Class 2 is cheapest by itself with its first node, but class 3 is there anyway: then with its second."""
    classes: list[list[Node]] = [[(1.0, [1, 3])], [(5.0, []), (0.0, [2])], [(6.0, []), (1.0, [3])], [(7.0, [])]]
    frozen = egraph(classes, [0])
    assert extract(frozen, "greedy_dag").cost == 13.0
    assert descended(frozen) == 9.0


def test_deserted_users_of_a_merge_move_on() -> None:
    """From the merge of 0 and 1 to that of 1 and 2, which pays only if 0 is then computed by itself."""
    classes: list[list[Node]] = [
        [(10.0, []), (0.5, [3])],
        [(20.0, []), (0.5, [3]), (0.5, [4])],
        [(20.0, []), (0.5, [4])],
        [(21.0, [])],
        [(22.0, [])],
    ]
    frozen = egraph(classes, [0, 1, 2])
    assert descended(frozen) == 33.0


@pytest.mark.parametrize("effort", [100_000, None])
def test_layers_of_merges(effort: float | None) -> None:
    """Which of three matmuls to merge is decided rightly in each of 20 layers."""
    frozen = layers(20)
    found = extract(frozen, "local", effort=effort).cost
    assert isclose(found, sum(optimum(layers(1, seed)) for seed in range(20)))
    assert found < 0.9 * extract(frozen, "greedy_dag").cost


def test_effort_and_time_are_limits() -> None:
    frozen = layers(400)
    problem = reduce(frozen)
    search = Search(problem, greedy(problem), lambda work: work >= 20_000)
    search.descend()
    assert 20_000 <= search.selection.work < 40_000
    start = time.monotonic()
    cut = extract(frozen, "local", time_limit=0.3)
    assert time.monotonic() - start < 5.0
    assert extract(frozen, "local", effort=0).cost == extract(frozen, "greedy_dag").cost >= cut.cost


BEST_KNOWN = {"resnet50": 4.385795, "vgg": 4.850757, "nasneta": 11.199453}


@pytest.mark.parametrize("name", BEST_KNOWN)
def test_tensat_graphs_reach_the_best_known_cost(name: str) -> None:
    """DAG costs from the artefact of SmoothE (CPLEX, up to ten hours)."""
    folder = os.environ.get("TVM_EQSAT_DATA")
    if not folder:
        pytest.skip("TVM_EQSAT_DATA doesn't name a folder with gym/*.csv from extraction-gym")
    frozen = load(Path(folder) / "gym" / f"{name}.csv")
    assert extract(frozen, "local").cost <= BEST_KNOWN[name] + 1e-6
