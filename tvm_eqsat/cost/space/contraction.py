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

    Attributes
    ----------
    extents : tuple of int
        Of all loops.
    column : int
        The loop along which neighbours of the output lie in memory.
    row : int or None
        The loop that makes the tile's rows; None if there is no other.
    blocked : int or None
        The loop around the rows whose iterations read the same panel; the row's own if there is no other.
    outer : tuple of int
        The remaining loops over the output.
    reduced : tuple of int
        The loops of the sum.
    width : int
        What the number of a tile's columns must divide.
    bits : int
        Of one value of the sum.
    panel : int
        Which of the buffers that the statement reads is the panel.
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


def contraction_of(block: SBlock) -> Contraction | None:
    """What a register tile of a statement is made of; None if it isn't a sum of floating-point products to be tiled."""
    axes = list(block.iter_vars)
    store = block.body
    if not isinstance(store, tirx.BufferStore) or not all(isinstance(v.dom.extent, tirx.IntImm) for v in axes):
        return None
    value = store.value
    dtype = str(store.buffer.dtype)
    if dtype not in ("float32", "float64") or type(value).__name__ != "Add":
        return None
    loads = [through_casts(x) for x in factors(value.b)]
    if len(loads) != 2 or not all(isinstance(x, TensorLoad) for x in loads):
        return None
    spatial = [i for i, v in enumerate(axes) if v.iter_type == _SPATIAL]
    reduced = tuple(i for i, v in enumerate(axes) if v.iter_type == _REDUCE)
    extents = tuple(int(v.dom.extent) for v in axes)
    if not reduced or len(spatial) + len(reduced) != len(axes):
        return None
    column = next((i for i in spatial if store.indices[-1].same_as(axes[i].var)), None)
    if column is None or extents[column] == 1:
        return None

    def reads(load: Any, axis: int) -> bool:
        return any(mentions(index, axes[axis].var) for index in load.indices)

    along = [x for x in loads if reads(x, column) and _follows(x, axes[column].var)]
    if not along:
        return None
    panel = min(along, key=lambda x: sum(reads(x, i) for i in spatial))
    wide = [i for i in spatial if i != column and extents[i] > 1]
    # rows that share the panel; or else any, whose sums then hide each other's latency
    row = max(wide, key=lambda i: (not reads(panel, i), i), default=None)
    others = [i for i in wide if i != row and not reads(panel, i)]
    blocked = max(others) if others else row
    outer = tuple(i for i in spatial if i not in (column, row, blocked))
    width = gcd(extents[column], *(d for x in loads for d in _divisors(x, axes[column].var)))
    buffers = [region.source for region in block.reads]
    position = next(i for i, buffer in enumerate(buffers) if buffer.same_as(panel.source))
    bits = 64 if dtype == "float64" else 32
    return Contraction(extents, column, row, blocked, outer, reduced, width, bits, position)


def _follows(load: Any, var: Any) -> bool:
    """Whether neighbours along a variable are neighbours in memory."""
    return factor_of(load.indices[-1], var) == 1 and not any(mentions(index, var) for index in load.indices[:-1])


def _divisors(load: Any, var: Any) -> list[int]:
    """By what the indices of a load divide a variable: the outputs of a group of a grouped convolution."""
    found: list[int] = []

    def visit(expr: Any) -> None:
        if mentions(expr.a, var) and isinstance(expr.b, tirx.IntImm):
            found.append(int(expr.b))

    for index in load.indices:
        tvm_ffi.structural_walk(index, [(tirx.FloorDiv, visit), (tirx.FloorMod, visit)])
    return found
