"""What changed in an e-graph, arranged for searches that look for new matches only."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tables import Tables


class Touched:
    """The nodes that may top a new match: they changed in some period or later, or what is below them did.

    Parameters
    ----------
    eg : Tables
        The e-graph.
    since : int
        The period.
    depth : int
        Levels of operators in the pattern, 1 or more.

    Attributes
    ----------
    since : int
        As above.
    changed : list of int
        By node, the last period in which it became new, or got other children, another class or other data.
    matches : dict
        What a pattern has found in these classes, where that may be asked for again.
    """

    def __init__(self, eg: Tables, since: int, depth: int) -> None:
        self._eg = eg
        self.since = since
        self.changed = eg._levels[0]
        self._reached = eg._levels[depth - 1]
        self.matches: dict[Any, list[tuple[Any, ...]]] = {}
        self._of_op: dict[str, list[int]] = {}
        self._changed_below: dict[int, int] = {}
        self._over: dict[tuple[str, int, bool], dict[int, list[int]]] = {}
        self._found: dict[tuple[str, int, bool, str], list[int]] = {}

    def __bool__(self) -> bool:
        return self._eg._last_change >= self.since

    def classes(self) -> set[int]:
        """Canonical ids of the classes that have such nodes."""
        node, since, parent = self._eg._node, self.since, self._eg._sets.parent
        return {parent[i] for i, last in enumerate(self._reached) if last >= since and node[i] is not None}

    def with_op(self, op: str) -> list[int]:
        """Ids of those of an operator, oldest first; some may be dead."""
        found = self._of_op.get(op)
        if found is None:
            since, reached = self.since, self._reached
            found = self._of_op[op] = [i for i in self._eg._by_op.get(op, ()) if reached[i] >= since]
        return found

    def tops(self, op: str, place: int, below: str, both: bool) -> list[int]:
        """Those of ``op`` that have some other operator below them, oldest first.

        Parameters
        ----------
        op : str
            The operator.
        place : int
            Index in a node of one operand.
        below : str
            Operator of some node of that operand.
        both : bool
            Whether the match has no other nodes than these two, so that one of them has to have changed itself.
        """
        key = (op, place, both, below)
        found = self._found.get(key)
        if found is None:
            bit = self._eg.symbols.bit(below)
            over = self._by_operators_below(op, place, both)
            found = self._found[key] = _in_order([ids for operators, ids in over.items() if operators & bit])
        return found

    def _by_operators_below(self, op: str, place: int, both: bool) -> dict[int, list[int]]:
        """Nodes of ``op`` by the operators of one operand, as bits."""
        key = (op, place, both)
        if key in self._over:
            return self._over[key]
        node, operators, changed, since = self._eg._node, self._eg._operators, self.changed, self.since
        known = self._changed_below
        found = self._over[key] = {}
        for i in self.with_op(op):
            n = node[i]
            if n is None:
                continue
            if not -len(n) < place < len(n):
                below = -1  # has no such operand: matches if every one has to
            elif both and changed[i] < since:
                c = n[place]
                below = known.get(c, -1)
                if below < 0:
                    below = known[c] = self._changed_operators(c)
            else:
                below = operators[n[place]]
            if below in found:
                found[below].append(i)
            else:
                found[below] = [i]
        return found

    def _changed_operators(self, c: int) -> int:
        """Operators of the nodes of a class that changed themselves, as bits."""
        node, bits, changed, since = self._eg._node, self._eg.symbols.bits, self.changed, self.since
        found = 0
        for i in self._eg._ids[c]:
            if changed[i] >= since:
                found |= bits[node[i][0]]  # type: ignore[index]
        return found


def _in_order(lists: list[list[int]]) -> list[int]:
    return lists[0] if len(lists) == 1 else sorted(chain(*lists))
