"""A rewrite rule is one record; a group of rules is a value that adds with ``+``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..egraph.pattern import AttrVar, Each, Pat, Rest, Var
from ..errors import RuleError


@dataclass(frozen=True)
class Rule:
    """One rewrite rule.

    Parameters
    ----------
    name : str
        Stable name, as reports print it.
    law : str
        The equation in words or symbols.
    lhs : Pat
        The pattern.
    rhs : Pat or callable
        The replacement: a pattern over the same variables, or a function of some of them (by parameter name) that
        builds terms. It may return None, or raise IllTyped, where the law doesn't apply.
    when : callable, optional
        The guard: a function of some variables (by parameter name) that returns whether the law holds. It may depend
        on nothing but their types, facts and attributes: it is asked once about matches that are alike in these. Tensor
        variables arrive as :class:`~tvm_eqsat.rules.dsl.Term`, attribute variables as their values.
    pays : callable, optional
        Where the rewrite can make a program cheaper; called like ``when``. The law holds elsewhere too, and proofs use
        it there; optimisation does not, so that the e-graph stays small.
    shared : tuple of Var, optional
        Makes it a k-way rule: matches that agree on these variables (and on ``key``) are rewritten *together*, two
        or more at a time. The right side gets each other variable as a tuple, one item a member, and returns one
        term for each member. TENSAT's multi-pattern rules, without the Cartesian product.
    key : callable, optional
        For k-way rules: a function of variables whose (hashable) result members must share; None leaves a match out.
    reassociates : bool
        Whether floating-point results may differ by rounding. ``numerics="strict"`` leaves such rules out.
    simplifies : bool
        Whether the right side is always the simpler one. Only such rules are applied to computations on constants
        and weights, which are free however they are written, but should be written in one way.
    source : str
        Where the law comes from.
    shapes : tuple of str
        Random legal instances for the generated tests, see :mod:`tvm_eqsat.verify.instances`.
    attrs : mapping of str to callable, optional
        For the generated tests: ``rng -> value`` for attribute variables that random values rarely satisfy.
    counterexample : str, optional
        Shapes (as in ``shapes``) at which ``when`` must refuse; required where there is one.
    """

    name: str
    law: str
    lhs: Pat
    rhs: Pat | Var | Callable[..., Any]
    when: Callable[..., bool] | None = None
    pays: Callable[..., bool] | None = None
    shared: tuple[Var, ...] = ()
    key: Callable[..., Any] | None = None
    reassociates: bool = False
    simplifies: bool = False
    source: str = ""
    shapes: tuple[str, ...] = ()
    attrs: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    counterexample: str = ""

    def __post_init__(self) -> None:
        known = dict.fromkeys(variables(self.lhs))
        for role, fn in (("rhs", self.rhs), ("when", self.when), ("pays", self.pays), ("key", self.key)):
            used = parameters(fn) if callable(fn) else variables(fn)
            unknown = [v for v in used if v not in known]
            if unknown:
                raise RuleError(
                    f"rule {self.name!r}: {role} uses {', '.join(unknown)}, which the left side doesn't bind;"
                    f" it binds {', '.join(known)}"
                )
        if self.key is not None and not self.shared:
            raise RuleError(f"rule {self.name!r}: key= is for k-way rules, which name the shared= variables")


@lru_cache(maxsize=4096)
def parameters(fn: Callable[..., Any]) -> tuple[str, ...]:
    """Names of a function's parameters without default, which say what it wants to know of a match."""
    return tuple(n for n, p in inspect.signature(fn).parameters.items() if p.default is inspect.Parameter.empty)


def variables(pattern: Any) -> Iterator[str]:
    """Names of the variables of a pattern, in order of first appearance (with repeats)."""
    if isinstance(pattern, Var | Rest | AttrVar):
        yield pattern.name
    elif isinstance(pattern, Each):
        yield from variables(pattern.pattern)
    elif isinstance(pattern, Pat):
        for child in pattern.children:
            yield from variables(child)
        for value in pattern.attrs if isinstance(pattern.attrs, tuple) else (pattern.attrs,):
            yield from variables(value)


class RuleSet(tuple[Rule, ...]):
    """Rules with distinct names, in order. Groups add: ``IDENTITIES + MATMUL``."""

    __slots__ = ()

    def __new__(cls, rules: Iterable[Rule] = ()) -> RuleSet:
        """Check that no two rules share a name.

        Raises
        ------
        RuleError
            Two different rules have the same name.
        """
        unique: dict[str, Rule] = {}
        for rule in rules:
            if unique.setdefault(rule.name, rule) is not rule:
                raise RuleError(f"two rules are named {rule.name!r}")
        return super().__new__(cls, unique.values())

    def __add__(self, other: Iterable[Rule]) -> RuleSet:  # type: ignore[override]
        return RuleSet([*self, *other])

    def without(self, *names: str) -> RuleSet:
        """The rules whose names aren't given.

        Raises
        ------
        RuleError
            A name isn't a rule's.
        """
        self._check(names)
        return RuleSet(r for r in self if r.name not in names)

    def only(self, *names: str) -> RuleSet:
        """The rules with the given names.

        Raises
        ------
        RuleError
            A name isn't a rule's.
        """
        self._check(names)
        return RuleSet(r for r in self if r.name in names)

    def exact(self) -> RuleSet:
        """The rules that keep every rounding."""
        return RuleSet(r for r in self if not r.reassociates)

    def _check(self, names: Iterable[str]) -> None:
        known = {r.name for r in self}
        for name in names:
            if name not in known:
                raise RuleError(f"no rule is named {name!r}; there are: {', '.join(sorted(known))}")
