"""Does a rule hold? Rewrite many random legal instances of it, and compare the values of what it united."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from ..errors import VerificationError
from ..rules.rule import Rule
from ..search.apply import CompiledRule
from .classes import check_classes, polynomial
from .instances import samples


@dataclass(frozen=True)
class RuleCheck:
    """What :func:`check_rule` did.

    Attributes
    ----------
    drawn : int
        Random legal instances of the left side.
    rewritten : int
        Instances at which the rule changed the e-graph.
    distinct : int
        Rewritten instances that differ from each other in a shape or an attribute.
    compared : int
        E-nodes whose value was compared with that of their e-class.
    largest_difference : float
        Relative to the e-class's largest magnitude; 0 where the comparison was exact.
    """

    drawn: int
    rewritten: int
    distinct: int
    compared: int
    largest_difference: float


def check_rule(rule: Rule, count: int = 200, *, seed: int = 0) -> RuleCheck:
    """Rewrite random legal instances and compare the members of every e-class.

    The rule is applied wherever its law holds, whether or not it pays there, at constants and at inputs.

    Parameters
    ----------
    rule : Rule
        The rule; ``shapes`` and ``attrs`` say what a legal instance is.
    count : int
        Instances that it has to rewrite. Where it refuses too many (a third or more), fewer are accepted.
    seed : int
        Seed of everything random.

    Raises
    ------
    VerificationError
        It united e-classes of different values, or rewrote less than two thirds of ``count`` instances out of
        twice as many.
    """
    rng = np.random.default_rng([zlib.crc32(rule.name.encode()), seed])
    drawn = rewritten = compared = 0
    distinct: set[object] = set()
    worst = 0.0
    compiled = CompiledRule(rule, everywhere=True)
    constants = True
    while rewritten < count and drawn < 2 * count:
        missing = count - rewritten
        found = samples(rule, min(count // 2, missing + missing // 2 + 1), rng, constants=constants)
        egraph = found[0].egraph
        owner = {egraph.find(root): instance for instance in found for root in instance.roots}
        changed = set()
        for site in compiled.search(egraph, 100 * count):
            root = site[0][0] if rule.shared else site[0]
            if compiled.apply(egraph, [site], lambda: False):
                changed.add(id(owner.get(root)))
        egraph.rebuild()
        values = found[0].values
        with np.errstate(all="ignore"):  # infinities are values like any other
            check = check_classes(egraph, values, tolerance=0.0 if polynomial(egraph) else 1e-9)
        changed.discard(id(None))
        distinct.update(tuple(i.signature) for i in found if id(i) in changed)
        drawn += len(found)
        rewritten += len(changed)
        compared += check.compared
        worst = max(worst, check.largest_difference)
        constants = not constants
    if rewritten < 2 * count // 3:
        raise VerificationError(
            f"rule {rule.name!r} rewrote only {rewritten} of {drawn} random instances of its left side: give it shapes"
            " and attrs at which its law applies"
        )
    return RuleCheck(drawn, rewritten, len(distinct), compared, worst)
