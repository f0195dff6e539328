"""What changed in an e-graph, arranged for searches that look for new matches only."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tables import Tables


class Fresh(set[int]):
    """Nodes of an e-graph that are new, or have other children, another class or other data than before."""

    def __init__(self, eg: Tables, nodes: Iterable[int]) -> None:
        super().__init__(nodes)
        self._eg = eg
        self._of_op: dict[str, list[int]] | None = None
        self._of_class: dict[int, list[int]] | None = None
        self._operators: dict[int, int] | None = None

    def with_op(self, op: str) -> list[int]:
        """Those of an operator, oldest first."""
        if self._of_op is None:
            self._of_op = _by_op(self._eg, self)
        return self._of_op.get(op, [])

    def of_class(self) -> dict[int, list[int]]:
        """Those of each class that has some, oldest first."""
        if self._of_class is None:
            parent = self._eg._sets.parent
            self._of_class = {}
            for i in sorted(self):
                self._of_class.setdefault(parent[i], []).append(i)
        return self._of_class

    def operators(self) -> dict[int, int]:
        """Their operators, by class: the bits of :meth:`Symbols.bit <.symbols.Symbols.bit>`."""
        if self._operators is None:
            node, parent, bits = self._eg._node, self._eg._sets.parent, self._eg.symbols.bits
            found: dict[int, int] = {}
            for i in self:
                c = parent[i]
                found[c] = found.get(c, 0) | bits[node[i][0]]  # type: ignore[index]
            self._operators = found
        return self._operators


class Touched(set[int]):
    """Classes whose matches may have changed.

    Parameters
    ----------
    eg : Tables
        The e-graph.
    fresh : Fresh
        The nodes that make the difference: a new match has one of them.
    below : Touched, optional
        The same for patterns that are one level less deep; without it, for those of one operator.

    Attributes
    ----------
    fresh : Fresh
        As above.
    matches : dict
        What a pattern has found in these classes, where that may be asked for again.
    """

    def __init__(self, eg: Tables, fresh: Fresh, below: Touched | None = None) -> None:
        node, parent, parents = eg._node, eg._sets.parent, eg._parents
        if below is None:
            super().__init__([parent[i] for i in fresh])
            self._nodes: set[int] = fresh
            self._rim = set(self)
        else:
            super().__init__(below)
            users = {i for c in below._rim for i in parents[c] if node[i] is not None}
            self._nodes = below._nodes | users
            self._rim = {parent[i] for i in users} - below
            self.update(self._rim)
        self._eg = eg
        self.fresh = fresh
        self.matches: dict[Any, list[tuple[Any, ...]]] = {}
        self._of_op: dict[str, list[int]] | None = None
        self._tops: dict[str, list[int]] | None = None
        self._over: dict[tuple[str, int, bool], dict[int, list[int]]] = {}
        self._found: dict[tuple[str, int, bool, str], list[int]] = {}

    def with_op(self, op: str) -> list[int]:
        """Ids of the nodes of an operator in these classes, oldest first."""
        if self._of_op is None:
            ids = self._eg._ids
            self._of_op = _by_op(self._eg, [i for c in self for i in ids[c]])
        return self._of_op.get(op, [])

    def tops(self, op: str, place: int, below: str, both: bool) -> list[int]:
        """Those nodes of ``op`` in these classes that may be the top of a new match, oldest first.

        Parameters
        ----------
        op : str
            The operator.
        place : int
            Index in a node of one operand.
        below : str
            Operator of some node of that operand.
        both : bool
            Whether the match has no other nodes than these two, so that one of them has to be fresh.
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
        if self._tops is None:
            self._tops = _by_op(self._eg, self._nodes)
        node, operators, fresh = self._eg._node, self._eg._operators, self.fresh
        known = fresh.operators() if both else {}
        found = self._over[key] = {}
        for i in self._tops.get(op, ()):
            n = node[i]
            if not -len(n) < place < len(n):  # type: ignore[arg-type]
                below = -1  # has no such operand: matches if every one has to
            elif both and i not in fresh:
                below = known.get(n[place], 0)  # type: ignore[index]
            else:
                below = operators[n[place]]  # type: ignore[index]
            if below in found:
                found[below].append(i)
            else:
                found[below] = [i]
        return found


def _in_order(lists: list[list[int]]) -> list[int]:
    return lists[0] if len(lists) == 1 else sorted(chain(*lists))


def _by_op(eg: Tables, nodes: Iterable[int]) -> dict[str, list[int]]:
    """Ids of some live nodes by operator, oldest first."""
    node, ops = eg._node, eg.ops
    found: dict[str, list[int]] = {}
    for i in sorted(nodes):
        found.setdefault(ops[node[i][0]], []).append(i)  # type: ignore[index]
    return found
