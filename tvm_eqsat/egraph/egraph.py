"""The e-graph: sets of equal terms, stored as classes of hash-consed nodes.

An *e-node* is a flat tuple of ints, ``(symbol, child class, ...)``. Each gets an id when it is added, and that id also
names the class which is made for it; unions make some of these ids stand for others. Congruence is restored lazily, as
in Willsey et al., "egg: Fast and Extensible Equality Saturation" (POPL 2021).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import EqSatError, IllTyped
from .frozen import FrozenEGraph
from .tables import NO_PARENTS, ENode, Snapshot, Tables


class EGraph(Tables):
    """An e-graph with analysis, provenance and snapshots. It knows no operator.

    Everything it enumerates comes in the order in which nodes were added, so equal calls give equal results in any
    process.

    Parameters
    ----------
    analysis : Analysis, optional
        Data of every class.
    """

    __slots__ = ()

    # ------------------------------------------------------------------ growing

    def sym(self, op: str, attrs: tuple[Any, ...] = ()) -> int:
        """The symbol of an operator with attributes."""
        return self.symbols.intern(op, attrs)

    def add(self, sym: int, children: Sequence[int] = (), why: int = 0) -> int:
        """Add a node, or find the equal one.

        Parameters
        ----------
        sym : int
            From :meth:`sym`.
        children : sequence of int
            Class ids, canonical or not; -1 (an ill-typed operand) makes the node ill-typed too.
        why : int
            From :meth:`reason_id`: what makes this node, if it is new.

        Returns
        -------
        int
            Class id, or -1 if the node is ill-typed.
        """
        classes = list(children)
        self.add_all([(sym, range(len(classes)))], classes, why)
        return classes[-1]

    def add_all(self, steps: Iterable[tuple[int, Iterable[int]]], classes: list[int], why: int = 0) -> None:
        """Add nodes one after the other, as :meth:`add` does.

        Parameters
        ----------
        steps : iterable of (int, iterable of int)
            The symbol of each node, and where in ``classes`` its children are.
        classes : list of int
            Receives the class of each node at its end; it holds those that the steps start from, which become
            canonical.
        why : int
            From :meth:`reason_id`: what makes these nodes, if they are new.
        """
        memo, parent, data, make = self._memo, self._sets.parent, self._data, self._data_table.make
        for k, c in enumerate(classes):  # those that are appended are canonical
            if c >= 0 and parent[c] != c:
                classes[k] = self._sets.find(c)
        at = classes.__getitem__
        for sym, places in steps:
            node = (sym, *map(at, places))
            c = memo.get(node, -1)
            if c >= 0:
                while parent[c] != c:
                    parent[c] = c = parent[parent[c]]
            elif -1 not in node:
                datum = make((sym, *map(data.__getitem__, node[1:])))
                if datum >= 0:
                    if self._shared:
                        self._unshare()
                        memo, parent, data = self._memo, self._sets.parent, self._data
                    c = self._insert(node, datum, why)
            classes.append(c)

    def _insert(self, node: ENode, datum: int, why: int) -> int:
        new = len(self._node)
        symbols, own, parents = self.symbols, self._own, self._parents
        self._memo[node] = new
        self._sets.parent.append(new)
        self._node.append(node)
        self._why.append(why)
        self._ids.append((new,))
        parents.append(NO_PARENTS)
        own.append(0)
        self._data.append(datum)
        self._operators.append(symbols.bits[node[0]])
        op = symbols.ops[node[0]]
        if op in self._by_op:
            self._by_op[op].append(new)
        else:
            self._by_op[op] = [new]
        for c in node[1:]:
            if not own[c]:
                parents[c] = parents[c].copy()
                own[c] = 1
            users = parents[c]
            if not users or users[-1] != new:  # a child may come twice
                users.append(new)
        return new

    def union(self, a: int, b: int, why: int = 0) -> bool:
        """Make two classes equal. :meth:`rebuild` restores congruence, once for many unions.

        Parameters
        ----------
        a, b : int
            Class ids.
        why : int
            From :meth:`reason_id`; named if the union fails.

        Returns
        -------
        bool
            Whether they were different.

        Raises
        ------
        EqSatError
            The analysis finds that they can't be equal; nothing has changed then.
        """
        parent, find = self._sets.parent, self._sets.find
        if parent[a] != a:
            a = find(a)
        if parent[b] != b:
            b = find(b)
        if a == b:
            return False
        try:
            self._unite(a, b)
        except EqSatError as error:
            if not why:
                raise
            raise type(error)(f"{error} (united by {self._reasons[why]!r})") from error
        return True

    def _unite(self, keep: int, gone: int) -> None:
        merged = self._data_table.merge(self._data[keep], self._data[gone])
        if self._shared:
            self._unshare()
        parents, data, ids = self._parents, self._data, self._ids
        # The class with fewer users goes, since these are what has to be repaired.
        kept, lost = len(parents[keep]), len(parents[gone])
        if kept < lost or (kept == lost and keep > gone):
            keep, gone = gone, keep
        moved, users = ids[gone], parents[gone]
        if data[keep] != data[gone]:
            for c in (keep, gone):
                if data[c] != merged:
                    self._stale += parents[c]
            data[keep] = merged
        self._operators[keep] |= self._operators[gone]
        self._sets.union(keep, gone)
        # Most often a new node comes into an older class, and leaves nothing to put in order.
        if users or moved != (gone,) or gone < ids[keep][-1]:
            self._dirty[keep] = None
        if users:
            self._pending += users
            self._own_parents(keep).extend(users)
            parents[gone] = NO_PARENTS
            self._own[gone] = 0
        self._log += moved
        ids[keep] += moved
        ids[gone] = ()
        self._unions += 1
        self.clean = False

    def _own_parents(self, c: int) -> list[int]:
        if not self._own[c]:
            self._parents[c] = self._parents[c].copy()
            self._own[c] = 1
        return self._parents[c]

    # ------------------------------------------------------------------ rebuilding

    def rebuild(self) -> None:
        """Restore the invariants: equal nodes are one node of one class, and data is up to date.

        Raises
        ------
        EqSatError
            Two classes became equal by congruence that the analysis says can't be, or a node became ill-typed. The
            rest is rebuilt all the same, only these stay apart: the e-graph can be read, extended and restored.
        """
        error: EqSatError | None = None
        changed: dict[int, None] = {}
        orphans: dict[int, None] = {}  # children of nodes that died
        while self._pending or self._stale:
            try:
                if self._pending:
                    self._repair(self._pending.pop(), changed, orphans)
                else:
                    self._refresh(self._stale.pop(), changed)
            except EqSatError as failure:
                error = error or failure
        find = self._sets.find
        self._log += changed
        self._purge(dict.fromkeys([find(c) for c in self._dirty]), dict.fromkeys([find(c) for c in orphans]))
        self._dirty = {}
        self.clean = True
        if error is not None:
            raise error

    def _repair(self, i: int, changed: dict[int, None], orphans: dict[int, None]) -> None:
        """Make a node canonical again, and unite its class with that of the node which it may now equal."""
        old = self._node[i]
        if old is None:
            return
        find, memo = self._sets.find, self._memo
        new = (old[0], *[find(c) for c in old[1:]])
        if new == old:
            return
        changed[i] = None
        if memo.get(old) == i:
            del memo[old]
        self._node[i] = new
        other = memo.setdefault(new, i)
        if other != i:
            self.union(i, other)
            first, second = (i, other) if i < other else (other, i)
            memo[new] = first
            self._node[second] = None
            self._dead += 1
            self._dirty[second] = None
            orphans.update(dict.fromkeys(new[1:]))

    def _refresh(self, i: int, changed: dict[int, None]) -> None:
        """Make a node's data again, and that of its users if it changed."""
        node = self._node[i]
        if node is None:
            return
        find, data = self._sets.find, self._data
        c = find(i)
        changed[i] = None  # a guard may look at the operands' data
        made = self._data_table.make((node[0], *[data[find(k)] for k in node[1:]]))
        if made < 0:
            sym = node[0]
            raise IllTyped(
                f"{self.ops[sym]}{self.attrs[sym] or ''} became ill-typed when an operand's data improved to "
                f"{[self.data(k) for k in node[1:]]}: Analysis.make has to be monotone"
            )
        merged = self._data_table.merge(data[c], made)
        if merged != data[c]:
            data[c] = merged
            self._stale += self._parents[c]

    def _purge(self, merged: Iterable[int], orphans: Iterable[int]) -> None:
        """Drop dead nodes from the classes that had them, and let every live node point at its class directly."""
        node, parent = self._node, self._sets.parent
        for c in merged:
            live = self._ids[c] = tuple(sorted([i for i in self._ids[c] if node[i] is not None]))
            for i in live:
                parent[i] = c
        for c in dict.fromkeys([*merged, *orphans]):
            if self._parents[c]:
                self._parents[c] = sorted({i for i in self._parents[c] if node[i] is not None})
                self._own[c] = 1
        if self._dead > len(self._memo):
            self._by_op = {op: [i for i in ids if node[i] is not None] for op, ids in self._by_op.items()}
            self._dead = 0

    # ------------------------------------------------------------------ copying

    def snapshot(self) -> Snapshot:
        """Rebuild, then save the state. The first change after it, or after a restore, copies each table once."""
        self.rebuild()
        return self._capture()

    def freeze(self, roots: Sequence[int]) -> FrozenEGraph:
        """Rebuild, then copy what the roots reach into flat arrays for extraction."""
        self.rebuild()
        return FrozenEGraph.of(self, roots)
