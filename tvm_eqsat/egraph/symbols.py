"""Interned operators: an operator name with its attributes is one small integer, a *symbol*."""

from __future__ import annotations

from typing import Any

from .pattern import ANY, AttrVar


class Symbols:
    """Table of symbols. It only grows, so symbols stay valid across snapshots.

    Attribute tuples that are equal under ``==`` are one symbol.

    Attributes
    ----------
    ops : list of str
        Operator name by symbol.
    attrs : list of tuple
        Attributes by symbol.
    bits : list of int
        By symbol an integer with the one bit that stands for its operator.
    """

    __slots__ = ("_ids", "_of_op", "_selected", "attrs", "bits", "ops")

    def __init__(self) -> None:
        self.ops: list[str] = []
        self.attrs: list[tuple[Any, ...]] = []
        self.bits: list[int] = []
        self._ids: dict[tuple[str, tuple[Any, ...]], int] = {}
        self._of_op: dict[str, list[int]] = {}
        self._selected: dict[tuple[str, Any], tuple[dict[int, tuple[Any, ...]], int]] = {}

    def intern(self, op: str, attrs: tuple[Any, ...] = ()) -> int:
        """The symbol of an operator with these attributes."""
        sym = self._ids.get((op, attrs))
        if sym is None:
            sym = self._ids[op, attrs] = len(self.ops)
            self.ops.append(op)
            self.attrs.append(attrs)
            symbols = self._of_op.setdefault(op, [])
            symbols.append(sym)
            self.bits.append(self.bits[symbols[0]] if len(symbols) > 1 else 1 << len(self._of_op) - 1)
        return sym

    def get(self, op: str, attrs: tuple[Any, ...]) -> int:
        """The symbol, or -1 if there is none."""
        return self._ids.get((op, attrs), -1)

    def bit(self, op: str) -> int:
        """The bit of an operator; 0 if there is no symbol of it."""
        symbols = self._of_op.get(op)
        return self.bits[symbols[0]] if symbols else 0

    def select(self, op: str, attrs: AttrVar | tuple[Any, ...] | None) -> dict[int, tuple[Any, ...]]:
        """Symbols that an attribute pattern (see :class:`~.pattern.Pat`) admits, each with what its variables bind to.

        Values are in the order of :func:`~.pattern.attr_vars`.
        """
        symbols = self._of_op.get(op, [])
        table, done = self._selected.get((op, attrs), ({}, 0))
        if done < len(symbols):
            for sym in symbols[done:]:
                bound = _match(attrs, self.attrs[sym])
                if bound is not None:
                    table[sym] = bound
            self._selected[op, attrs] = table, len(symbols)
        return table


def _match(pattern: AttrVar | tuple[Any, ...] | None, attrs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if pattern is None:
        return ()
    if isinstance(pattern, AttrVar):
        return (attrs,)
    if len(pattern) != len(attrs):
        return None
    bound: dict[str, Any] = {}
    for want, value in zip(pattern, attrs, strict=True):
        if isinstance(want, AttrVar):
            if bound.setdefault(want.name, value) != value:
                return None
        elif want is not ANY and want != value:
            return None
    return tuple(bound.values())
