"""The generated tests notice when a rule is wrong: see :mod:`tests.rules.mutants`.

``EQSAT_ALL_MUTANTS=1`` tries every mutant, not only a sample that is the same in every run.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.rules.mutants import kill_rate, try_rule
from tvm_eqsat.rules import ALGEBRA, ALL, Rule, op, tensors

FULL = bool(os.environ.get("EQSAT_ALL_MUTANTS"))
RULES = ALL + ALGEBRA


@pytest.mark.timeout(1800 if FULL else 300)
def test_generated_tests_notice_broken_rules() -> None:
    counts: Counter[str] = Counter()
    unharmed = []
    for rule in RULES:
        found = try_rule(rule, limit=None if FULL else 3, count=40 if FULL else 12)
        counts.update(found.values())
        if not {"killed", "refused"} & set(found.values()):
            unharmed.append(rule.name)
    assert not unharmed, f"no mutant of these rules was noticed: {', '.join(unharmed)}"
    assert sum(counts.values()) > 2 * len(RULES)
    assert kill_rate(counts) >= 0.95, counts
    # Few changes change nothing: many would mean that the instances are all alike.
    assert counts["equivalent"] + counts["unreached"] <= 0.2 * sum(counts.values()), counts


def test_a_rule_whose_instances_show_nothing_has_surviving_mutants() -> None:
    """The measure must be able to fail: at a single element, a reversal of the operands isn't noticed."""
    x, y = tensors("x y")
    rule = Rule(
        name="blind",
        law="(x - y) * 0 = 0 * (x - y)",
        lhs=op.multiply(op.subtract(x, y), y),
        rhs=lambda x, y: op.multiply(y, op.subtract(x, y)),
        shapes=("x:a y=0:a",),
    )
    found = try_rule(rule)
    assert found["0 subtract: operands swapped"] == "equivalent"
    assert found["1 multiply: add instead"] == "killed"
