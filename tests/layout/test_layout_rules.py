"""Rules about layouts that aren't part of the default set, tested like those that are."""

from __future__ import annotations

import numpy as np
import pytest

from tests.rules.guards import assert_guard_refuses
from tvm_eqsat.layout.index_map import IndexMap
from tvm_eqsat.rules import blocked_layouts
from tvm_eqsat.rules.layouts.maps import plain
from tvm_eqsat.verify.rules import check_rule

RULES = {rule.name: rule for rule in blocked_layouts(4)}


@pytest.mark.parametrize("name", RULES)
def test_rule_holds_at_random_legal_instances(name: str) -> None:
    found = check_rule(RULES[name], 24)
    assert found.rewritten >= 24
    assert found.distinct >= 6


@pytest.mark.parametrize("name", [r.name for r in RULES.values() if r.when])
def test_guard_refuses_its_counterexample(name: str) -> None:
    assert_guard_refuses(RULES[name], np.random.default_rng(0))


def test_only_whole_axes_are_taken_as_they_are() -> None:
    assert plain(IndexMap.reorder((2, 3, 4), (2, 0, 1)), 0) == 2
    assert plain(IndexMap.pad((3, 4), [(0, 0), (1, 0)]), 1) is None
    assert plain(IndexMap.pad((3, 4), [(0, 0), (0, -1)]), 1) is None
    assert plain(IndexMap.split((3, 4), 1, 2), 1) is None
    assert plain(IndexMap.unfold((3, 9), 1, 3, 1), 2) is None
