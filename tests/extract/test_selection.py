"""The incremental evaluation against evaluation from scratch, under random changes."""

from __future__ import annotations

from math import isclose

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.extract.egraphs import small_egraphs
from tvm_eqsat.egraph.frozen import FrozenEGraph
from tvm_eqsat.errors import ExtractionError
from tvm_eqsat.extract.greedy_dag import greedy
from tvm_eqsat.extract.problem import Problem
from tvm_eqsat.extract.reduce import reduce
from tvm_eqsat.extract.selection import Selection

steps = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans()), max_size=25)


def make(frozen: FrozenEGraph) -> tuple[Problem, Selection]:
    try:
        problem = reduce(frozen)
    except ExtractionError:
        assume(False)
    return problem, Selection(problem, greedy(problem))


def is_exact(selection: Selection) -> bool:
    problem, choice = selection.problem, selection.choice
    refs = [0] * len(problem.nodes)
    refs[problem.goal] = 1
    todo = [problem.goal]
    for c in todo:
        for kid in problem.kids[choice[c]]:
            refs[kid] += 1
            if refs[kid] == 1:
                todo.append(kid)
    return refs == selection.refs and isclose(sum(problem.cost[choice[c]] for c in todo), selection.cost, abs_tol=1e-9)


@settings(max_examples=100)
@given(small_egraphs(max_classes=9, max_nodes=4), steps)
def test_flips_and_undo(frozen: FrozenEGraph, steps: list[tuple[int, int, bool]]) -> None:
    problem, selection = make(frozen)
    start = (selection.choice[:], selection.refs[:], selection.cost)
    for at, which, keep_cycle in steps:
        c = at % len(problem.nodes)
        before, mark = selection.cost, len(selection.log)
        live = selection.live()
        changed = selection.flip(c, problem.nodes[c][which % len(problem.nodes[c])])
        if selection.closes_cycle(c):
            if keep_cycle:  # flip something else on top of the cycle, then take back both
                other = (at + 1) % len(problem.nodes)
                selection.flip(other, problem.nodes[other][which % len(problem.nodes[other])])
            selection.undo(mark, before)
            assert selection.live() == live
        else:
            assert set(live) ^ set(selection.live()) <= set(changed)
        assert is_exact(selection)
    selection.undo(0, start[2])
    assert (selection.choice, selection.refs, selection.cost) == start


@settings(max_examples=100)
@given(small_egraphs(max_classes=9, max_nodes=4), steps)
def test_improve_takes_the_best_node_without_a_cycle(frozen: FrozenEGraph, steps: list[tuple[int, int, bool]]) -> None:
    problem, selection = make(frozen)
    for at, which, _ in steps:
        c = at % len(problem.nodes)
        mark, before = len(selection.log), selection.cost
        selection.flip(c, problem.nodes[c][which % len(problem.nodes[c])])
        if selection.closes_cycle(c):
            selection.undo(mark, before)
        if not selection.refs[c]:
            continue
        least = selection.cost
        for i in problem.nodes[c]:
            mark, before = len(selection.log), selection.cost
            selection.flip(c, i)
            if not selection.closes_cycle(c):
                least = min(least, selection.cost)
            selection.undo(mark, before)
        changed = selection.improve(c, 1e-12)
        assert is_exact(selection)
        assert isclose(selection.cost, least, abs_tol=1e-9)
        assert (changed is None) == isclose(before, least, abs_tol=1e-11)
