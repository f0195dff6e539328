"""What is known of each e-class: the hook, and the table that makes it cheap."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from .symbols import Symbols

Data = Hashable


class Analysis(Protocol):
    """Facts about e-classes (for tensors: type, constancy), computed bottom-up.

    ``merge`` has to be the join of a lattice of finite height, and ``make`` monotone: facts only ever get better.
    Both are called once per distinct arguments, so they must depend on nothing else.
    """

    def make(self, op: str, attrs: tuple[Any, ...], children: Sequence[Any]) -> Any | None:
        """Data of an operator applied to operands with this data; None if it is ill-typed."""

    def merge(self, a: Any, b: Any) -> Any:
        """Data of a class that holds both.

        Raises
        ------
        EqSatError
            The two can't be equal.
        """


class DataTable:
    """Analysis data interned as small integers, with ``make`` and ``merge`` memoised on them.

    Data equal under ``==`` is one entry. Without an analysis every class has the data None. The table only grows, so
    its integers stay valid across snapshots.
    """

    __slots__ = ("_analysis", "_ids", "_made", "_merged", "_symbols", "values")

    ILL_TYPED = -1

    def __init__(self, analysis: Analysis | None, symbols: Symbols) -> None:
        self._analysis = analysis
        self._symbols = symbols
        self.values: list[Any] = []
        self._ids: dict[Any, int] = {}
        self._made: dict[tuple[int, ...], int] = {}
        self._merged: dict[tuple[int, int], int] = {}

    def make(self, key: tuple[int, ...]) -> int:
        """Data of ``(symbol, data of each operand...)``; ``ILL_TYPED`` if there is none."""
        found = self._made.get(key)
        if found is None:
            value: Any = None
            if self._analysis is not None:
                sym, children = key[0], [self.values[d] for d in key[1:]]
                value = self._analysis.make(self._symbols.ops[sym], self._symbols.attrs[sym], children)
                if value is None:
                    self._made[key] = self.ILL_TYPED
                    return self.ILL_TYPED
            found = self._made[key] = self._intern(value)
        return found

    def merge(self, a: int, b: int) -> int:
        """Data of a class with both; raises what the analysis raises."""
        if a == b:
            return a
        found = self._merged.get((a, b))
        if found is None:
            assert self._analysis is not None  # without one, all data is equal
            found = self._merged[a, b] = self._intern(self._analysis.merge(self.values[a], self.values[b]))
        return found

    def _intern(self, value: Any) -> int:
        found = self._ids.setdefault(value, len(self.values))
        if found == len(self.values):
            self.values.append(value)
        return found
