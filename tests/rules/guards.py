"""Whether the guard of a rule does anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tvm_eqsat.rules import Rule
from tvm_eqsat.search.apply import CompiledRule
from tvm_eqsat.verify.instances import sample


def assert_guard_refuses(rule: Rule, rng: np.random.Generator) -> None:
    """There is an instance of the counterexample that the pattern matches and the guard refuses."""
    guarded, bare = (CompiledRule(r, everywhere=True) for r in (rule, replace(rule, when=None)))
    for _ in range(50):
        instance = sample(rule, rule.counterexample, rng, free_attrs=True)
        assert bare.search(instance.egraph, 1000)
        if not guarded.search(instance.egraph, 1000):
            return
    pytest.fail(f"the guard of {rule.name} never refuses {rule.counterexample!r}")
