"""What compiled patterns call: where a search starts, and what counts as new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .touched import Fresh, Touched


def roots(eg: Any, table: dict[int, Any], op: str, only: set[int] | None) -> list[int]:
    """Nodes of an operator in the classes of ``only``, oldest first; maybe more, some of them dead, if it is None."""
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


def fresh_roots(eg: Any, table: dict[int, Any], op: str, only: set[int] | None) -> list[int]:
    """The same, without nodes that are as they were: enough for a pattern of one operator."""
    return only.fresh.with_op(op) if isinstance(only, Touched) else roots(eg, table, op, only)


def tops(
    eg: Any, table: dict[int, Any], op: str, only: set[int] | None, place: int, below: str, both: bool
) -> list[int]:
    """The same, without nodes that top no new match, see :meth:`Touched.tops <.tables.Touched.tops>`."""
    return only.tops(op, place, below, both) if isinstance(only, Touched) else roots(eg, table, op, only)


def freshness(only: set[int] | None) -> tuple[bool, Fresh | tuple[()], dict[int, list[int]]]:
    """Whether all nodes count as fresh; which ones do; and these by class."""
    return (False, only.fresh, only.fresh.of_class()) if isinstance(only, Touched) else (True, (), {})


def first_matches(match: Callable[..., tuple[Any, ...] | None], operands: Sequence[int], *outer: Any) -> Any:
    """The first match of each operand, or None if one has none."""
    rows = []
    for operand in operands:
        row = match(operand, *outer)
        if row is None:
            return None
        rows.append(row)
    return rows


HELPERS = {helper.__name__: helper for helper in (roots, fresh_roots, tops, freshness, first_matches)}
