"""Winograd's algorithm for 3×3 filters: its matrices, and the loops that multiply tiles by them.

F(m×m, 3×3) computes m² results of a convolution from a tile of (m + 2)² values with (m + 2)² multiplications in each
channel instead of 9 m²: 2.25 times fewer for m = 2, 4 times fewer for m = 4 (Lavin and Gray, CVPR'16). It evaluates
filter and tile as polynomials, multiplies the values, and interpolates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from math import prod
from typing import Any, NamedTuple

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T
from tvm.target import Target

from ...errors import IllTyped
from ..types import TensorType

#: Size of the filters.
TAPS = 3
#: Where polynomials are evaluated (and at infinity), as fractions. These points give the smallest rounding errors
#: (Barabasz et al., ACM TOMS 46(4), 2020).
_POINTS = {2: ((0, 1), (1, 1), (-1, 1)), 4: ((0, 1), (1, 1), (-1, 1), (1, 2), (-2, 1))}
# Channels that one step of the loops treats together: one vector of the widest machines, some of the others. Measured
# with AVX2 for F(4×4), 56×56×64: 8 channels 0.27 ms, 16 0.14 ms, 64 0.64 ms.
_LANES = 16

Matrix = tuple[tuple[Any, ...], ...]


class Matrices(NamedTuple):
    """``y = output · ((weight · g) * (data · d))`` is the convolution of d, m + 2 values, with g, three of them.

    Attributes
    ----------
    data : Matrix
        (m + 2) × (m + 2) integers.
    weight : Matrix
        (m + 2) × 3 fractions.
    output : Matrix
        m × (m + 2) integers.
    """

    data: Matrix
    weight: Matrix
    output: Matrix


@cache
def matrices(tile: int) -> Matrices:
    """The matrices of F(tile, 3), by Toom and Cook.

    Parameters
    ----------
    tile : int
        Results of one tile: 2 or 4.

    Raises
    ------
    IllTyped
        There is none for this size.
    """
    if tile not in _POINTS:
        raise IllTyped(f"Winograd's algorithm is known for tiles of {', '.join(map(str, _POINTS))}, not of {tile}")
    points = _POINTS[tile]
    output = [[a**i * b ** (tile - 1 - i) for a, b in points] + [int(i == tile - 1)] for i in range(tile)]
    others = [[q for q in points if q != p] for p in points]
    data = [[*_with_roots(roots), 0] for roots in others] + [_with_roots(points)]
    weight = []
    for (a, b), roots in zip(points, others, strict=True):
        scale = b ** (tile - 1) * prod((Fraction(a, b) - Fraction(c, d)) * d for c, d in roots)
        weight.append([Fraction(a, b) ** k / scale for k in range(TAPS)])
    weight.append([Fraction(k == TAPS - 1) / prod(b for _, b in points) for k in range(TAPS)])
    return Matrices(*(tuple(map(tuple, rows)) for rows in (data, weight, output)))


def _with_roots(roots: Sequence[tuple[int, int]]) -> list[int]:
    """Coefficients, from the constant one, of the product of ``b x - a``."""
    found = [1]
    for a, b in roots:
        found = [b * low - a * high for low, high in zip([0, *found], [*found, 0], strict=True)]
    return found


Load = Callable[[Any, Any, int, int], Any]
Place = Callable[[Any, int, int], tuple[list[Any], Any]]


def transform(name: str, x: TensorType, out: TensorType, matrix: Matrix, tiles: int, load: Load, place: Place) -> Any:
    """Loops that compute ``matrix · tile · matrixᵀ`` for every tile and channel.

    For CPUs they are scheduled already: tiles in parallel, channels in vectors, everything inside of a tile written
    out. There is nothing to choose, and MetaSchedule, which knows no statements with several results, would find it
    hard. For other targets the loops are left to TVM.

    Parameters
    ----------
    name : str
        Of the statement.
    x, out : TensorType
        The operand and the result; the last axis of the result is the channel.
    matrix : Matrix
        Rows of coefficients.
    tiles : int
        How many tiles there are.
    load : callable
        ``(buffer, tile, row, column)`` gives a function from the channel to an element of the tile.
    place : callable
        ``(tile, row, column)`` gives the leading indices of an element of the result, and the condition on which it
        exists or None.

    Returns
    -------
    tvm.tirx.PrimFunc
    """
    lanes = next(n for n in range(_LANES, 0, -1) if int(out.shape[-1]) % n == 0)
    size, results = range(len(matrix[0])), range(len(matrix))
    here = Target.current(allow_none=True)
    cpu = here is None or here.kind.name in ("llvm", "c")
    loops = (T.parallel if cpu else T.serial, T.vectorized if cpu and lanes > 1 else T.serial)
    # MetaSchedule leaves loops with annotations as they are. It would fuse these, into vectors that reach over the end
    # of a tile, and TVM then vectorises conditions wrongly.
    kept = {"tvm_eqsat.scheduled": True}
    rows, channels, groups, width = _int64([tiles, out.shape[-1], out.shape[-1] // lanes, lanes])
    with IRBuilder() as builder:
        with T.prim_func(s_tir=True):
            T.func_attr({"tirx.noalias": True})
            source = T.arg("x", T.buffer(_int64(x.shape), x.dtype))
            target = T.arg("y", T.buffer(_int64(out.shape), out.dtype))
            with (
                T.sblock("root"),
                loops[0](rows, annotations=kept) as i,
                T.serial(groups) as j,
                loops[1](width, annotations=kept) as k,
            ):
                with T.sblock(name):
                    tile, channel = T.axis.spatial(rows, i), T.axis.spatial(channels, j * width + k)
                    T.reads(source[_everything(x.shape)])
                    T.writes(target[tuple([*_everything(out.shape[:-1]), channel])])
                    T.sblock_attr({"schedule_rule": "None"})  # nothing to tile
                    columns = [[T.Bind(load(source, tile, r, c)(channel)) for r in size] for c in size]
                    halves = [[T.Bind(_dot(row, column)) for row in matrix] for column in columns]
                    for r in results:
                        for c in results:
                            index, exists = place(tile, r, c)
                            value = _dot(matrix[c], [half[r] for half in halves])
                            if exists is None:
                                T.buffer_store(target, value, [*index, channel])
                                continue
                            with T.If(exists), T.Then():
                                T.buffer_store(target, value, [*index, channel])
    return builder.get()


def _int64(values: Sequence[Any]) -> list[Any]:
    """Extents of the type that TVM gives them: buffers of other types don't meet in one kernel."""
    return [tirx.IntImm("int64", int(value)) for value in values]


def _everything(shape: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(slice(0, d) for d in shape)


def _dot(row: Sequence[Any], values: Sequence[Any]) -> Any:
    """The sum of values with coefficients, as few operations: those of 1 and 0 cost none."""
    terms = sorted((c < 0, i) for i, c in enumerate(row) if c)  # positive ones first: nothing is negated
    found = None
    for negative, i in terms:
        value, factor = values[i], abs(float(row[i]))
        if factor != 1:
            value = value * tirx.const(factor, value.ty.dtype)
        if found is None:
            found = -value if negative else value
        else:
            found = found - value if negative else found + value
    return found
