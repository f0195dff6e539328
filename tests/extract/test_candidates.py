"""Several programs of one e-graph."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.extract.egraphs import egraph, layers, optimum, small_egraphs
from tvm_eqsat.egraph.frozen import FrozenEGraph
from tvm_eqsat.errors import ExtractionError, OptionError
from tvm_eqsat.extract import extract, extract_candidates


def test_distinct_and_best_first() -> None:
    frozen = layers(10)
    found = extract_candidates(frozen, 6)
    assert len(found) == 6
    assert [f.cost for f in found] == sorted(f.cost for f in found)
    assert len({frozenset(f.choice.values()) for f in found}) == 6
    assert found[0].cost <= extract(frozen).cost
    assert extract(frozen, "greedy_dag") in found


def test_seed_decides() -> None:
    frozen = layers(10)
    first, again, other = (extract_candidates(frozen, 6, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_one_is_the_best() -> None:
    frozen = layers(10)
    assert extract_candidates(frozen, 1) == [extract(frozen, "local")]


def test_no_more_than_there_are() -> None:
    assert len(extract_candidates(egraph([[(1, [1])], [(2, [])]], [0]), 5)) == 1


@settings(max_examples=100)
@given(small_egraphs(), st.integers(1, 4))
def test_any_egraph(frozen: FrozenEGraph, k: int) -> None:
    try:
        found = extract_candidates(frozen, k)  # each checked
    except ExtractionError:
        with pytest.raises(ExtractionError):
            extract(frozen)
        return
    assert 1 <= len(found) <= k
    assert found[0].cost >= optimum(frozen) * (1 - 1e-12)


def test_limits_and_bad_arguments() -> None:
    assert extract_candidates(layers(10), 6, time_limit=1e-6)
    with pytest.raises(OptionError, match="k must be 1 or more, not 0"):
        extract_candidates(layers(1), 0)
    with pytest.raises(ExtractionError, match="give it 0 to"):
        extract_candidates(egraph([[(-1, [])]], [0]), 2)
