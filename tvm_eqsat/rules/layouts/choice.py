"""Rules that ALT's ablation leaves out: those that change layouts, and those that cancel conversions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...egraph.pattern import Each, Pat
from ..rule import RuleSet

_CONVERSIONS = frozenset({"permute_dims", "layout_transform"})
#: Rules that put an operator in another layout beside it, with conversions around it.
_CHANGES = frozenset({"conv-nhwc", "max_pool2d-nhwc", "avg_pool2d-nhwc", "adaptive_avg_pool2d-nhwc"})


def restricted(rules: RuleSet, layouts: str) -> RuleSet:
    """The rules that the option ``layouts`` leaves.

    Parameters
    ----------
    rules : RuleSet
        The rules.
    layouts : str
        The option: ``"none"`` leaves out every rule about a conversion, and those that change an operator's layout;
        ``"conversions"`` the latter alone; any other value nothing.
    """
    if layouts not in ("none", "conversions"):
        return rules
    kept = RuleSet(rule for rule in rules if rule.name not in _CHANGES)
    if layouts == "conversions":
        return kept
    return RuleSet(rule for rule in kept if _CONVERSIONS.isdisjoint(_operators(rule.lhs)))


def _operators(pattern: Any) -> Iterator[str]:
    if isinstance(pattern, Each):
        pattern = pattern.pattern
    if isinstance(pattern, Pat):
        yield pattern.op
        for child in pattern.children:
            yield from _operators(child)
