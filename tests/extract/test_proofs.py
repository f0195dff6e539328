"""Lower bounds, and the optimum between them and any program to start from, against brute force."""

from __future__ import annotations

from math import inf, isclose

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.extract.egraphs import egraph, layers, open_problems, optimum, programs, small_egraphs
from tvm_eqsat.egraph.frozen import FrozenEGraph
from tvm_eqsat.extract import extract
from tvm_eqsat.extract.bracket import Bracket
from tvm_eqsat.extract.cycles import cycle_cuts
from tvm_eqsat.extract.landmarks import Ascent, ascend
from tvm_eqsat.extract.mandatory import Mandatory
from tvm_eqsat.extract.model import Cut, Model
from tvm_eqsat.extract.parts import parts
from tvm_eqsat.extract.problem import Problem
from tvm_eqsat.extract.prove import Limits, solve, tighten
from tvm_eqsat.extract.reduce import reduce

SLACK = 1 + 1e-9


def holds(cut: Cut, program: dict[int, int]) -> bool:
    chosen = set(program.values())
    return chosen.isdisjoint(cut.heads) or not chosen.isdisjoint(cut.tails)


def dearest(problem: Problem) -> list[int]:
    """The choice of the worst program, completed by any nodes."""
    _, program = max(programs(problem), key=lambda found: found[0])
    return [program.get(c, members[0]) for c, members in enumerate(problem.nodes)]


@settings(max_examples=80)
@given(open_problems())
def test_landmarks(problem: Problem) -> None:
    contracted = Mandatory(problem, [True] * len(problem.kids)).contracted()
    assert {frozenset(program.items()) for _, program in programs(contracted)} == {
        frozenset(program.items()) for _, program in programs(problem)
    }
    for asked in (problem, contracted):
        check_landmarks(problem, ascend(asked, problem.cost))
    assert ascend(problem, problem.cost, most_work=0).bound == 0.0


def check_landmarks(problem: Problem, ascent: Ascent) -> None:
    for cost, program in programs(problem):
        assert all(not set(program.values()).isdisjoint(nodes) for nodes in ascent.landmarks)
        assert ascent.bound + sum(ascent.left[i] for i in program.values()) <= cost * SLACK + 1e-15


@settings(max_examples=80)
@given(open_problems())
def test_mandatory_classes_and_their_cuts(problem: Problem) -> None:
    mandatory = Mandatory(problem, [True] * len(problem.kids))
    impossible, needed = set(mandatory.impossible()), set(mandatory.needed())
    cuts = mandatory.cuts([1.0 / len(problem.nodes[c]) for c in problem.owner])
    for _, program in programs(problem):
        assert impossible.isdisjoint(program.values())
        assert needed <= program.keys()
        assert all(holds(cut, program) for cut in cuts)


@settings(max_examples=80)
@given(open_problems())
def test_relaxation(problem: Problem) -> None:
    all_programs = list(programs(problem))
    alive = [True] * len(problem.kids)
    relaxed = Model(problem, alive, max(cost for cost, _ in all_programs)).relax()
    assert relaxed
    for cost, program in all_programs:
        assert relaxed.bound + sum(relaxed.left[i] for i in program.values()) <= cost * SLACK + 1e-12


@settings(max_examples=80)
@given(open_problems())
def test_cycle_cuts(problem: Problem) -> None:
    choice = [members[-1] for members in problem.nodes]
    cuts = cycle_cuts(problem, choice)
    live = {c: choice[c] for c in problem.needs(choice)}
    assert all(not holds(cut, live) for cut in cuts)
    for _, program in programs(problem):
        assert all(holds(cut, program) for cut in cuts)


@settings(max_examples=120)
@given(open_problems(), st.booleans())
def test_the_optimum_is_found_from_the_dearest_program(problem: Problem, tightened: bool) -> None:
    bracket = Bracket(problem, dearest(problem))
    needed = tighten(bracket, Limits()) if tightened else []
    solve(bracket, needed, Limits())
    found = bracket.extraction()
    assert isclose(found.cost, min(cost for cost, _ in programs(problem)), rel_tol=1e-7)
    assert found.lower_bound == found.cost


@settings(max_examples=80)
@given(open_problems(), st.sampled_from([0, 1, 20, 200]))
def test_bounds_hold_when_limits_cut_the_work_short(problem: Problem, work: int) -> None:
    bracket = Bracket(problem, dearest(problem))
    limits = Limits(landmark_work=work, coefficients=work, programs=work, steps=work, tree=1)
    solve(bracket, tighten(bracket, limits), limits)
    best = min(cost for cost, _ in programs(problem))
    assert bracket.bound <= best * SLACK
    assert bracket.cost * SLACK >= best


@settings(max_examples=60)
@given(small_egraphs())
def test_extractors(frozen: FrozenEGraph) -> None:
    best = optimum(frozen)
    assume(best < inf)
    exact = extract(frozen, "ilp")
    assert isclose(exact.cost, best, rel_tol=1e-7)
    assert exact.lower_bound == exact.cost
    costs = {name: extract(frozen, name).cost for name in ("tree", "greedy_dag", "local", "lns", "auto")}
    assert costs["auto"] <= min(costs.values()) * SLACK
    assert costs["lns"] <= costs["local"]


def test_independent_layers_are_parts() -> None:
    problem = reduce(layers(5))
    alive = [True] * len(problem.kids)
    needed = Mandatory(problem, alive).needed()
    found = parts(problem, alive, needed)
    assert len(found) == 5
    assert sum(map(len, found)) == len({c for part in found for c in part})


@pytest.mark.parametrize("name", ["ilp", "auto"])
def test_layers_are_proven(name: str) -> None:
    found = extract(layers(20), name)
    assert isclose(found.cost, sum(optimum(layers(1, seed)) for seed in range(20)))
    assert found.lower_bound == found.cost


def test_sharing_below_a_choice_is_paid_in_full() -> None:
    """Half of either node of class 0 would pay for half of class 3, were it not mandatory."""
    frozen = egraph(
        [[(1, [1]), (1, [2])], [(1, [3, 4])], [(1, [3, 4])], [(8, [])], [(2, []), (1, [5])], [(3, [])]], [0]
    )
    bracket = Bracket(problem := reduce(frozen), [members[0] for members in problem.nodes])
    tighten(bracket, Limits())
    assert bracket.closed
