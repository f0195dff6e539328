"""Every rule record generates its own tests."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tvm_eqsat.errors import RuleError
from tvm_eqsat.rules import ALL, Rule, RuleSet, op, tensors
from tvm_eqsat.search.apply import CompiledRule
from tvm_eqsat.verify.classes import check_classes, polynomial
from tvm_eqsat.verify.instances import sample

INSTANCES = 12
BY_NAME = {rule.name: rule for rule in ALL}


def _rng(rule: Rule) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(rule.name.encode()))


@pytest.mark.parametrize("name", BY_NAME)
def test_rule_holds_at_random_legal_instances(name: str) -> None:
    """The rule fires, both sides have one type, and all members of every e-class have one value."""
    rule = BY_NAME[name]
    rng = _rng(rule)
    fired = 0
    for number in range(INSTANCES):
        instance = sample(rule, rule.shapes[number % len(rule.shapes)], rng)
        egraph = instance.egraph
        compiled = CompiledRule(rule)
        sites = compiled.search(egraph, 1000)
        assert sites, f"{name} doesn't match its own left side"
        fired += compiled.apply(egraph, sites, lambda: False)
        egraph.rebuild()
        check_classes(egraph, instance.values)
        if polynomial(egraph):
            check_classes(egraph, {k: v.astype(np.int64) for k, v in instance.values.items()}, exact=True)
    assert fired >= INSTANCES // 3, f"{name} matched, but changed the e-graph only {fired} times"


@pytest.mark.parametrize("name", [r.name for r in ALL if r.when is not None])
def test_guard_refuses_its_counterexample(name: str) -> None:
    """Where there is a guard, there is an instance that the pattern matches and the guard refuses."""
    rule = BY_NAME[name]
    assert rule.counterexample, f"{name} has a guard but no counterexample"
    unguarded = Rule(**{**{f: getattr(rule, f) for f in rule.__dataclass_fields__}, "when": None})
    rng = _rng(rule)
    for _ in range(50):
        instance = sample(rule, rule.counterexample, rng, free_attrs=True)
        assert CompiledRule(unguarded).search(instance.egraph, 1000)
        if not CompiledRule(rule).search(instance.egraph, 1000):
            return
    pytest.fail(f"the guard of {name} never refuses {rule.counterexample!r}")


def test_names_are_unique_and_records_complete() -> None:
    assert len(BY_NAME) == len(ALL) >= 40
    for rule in ALL:
        assert rule.law, rule.name
        assert rule.shapes, rule.name


def test_groups_add_and_refuse_clashes() -> None:
    x = tensors("x")
    one = Rule(name="a", law="l", lhs=op.relu(op.relu(x)), rhs=op.relu(x))
    other = Rule(name="a", law="l", lhs=op.abs(op.abs(x)), rhs=op.abs(x))
    assert len(RuleSet([one]) + RuleSet([one])) == 1
    with pytest.raises(RuleError, match="two rules are named 'a'"):
        RuleSet([one]) + RuleSet([other])
    with pytest.raises(RuleError, match="no rule is named 'b'; there are: a"):
        RuleSet([one]).without("b")


def test_unbound_variable_is_an_error() -> None:
    x, y = tensors("x y")
    with pytest.raises(RuleError, match="uses y, which the left side doesn't bind; it binds x"):
        Rule(name="bad", law="l", lhs=op.relu(x), rhs=y)


def test_a_wrong_rule_is_caught() -> None:
    """The generated test must be able to fail: relu(x) isn't x."""
    x = tensors("x")
    wrong = Rule(name="wrong", law="relu(x) = x", lhs=op.relu(x), rhs=x, shapes=("x:ab",))
    instance = sample(wrong, "x:55", np.random.default_rng(0))
    compiled = CompiledRule(wrong)
    compiled.apply(instance.egraph, compiled.search(instance.egraph, 10), lambda: False)
    instance.egraph.rebuild()
    with pytest.raises(Exception, match="holds different values"):
        check_classes(instance.egraph, instance.values)
