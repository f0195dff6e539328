"""What compiled patterns call: where a search starts, and what counts as new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .touched import Touched


def roots(eg: Any, table: dict[int, Any], op: str, only: set[int] | Touched | None) -> list[int]:
    """Nodes of an operator where a search may start, oldest first; some of them may be dead."""
    found: list[int] = eg._by_op.get(op, [])
    if only is None:
        return found
    if isinstance(only, Touched):
        return only.with_op(op)
    if len(only) < len(found):
        node, ids = eg._node, eg._ids
        return sorted([i for c in only for i in ids[c] if node[i][0] in table])
    parent = eg._sets.parent
    return [i for i in found if parent[i] in only]


def tops(
    eg: Any, table: dict[int, Any], op: str, only: set[int] | Touched | None, place: int, below: str, both: bool
) -> list[int]:
    """The same, without nodes that top no new match, see :meth:`Touched.tops <.touched.Touched.tops>`."""
    return only.tops(op, place, below, both) if isinstance(only, Touched) else roots(eg, table, op, only)


def freshness(only: set[int] | Touched | None) -> tuple[bool, int, list[int]]:
    """Whether all nodes count as new; if not, since when; and when each changed."""
    return (False, only.since, only.changed) if isinstance(only, Touched) else (True, 0, [])


def lacks(operators: Sequence[int], bit: int, classes: Sequence[int]) -> bool:
    """Whether one of the classes has no node of an operator."""
    for c in classes:
        if not operators[c] & bit:
            return True
    return False


def first_matches(match: Callable[..., tuple[Any, ...] | None], operands: Sequence[int], *outer: Any) -> Any:
    """The first match of each operand, or None if one has none."""
    rows = []
    for operand in operands:
        row = match(operand, *outer)
        if row is None:
            return None
        rows.append(row)
    return rows


HELPERS = {helper.__name__: helper for helper in (roots, tops, freshness, lacks, first_matches)}
