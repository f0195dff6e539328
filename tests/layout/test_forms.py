"""Forms of convolutions and matrix products, as rules for sizes that are chosen later."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tests.rules.guards import assert_guard_refuses
from tvm_eqsat.rules.layouts import forms
from tvm_eqsat.verify.rules import check_rule

RULES = {
    rule.name: rule
    for rule in (
        forms.im2col(),
        forms.shifted(),
        forms.tiled(2, 3),
        forms.blocked_conv(2, 4),
        forms.panels(4),
        forms.transposed(),
        forms.folded(),
    )
}
INSTANCES = 200


@pytest.mark.parametrize("name", RULES)
def test_form_is_equal_at_random_legal_instances(name: str) -> None:
    found = check_rule(RULES[name], INSTANCES)
    assert found.rewritten >= INSTANCES
    assert found.distinct >= INSTANCES // 10


@pytest.mark.parametrize("name", RULES)
def test_guard_refuses_its_counterexample(name: str) -> None:
    assert_guard_refuses(RULES[name], np.random.default_rng(zlib.crc32(name.encode())))
