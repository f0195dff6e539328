"""Taking out what need not be decided: each step on an example, and all of them against brute force."""

from __future__ import annotations

from math import inf, isclose

import pytest
from hypothesis import given, settings

from tests.extract.egraphs import Node, egraph, least_cost, optimum, small_egraphs
from tvm_eqsat.egraph.frozen import FrozenEGraph
from tvm_eqsat.errors import ExtractionError
from tvm_eqsat.extract import check
from tvm_eqsat.extract.greedy_dag import greedy
from tvm_eqsat.extract.problem import Problem
from tvm_eqsat.extract.reduce import reduce


def least(problem: Problem) -> float:
    return least_cost(problem.nodes, problem.kids.__getitem__, problem.cost, [problem.goal])


@settings(max_examples=400)
@given(small_egraphs())
def test_an_optimum_is_kept(frozen: FrozenEGraph) -> None:
    best = optimum(frozen)
    if best == inf:
        with pytest.raises(ExtractionError):
            reduce(frozen)
        return
    problem = reduce(frozen)
    assert isclose(least(problem), best, abs_tol=1e-15)
    for i, kids in enumerate(problem.kids):
        assert list(kids) == sorted(set(kids) - {problem.owner[i]})
        assert all(i in problem.users[kid] for kid in kids)
    assert all(problem.nodes)
    assert max(problem.cost) < inf
    choice = greedy(problem)
    extraction = problem.extraction(choice)
    check(frozen, extraction)
    assert isclose(extraction.cost, problem.total(choice), abs_tol=1e-15)


def n_decisions(classes: list[list[Node]], roots: list[int]) -> tuple[int, int]:
    """Nodes and classes that are left, the goal aside."""
    problem = reduce(egraph(classes, roots))
    assert isclose(least(problem), optimum(egraph(classes, roots)))
    return len(problem.kids) - 1, len(problem.nodes) - 1


# Classes 1 and 2, used twice each, with two nodes between which only the whole program decides.
OPEN: list[list[Node]] = [[(3.0, []), (1.0, [3])], [(3.0, []), (1.0, [3])], [(2.5, [])]]
USERS: list[Node] = [(1.0, [1, 2]), (4.0, [1]), (4.0, [2])]


def test_what_is_open_stays() -> None:
    assert n_decisions([USERS, *OPEN], [0, 1, 2]) == (8, 4)


def test_superfluous_nodes_go() -> None:
    worse: list[Node] = [(4.5, [1]), (1.0, [2, 1]), (1.0, [1, 2, 3]), (inf, []), (0.5, [0, 1])]
    assert n_decisions([USERS + worse, *OPEN], [0, 1, 2]) == (8, 4)
    assert n_decisions([[*USERS, (0.5, [1, 2, 3])], *OPEN], [0, 1, 2]) == (9, 4)  # more children, but cheaper


def test_free_classes_go() -> None:
    free: list[list[Node]] = [[(0.0, [5]), (2.0, [])], [(0.0, []), (0.0, [4])]]
    users: list[Node] = [(1.0, [1, 2, 4]), (4.0, [1, 5]), (4.0, [2])]
    assert n_decisions([users, *OPEN, *free], [0, 1, 2]) == (8, 4)


def test_tuples_go() -> None:
    users: list[Node] = [(1.0, [4, 2]), (4.0, [4]), (4.0, [2])]
    assert n_decisions([users, *OPEN, [(0.0, [1])]], [0, 4, 2]) == (8, 4)


def test_single_uses_go() -> None:
    users: list[Node] = [(0.5, [1, 2, 4]), (4.0, [1]), (4.0, [2])]
    assert n_decisions([users, *OPEN, [(0.25, [5])], [(0.25, [])]], [0, 1, 2]) == (8, 4)


def test_what_only_a_shared_tuple_uses_counts_once() -> None:
    """Class 5 costs 6 and is used by the tuple 4 only; the tuple, by every node of classes 1 and 2."""
    either: list[Node] = [(3.0, [4]), (1.0, [3, 4])]
    frozen = egraph([USERS, either, either, [(2.5, [])], [(0.0, [5])], [(6.0, [])]], [0, 1, 2])
    assert least(reduce(frozen)) == optimum(frozen) == 11.5


def test_chains_collapse_to_nothing() -> None:
    n = 5000
    classes: list[list[Node]] = [[(1.0, [c + 1])] for c in range(n)] + [[(1.0, [])]]
    problem = reduce(egraph(classes, [0]))
    assert (len(problem.nodes), problem.cost) == (1, [n + 1.0])
    assert len(problem.extraction([0]).choice) == n + 1
