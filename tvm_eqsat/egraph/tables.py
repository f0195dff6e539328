"""What an e-graph remembers: reading it, and saving it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import EqSatError
from .analysis import Analysis, DataTable
from .periods import next_level, note
from .symbols import Symbols
from .touched import Touched
from .union_find import UnionFind

ENode = tuple[int, ...]  # (symbol, child class, ...)

_STATE = (
    "_by_op",
    "_data",
    "_dead",
    "_ids",
    "_last_change",
    "_levels",
    "_log",
    "_memo",
    "_node",
    "_operators",
    "_parents",
    "_period",
    "_sets",
    "_unions",
    "_why",
)
NO_PARENTS: list[int] = []  # shared by all classes without users; never written, see Tables._own


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A saved state: tables that nobody writes to any more. Opaque to callers."""

    symbols: Symbols  # tells which e-graph it belongs to
    state: tuple[Any, ...]


class Tables:
    """The tables of an :class:`~.egraph.EGraph`, which documents the parameters.

    Attributes
    ----------
    symbols : Symbols
        Operators with attributes, as integers.
    clean : bool
        Whether nothing is left to rebuild; matching needs it.
    """

    __slots__ = (
        *_STATE,
        "_data_table",
        "_dirty",
        "_own",
        "_pending",
        "_reason_ids",
        "_reasons",
        "_shared",
        "_stale",
        "_touched",
        "clean",
        "symbols",
    )

    def __init__(self, analysis: Analysis | None = None) -> None:
        # These only grow, and belong to no state.
        self.symbols = Symbols()
        self._data_table = DataTable(analysis, self.symbols)
        self._reasons = [""]
        self._reason_ids = {"": 0}
        # By node, or by node id. Dead nodes, which became equal to an older one, are None.
        self._memo: dict[ENode, int] = {}  # the hash-cons: canonical node -> its id
        self._node: list[ENode | None] = []
        self._why: list[int] = []
        # By class id, which is the id of the node that the class was made for.
        self._sets = UnionFind()  # live nodes point directly at their class after a rebuild
        self._ids: list[tuple[int, ...]] = []  # the class's nodes, oldest first; empty unless canonical
        self._parents: list[list[int]] = []  # nodes that have the class as a child, oldest first; some may be dead
        self._data: list[int] = []
        self._operators: list[int] = []  # of the class's nodes, as bits
        self._by_op: dict[str, list[int]] = {}  # nodes of each operator, oldest first; some may be dead
        self._dead = 0  # how many
        # What changed when. The first level says of each node when it last changed itself, the next one when it or an
        # operand's class did, and so on.
        self._log: list[int] = []  # nodes that changed, and haven't been entered in the levels; these lack new ones too
        self._levels: list[list[int]] = [[]]
        self._period = 0
        self._last_change = -1  # in which period
        self._touched: dict[tuple[int, int], Touched] = {}  # by period and depth, until something changes
        self._unions = 0  # each has ended a class
        # A snapshot shares the tables with the e-graph until either the next addition or union copies them.
        self._shared = False
        self._own = bytearray()  # whether _parents[c] has been copied since
        # Work for the next rebuild.
        self._pending: list[int] = []  # nodes with a child that is no longer canonical
        self._stale: list[int] = []  # nodes with a child whose data changed
        self._dirty: dict[int, None] = {}  # classes whose nodes have to be put in order
        self.clean = True

    # ------------------------------------------------------------------ reading

    @property
    def ops(self) -> list[str]:
        """Operator name by symbol."""
        return self.symbols.ops

    @property
    def attrs(self) -> list[tuple[Any, ...]]:
        """Attributes by symbol."""
        return self.symbols.attrs

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return len(self._memo)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self._node) - self._unions

    def find(self, c: int) -> int:
        """The canonical id of a class."""
        return self._sets.find(c)

    def data(self, c: int) -> Any:
        """Analysis data of a class; None without an analysis."""
        parent = self._sets.parent
        if parent[c] != c:
            c = self._sets.find(c)
        return self._data_table.values[self._data[c]]

    def datum(self, c: int) -> int:
        """A small integer that stands for :meth:`data`: equal for equal data, in all states of this e-graph."""
        parent = self._sets.parent
        return self._data[c if parent[c] == c else self._sets.find(c)]

    @property
    def facts(self) -> list[int]:
        """:meth:`datum` by class id; for an id that is no longer canonical, what it was when that ended. Not to be
        written to, and valid until the e-graph changes.
        """
        return self._data

    def implied(self, node: ENode) -> int:
        """What :meth:`datum` is for a class that nothing is known of but this node, whose children are canonical; -1 if
        that is ill-typed.
        """
        return self._data_table.make((node[0], *map(self._data.__getitem__, node[1:])))

    def nodes(self, c: int) -> list[ENode]:
        """Nodes of a class, oldest first; canonical after a rebuild."""
        node = self._node
        return [n for i in self._ids[self._sets.find(c)] if (n := node[i]) is not None]

    def classes(self) -> list[int]:
        """Canonical ids of all classes, ascending."""
        return [c for c, ids in enumerate(self._ids) if ids]

    def with_op(self, op: str) -> Iterator[tuple[int, ENode]]:
        """Class and node of every node of an operator, oldest first."""
        find, node = self._sets.find, self._node
        return ((find(i), n) for i in self._by_op.get(op, ()) if (n := node[i]) is not None)

    def users(self, c: int) -> Iterator[tuple[int, ENode]]:
        """Class and node of every node that has class ``c`` as a child, oldest first."""
        find, node = self._sets.find, self._node
        return ((find(i), n) for i in self._parents[find(c)] if (n := node[i]) is not None)

    def lookup(self, sym: int, children: Sequence[int] = ()) -> int:
        """Class of a node, or -1 if the e-graph has no such node."""
        found = self._memo.get((sym, *[self._sets.find(c) for c in children]))
        return -1 if found is None else self._sets.find(found)

    def reason_id(self, name: str) -> int:
        """A small integer that stands for a rule's name, for the ``why`` of additions and unions."""
        found = self._reason_ids.setdefault(name, len(self._reasons))
        if found == len(self._reasons):
            self._reasons.append(name)
        return found

    def reason(self, node: ENode) -> str:
        """What first made a node (canonical, as :meth:`nodes` gives it); "" if it was there from the start."""
        return self._reasons[self._why[self._memo[node]]]

    def maker(self, c: int) -> str:
        """What first made the oldest node of a class; "" if it was there from the start."""
        return self._reasons[self._why[self._ids[self._sets.find(c)][0]]]

    # ------------------------------------------------------------------ what changed

    def check_clean(self) -> None:
        """Raise :class:`~tvm_eqsat.errors.EqSatError` if something is left to rebuild."""
        if not self.clean:
            raise EqSatError("the e-graph has pending unions: call rebuild() before searching it")

    def tick(self) -> int:
        """Begin a new period, unless nothing has changed in this one.

        Returns
        -------
        int
            Its number. :meth:`restore` sets it back, and later ones mean nothing then.

        Raises
        ------
        EqSatError
            The e-graph needs a rebuild.
        """
        self._settle()
        if self._last_change == self._period:
            self._period += 1
        return self._period

    def touched(self, since: int, depth: int = 1) -> Touched:
        """Nodes that may top a new match of a pattern.

        Parameters
        ----------
        since : int
            A period that :meth:`tick` began: what changed in it and later counts.
        depth : int
            Levels of operators in the pattern (``Matcher.depth``): the users of a changed class are included up to
            ``depth - 1`` levels above it.

        Returns
        -------
        Touched
            Valid until the e-graph changes, and remembered so long. A class counts as changed when it gained a node, a
            node of it got other child classes, or its own or an operand's data changed.

        Raises
        ------
        EqSatError
            The e-graph needs a rebuild.
        """
        self._settle()
        found = self._touched.get((since, depth))
        if found is None:
            while len(self._levels) < depth:
                if self._shared:
                    self._unshare()
                self._levels.append(next_level(self, self._levels[-1]))
            found = self._touched[since, depth] = Touched(self, since, depth)
        return found

    def _settle(self) -> None:
        """Enter what changed in the tables that say when."""
        self.check_clean()
        if self._log or len(self._levels[0]) < len(self._node):
            if self._shared:
                self._unshare()
            note(self, self._levels, self._log, self._period)
            self._log = []
            self._last_change = self._period
            self._touched = {}

    # ------------------------------------------------------------------ saving

    def _unshare(self) -> None:
        """Copy the tables before the first change after a snapshot or restore. What is in them is immutable, except
        for the lists in ``_parents``, which are copied one by one.
        """
        for name in _STATE:
            value = getattr(self, name)
            if not isinstance(value, int):
                setattr(self, name, value.copy())
        self._by_op = {op: ids.copy() for op, ids in self._by_op.items()}
        self._levels = [level.copy() for level in self._levels]
        self._own = bytearray(len(self._node))
        self._shared = False

    def restore(self, s: Snapshot) -> None:
        """Go back to a saved state, in any order and any number of times. Symbols and reason ids stay valid.

        Raises
        ------
        EqSatError
            The snapshot is another e-graph's.
        """
        if s.symbols is not self.symbols:
            raise EqSatError("this snapshot was taken from another e-graph: restore it there")
        for name, value in zip(_STATE, s.state, strict=True):
            setattr(self, name, value)
        self._shared = True
        self._pending, self._stale, self._dirty = [], [], {}
        self.clean = True
        self._touched = {}

    def _capture(self) -> Snapshot:
        self._shared = True
        return Snapshot(self.symbols, tuple([getattr(self, name) for name in _STATE]))
