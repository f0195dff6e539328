"""Sums of products (convolutions, matrix products): which loops a register tile is made of."""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.ir.expr import TensorLoad
from tvm.s_tir import SBlock

from ..loops import factor_of, factors, mentions, through_casts

_SPATIAL, _REDUCE = 0, 2  # IterVar.DataPar, IterVar.CommReduce


@dataclass(frozen=True)
class Contraction:
    """The loops of a sum of products, by their place among the statement's loops.

    One operand, the *panel*, is read along the columns, a vector at a time, and once for all rows of a tile. The other
    one is read value by value, each for all columns of a tile; or, without reuse (depthwise), along the columns, too.
    Where neighbouring columns aren't neighbours in memory, the panel must be copied into another order, or stored in
    one, and sums are kept in another order than the output's.

    Attributes
    ----------
    extents : tuple of int
        Of all loops.
    column : int
        The loop of the tile's columns, the lanes of vectors.
    row : int or None
        The loop that makes the tile's rows; None if there is no other.
    blocked : int or None
        The loop around the rows whose iterations read the same panel; the row's own if there is no other.
    outer : tuple of int
        The remaining loops over the output.
    reduced : tuple of int
        The loops of the sum, in the order in which they run.
    width : int
        What the number of a tile's columns must divide.
    bits : int
        Of one value of the sum.
    panel : int
        Which of the buffers that the statement reads is the panel.
    panel_order, order : tuple of int
        Axes of the panel, and of the output, in an order in which the column is the last.
    feed : int
        Which of these buffers the other operand is.
    feed_order : tuple of int
        Its axes; where sums are kept in another order than the output's, the one that the longest loop of the sum
        walks along is the last.
    stride : int
        How far neighbouring columns are apart along that axis of the panel.
    """

    extents: tuple[int, ...]
    column: int
    row: int | None
    blocked: int | None
    outer: tuple[int, ...]
    reduced: tuple[int, ...]
    width: int
    bits: int
    panel: int
    panel_order: tuple[int, ...]
    order: tuple[int, ...]
    feed: int
    feed_order: tuple[int, ...]
    stride: int

    @property
    def gathered(self) -> bool:
        """Whether neighbours along the columns are apart in the panel as it is."""
        return self.panel_order != tuple(range(len(self.panel_order)))

    @property
    def turned(self) -> bool:
        """Whether neighbours along the columns are apart in the output."""
        return self.order != tuple(range(len(self.order)))

    @property
    def scattered(self) -> bool:
        """Whether the longest loop of the sum jumps about in the other operand as it is."""
        return self.feed_order != tuple(range(len(self.feed_order)))


def contractions_of(block: SBlock) -> list[Contraction]:
    """What register tiles of a statement can be made of; nothing if it isn't a sum of floating-point products.

    Columns that are neighbours in the output come first.
    """
    axes = list(block.iter_vars)
    store = block.body
    if not isinstance(store, tirx.BufferStore) or not all(isinstance(v.dom.extent, tirx.IntImm) for v in axes):
        return []
    value = store.value
    dtype = str(store.buffer.dtype)
    if dtype not in ("float32", "float64") or type(value).__name__ != "Add":
        return []
    loads = [through_casts(x) for x in factors(value.b)]
    if len(loads) != 2 or not all(isinstance(x, TensorLoad) for x in loads):
        return []
    spatial = [i for i, v in enumerate(axes) if v.iter_type == _SPATIAL]
    reduced = tuple(i for i, v in enumerate(axes) if v.iter_type == _REDUCE)
    extents = tuple(int(v.dom.extent) for v in axes)
    if not reduced or len(spatial) + len(reduced) != len(axes):
        return []
    buffers = [region.source for region in block.reads]

    def place_of(load: Any) -> int:
        return next(i for i, buffer in enumerate(buffers) if buffer.same_as(load.source))

    def reads(load: Any, axis: int) -> bool:
        return any(mentions(index, axes[axis].var) for index in load.indices)

    def tiled(column: int, place: int) -> Contraction | None:
        var = axes[column].var
        last = place == len(store.indices) - 1

        def fits(load: Any) -> bool:
            alone = not any(reads(load, i) for i in spatial if i != column)
            return _follows(load, var) or (_axis(load, var) is not None and _step(load, var) == 1 and (last or alone))

        along = [x for x in loads if reads(x, column) and fits(x)]
        if not along:
            return None
        panel = min(along, key=lambda x: (not _follows(x, var), sum(reads(x, i) for i in spatial)))
        other = loads[loads[0] is panel]
        if reads(other, column) and not _follows(other, var) and not _divisors(other, var):
            return None  # a vector of it would be gathered
        wide = [i for i in spatial if i != column and extents[i] > 1]
        # rows that share the panel; or else any, whose sums then hide each other's latency
        row = max(wide, key=lambda i: (not reads(panel, i), i), default=None)
        others = [i for i in wide if i != row and not reads(panel, i)]
        blocked = max(others) if others else row
        outer = tuple(i for i in spatial if i not in (column, row, blocked))
        width = gcd(extents[column], *(d for x in loads for d in _divisors(x, var)))
        bits = 64 if dtype == "float64" else 32
        order, panel_order = _last(len(store.indices), place), _last(len(panel.indices), _axis(panel, var))
        feed_order, sums = tuple(range(len(other.indices))), reduced
        steady = [i for i in reduced if _step(other, axes[i].var) == 1]
        if steady and not last:
            longest = max(steady, key=lambda i: extents[i])
            order_of_feed = _last(len(other.indices), _axis(other, axes[longest].var))
            if order_of_feed != feed_order:
                feed_order, sums = order_of_feed, (*(i for i in reduced if i != longest), longest)
        return Contraction(
            extents, column, row, blocked, outer, sums, width, bits, place_of(panel), panel_order, order,
            place_of(other), feed_order, _step(panel, var),
        )  # fmt: skip

    places = {i: place for place, index in enumerate(store.indices) for i in spatial if index.same_as(axes[i].var)}
    columns = sorted((i for i in places if extents[i] > 1), key=lambda i: -places[i])
    return [found for i in columns if (found := tiled(i, places[i])) is not None]


def _axis(load: Any, var: Any) -> int | None:
    """The axis of a tensor that a variable walks along in steps of one size; None if there isn't exactly one."""
    found = [i for i, index in enumerate(load.indices) if mentions(index, var)]
    return found[0] if len(found) == 1 and (factor_of(load.indices[found[0]], var) or 0) > 0 else None


def _step(load: Any, var: Any) -> int:
    """The size of these steps; 0 if there is no such axis."""
    axis = _axis(load, var)
    return 0 if axis is None else factor_of(load.indices[axis], var) or 0


def _last(rank: int, axis: int | None) -> tuple[int, ...]:
    """All axes, one of them last."""
    others = tuple(i for i in range(rank) if i != axis)
    return others if axis is None else (*others, axis)


def _follows(load: Any, var: Any) -> bool:
    """Whether a variable walks along the axis whose elements are neighbours in memory."""
    return _axis(load, var) == len(load.indices) - 1


def _divisors(load: Any, var: Any) -> list[int]:
    """By what the indices of a load divide a variable: the outputs of a group of a grouped convolution."""
    found: list[int] = []

    def visit(expr: Any) -> None:
        if mentions(expr.a, var) and isinstance(expr.b, tirx.IntImm):
            found.append(int(expr.b))

    for index in load.indices:
        tvm_ffi.structural_walk(index, [(tirx.FloorDiv, visit), (tirx.FloorMod, visit)])
    return found
