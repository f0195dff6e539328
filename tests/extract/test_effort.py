"""Neighbourhoods, time limits, the choice between extractors, and the e-graphs of TENSAT."""

from __future__ import annotations

import os
import random
import time
from math import inf
from pathlib import Path

import pytest

from tests.extract.egraphs import layers
from tvm_eqsat.egraph.serialize import load
from tvm_eqsat.extract import check, cpsat, extract, prove
from tvm_eqsat.extract.bracket import Bracket
from tvm_eqsat.extract.greedy_dag import greedy
from tvm_eqsat.extract.lns import improve
from tvm_eqsat.extract.reduce import reduce


def test_neighbourhoods_find_merges_by_themselves() -> None:
    frozen = layers(10)
    problem = reduce(frozen)
    bracket = Bracket(problem, greedy(problem))
    improve(bracket, random.Random(0), lambda done: done >= 40)
    found = bracket.extraction()
    check(frozen, found)
    assert found.cost == pytest.approx(extract(frozen, "ilp").cost)
    assert found.cost < 0.9 * extract(frozen, "greedy_dag").cost


def test_no_rounds_leave_what_local_search_found() -> None:
    frozen = layers(10)
    assert extract(frozen, "lns", rounds=0).cost == extract(frozen, "local").cost


@pytest.mark.parametrize("name", ["lns", "ilp", "auto"])
def test_time_limits(name: str) -> None:
    frozen = layers(150)
    start = time.monotonic()
    cut = extract(frozen, name, time_limit=0.4)
    assert time.monotonic() - start < 5.0
    assert cut.cost <= extract(frozen, "greedy_dag").cost
    assert cut.lower_bound is None or cut.lower_bound <= extract(frozen, "ilp").cost * (1 + 1e-9)


def test_results_repeat() -> None:
    frozen = layers(4, seed=7)
    for name in ("lns", "ilp", "auto"):
        assert extract(frozen, name, seed=3) == extract(frozen, name, seed=3)


def test_cp_sat_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ortools", reason="OR-tools isn't installed (extra cpsat)")
    frozen = layers(4)
    problem = reduce(frozen)
    start = greedy(problem)
    with cpsat.Race(problem, [True] * len(problem.kids), start, time.monotonic() + 60.0) as race:
        assert race.possible
        found = race.result()
        while found is None and time.monotonic() < race.deadline:
            time.sleep(0.05)
            found = race.result()
    assert found
    assert found.finished
    bracket = Bracket(problem, start)
    assert bracket.take(found) == []
    assert bracket.cost == pytest.approx(extract(frozen, "ilp").cost)
    assert found.bound == pytest.approx(bracket.cost)
    # The same from above: HiGHS gets no time to answer first.
    monkeypatch.setattr(prove, "_ALONE", 1e-9)
    limits = prove.Limits(time.monotonic() + 30.0)
    bracket = Bracket(problem, start)
    prove.solve(bracket, [], limits)
    assert bracket.closed
    assert bracket.cost == pytest.approx(extract(frozen, "ilp").cost)


def test_no_race_without_a_deadline() -> None:
    problem = reduce(layers(1))
    with cpsat.Race(problem, [True] * len(problem.kids), greedy(problem), inf) as race:
        assert not race.possible
        assert race.result() is None


BEST_KNOWN = {"resnet50": 4.385795, "vgg": 4.850757, "nasneta": 11.199453}


@pytest.mark.parametrize("name", BEST_KNOWN)
def test_tensat_graphs_are_solved(name: str) -> None:
    """To proven optimality. Costs from the artefact of SmoothE (CPLEX, up to ten hours; VGG was not proven)."""
    folder = os.environ.get("TVM_EQSAT_DATA")
    if not folder:
        pytest.skip("TVM_EQSAT_DATA doesn't name a folder with gym/*.csv from extraction-gym")
    found = extract(load(Path(folder) / "gym" / f"{name}.csv"), "auto")
    assert found.cost == pytest.approx(BEST_KNOWN[name], abs=1e-6)
    assert found.lower_bound == found.cost
