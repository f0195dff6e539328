"""When each node of an e-graph last changed, or something below it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .tables import Tables


def note(eg: Tables, levels: list[list[int]], changes: list[int], period: int) -> None:
    """Enter changes in the tables of :attr:`Tables._levels <.tables.Tables._levels>`, upwards through their users.

    All users of a new node are new, unless its class was united with an older one, which is a change.
    """
    node, parent, parents = eg._node, eg._sets.parent, eg._parents
    for level in levels:
        level.extend([period] * (len(node) - len(level)))
    nodes = {i for i in changes if node[i] is not None}
    rim = {parent[i] for i in nodes}
    seen = set(rim)
    for depth, level in enumerate(levels):
        if depth:
            users = {i for c in rim for i in parents[c] if node[i] is not None}
            rim = {parent[i] for i in users} - seen if depth + 1 < len(levels) else set()
            seen |= rim
            nodes |= users
        for i in nodes:
            level[i] = period


def next_level(eg: Tables, level: list[int]) -> list[int]:
    """For each node the last period in which it was touched, or one of its operands was."""
    node, parent = eg._node, eg._sets.parent
    newest = [0] * len(node)  # by class
    for i, period in enumerate(level):
        if node[i] is not None and period > newest[parent[i]]:
            newest[parent[i]] = period
    return [
        period if n is None else max(period, *[newest[c] for c in n[1:]]) if len(n) > 1 else period
        for n, period in zip(node, level, strict=True)
    ]
