"""Every rule record generates its own tests."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tests.rules.guards import assert_guard_refuses
from tvm_eqsat.errors import RuleError, VerificationError
from tvm_eqsat.rules import ALGEBRA, ALL, Rule, RuleSet, op, tensors
from tvm_eqsat.search.apply import CompiledRule
from tvm_eqsat.verify.instances import sample, samples
from tvm_eqsat.verify.rules import check_rule

INSTANCES = 200
RULES = ALL + ALGEBRA
BY_NAME = {rule.name: rule for rule in RULES}
OWN = {rule.name for rule in ALL}


def _rng(rule: Rule) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(rule.name.encode()))


@pytest.mark.parametrize("name", BY_NAME)
def test_rule_holds_at_random_legal_instances(name: str) -> None:
    """The rule fires, both sides have one type, and all members of every e-class have one value."""
    found = check_rule(BY_NAME[name], INSTANCES)
    assert found.rewritten >= INSTANCES
    # Those of the proofs alone may have attributes of one kind.
    assert found.distinct >= (INSTANCES // 4 if name in OWN else 5)


@pytest.mark.parametrize("name", [r.name for r in RULES if r.when])
def test_guard_refuses_its_counterexample(name: str) -> None:
    """Where there is a guard, there is an instance that the pattern matches and the guard refuses."""
    rule = BY_NAME[name]
    assert rule.counterexample, f"{name} has a guard but no counterexample"
    assert_guard_refuses(rule, _rng(rule))


@pytest.mark.parametrize(
    "name", [r.name for r in ALL if r.pays and "!" in r.shapes[0] and not r.name.startswith("slice-of-")]
)
def test_rule_is_held_back_where_it_does_not_pay(name: str) -> None:
    """It pays at constants, and not at inputs."""
    rule = BY_NAME[name]
    rng = _rng(rule)
    worth, idle = (samples(rule, 24, rng, constants=constants)[0].egraph for constants in (True, False))
    everywhere, careful = (CompiledRule(rule, everywhere=flag) for flag in (True, False))
    assert careful.search(worth, 1000)
    assert len(careful.search(idle, 1000)) < len(everywhere.search(idle, 1000))


def test_slices_do_not_undo_merges() -> None:
    """A slice of a merged convolution isn't computed from a slice of the merged weight: that is where it came from."""
    rule = BY_NAME["slice-of-conv2d"]
    instance = sample(rule, "x:n455 w!:6433", np.random.default_rng(0))
    egraph = instance.egraph
    assert CompiledRule(rule).search(egraph, 10)
    filters = next(c for c in egraph.classes() if egraph.data(c).const)
    merged = egraph.add(egraph.sym("concat", op.concat.record.make_attrs(axis=0)), [filters, filters])
    assert egraph.data(merged).merged
    _, node = next(egraph.with_op("conv2d"))
    twice = egraph.add(node[0], [node[1], merged])
    egraph.add(egraph.sym("slice", op.slice.record.make_attrs(axis=1, begin=0, end=6)), [twice])
    assert {m[0] for m in CompiledRule(rule).search(egraph, 10)} == set(instance.roots)


def test_names_are_unique_and_records_complete() -> None:
    assert len(BY_NAME) == len(RULES) >= 340
    for rule in RULES:
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
    with pytest.raises(VerificationError, match="holds different values"):
        check_rule(wrong, 20)


def test_a_rule_that_never_applies_is_caught() -> None:
    x = tensors("x")
    idle = Rule(name="idle", law="none", lhs=op.relu(x), rhs=lambda x: None, shapes=("x:ab",))
    with pytest.raises(VerificationError, match="rewrote only 0 of 40 random instances"):
        check_rule(idle, 20)
