"""Patterns: what the left side of a rewrite rule looks like. Data only; :mod:`.matcher` compiles them.

``Pat("add", (Pat("multiply", (Var("x"), Var("y"))), Pat("multiply", (Var("x"), Var("z")))))`` matches every class that
holds a sum of two products with a common left factor. A name that occurs twice stands for one thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import count
from typing import Any, Final

from ..errors import RuleError


class Wildcard(Enum):
    """Type of :data:`ANY`."""

    ANY = "ANY"

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = Wildcard.ANY
"""In ``Pat.attrs``: any value of this one attribute."""


@dataclass(frozen=True)
class Var:
    """Any one e-class. Binds to its id."""

    name: str


@dataclass(frozen=True)
class Rest:
    """All operands that the other children of the pattern leave over, none included. Binds to a tuple of class ids."""

    name: str


@dataclass(frozen=True)
class AttrVar:
    """Any value of one attribute, which it binds to; in place of the whole ``attrs``, the whole attribute tuple."""

    name: str


@dataclass(frozen=True)
class Each:
    """Every operand that the other children leave over (none included) matches ``pattern``.

    Each operand contributes its first match, in the order in which its e-nodes were made. A variable that occurs only
    inside binds to a tuple with one entry per operand; one that also occurs outside has one value, and every operand
    has to agree with it.
    """

    pattern: Pat


@dataclass(frozen=True)
class Pat:
    """An operator applied to sub-patterns.

    Parameters
    ----------
    op : str
        Operator name.
    children : tuple of Var, Rest, Each or Pat
        One per operand, in order; at most one ``Rest`` or ``Each``, anywhere among them.
    attrs : None, AttrVar or tuple of (ANY, AttrVar or value)
        None takes any attributes. A tuple has one entry per attribute: values compare with ``==``.

    Raises
    ------
    RuleError
        More than one ``Rest`` or ``Each`` among the children.
    """

    op: str
    children: tuple[Child, ...] = ()
    attrs: AttrVar | tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        if sum(isinstance(child, (Rest, Each)) for child in self.children) > 1:
            raise RuleError(f"a pattern of {self.op!r} has more than one Rest or Each: use one")


Child = Var | Rest | Each | Pat


def attr_vars(pat: Pat) -> tuple[str, ...]:
    """Names of a pattern's own attribute variables, each once, in order."""
    if isinstance(pat.attrs, AttrVar):
        return (pat.attrs.name,)
    return tuple(dict.fromkeys(a.name for a in pat.attrs or () if isinstance(a, AttrVar)))


def depth(pat: Pat) -> int:
    """Levels of operators: 1 for a pattern whose children are all variables."""
    return 1 + max(map(depth, _below(pat)), default=0)


def size(pat: Pat) -> int:
    """Number of operators."""
    return 1 + sum(map(size, _below(pat)))


def _below(pat: Pat) -> list[Pat]:
    children = [child.pattern if isinstance(child, Each) else child for child in pat.children]
    return [child for child in children if isinstance(child, Pat)]


def _occurrences(pat: Pat, eaches: Iterator[int], inside: int = 0) -> Iterator[tuple[str, str, int]]:
    """Name, kind, and the number of the Each it is in (0: none) of every variable."""
    for name in attr_vars(pat):
        yield name, "attribute", inside
    for child in pat.children:
        if isinstance(child, Var):
            yield child.name, "class", inside
        elif isinstance(child, Rest):
            yield child.name, "operands", inside
        elif isinstance(child, Pat):
            yield from _occurrences(child, eaches, inside)
        elif inside:
            raise RuleError(f"a pattern of {pat.op!r} has an Each inside an Each: bind the inner operands with Rest")
        else:
            yield from _occurrences(child.pattern, eaches, next(eaches))


def variables(pats: Sequence[Pat]) -> dict[str, bool]:
    """Names of all variables of some patterns, in order of first occurrence: an operator's attributes come before its
    operands. The value says whether the variable binds to a tuple with one entry per operand of an :class:`Each`.

    Raises
    ------
    RuleError
        A name stands for different kinds of things, or occurs in two ``Each`` and nowhere outside; an ``Each`` is
        inside another.
    """
    kinds: dict[str, str] = {}
    places: dict[str, set[int]] = {}
    eaches = count(1)
    for name, kind, inside in (found for pat in pats for found in _occurrences(pat, eaches)):
        if kinds.setdefault(name, kind) != kind:
            raise RuleError(f"variable {name!r} stands for {kinds[name]} and for {kind}: rename one of them")
        places.setdefault(name, set()).add(inside)
    for name, where in places.items():
        if len(where) > 1 and 0 not in where:
            raise RuleError(f"variable {name!r} occurs in two Each and nowhere outside: rename one of them")
    return {name: 0 not in where for name, where in places.items()}
