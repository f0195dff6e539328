"""Winograd's algorithm as operators: transforms of weight, data and result around one batched matmul.

``conv2d(x, w) = winograd_output(matmul(winograd_input(x), winograd_weight(w)))`` for a 3×3 convolution of stride 1,
with NHWC data and an HWIO weight. The matmul has one batch entry for each of the (tile + 2)² points, the tiles of all
images as its rows, and channels as columns: what is multiplied stays contiguous along channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from tvm import relax, tirx

from ...errors import IllTyped
from ..operator import REQUIRED, Fusion, Operator, Types, register
from ..types import TensorType
from ._arrays import Array, windows
from ._shapes import check_same_dtype, count
from ._winograd import TAPS, Matrix, matrices, transform
from .conv import pad_spatial

_DTYPES = ("float32", "float64")  # half precision has no bits to spare


def tile_counts(rows: int, columns: int, tile: int) -> tuple[int, int]:
    """How many tiles cover an image of results, down and across."""
    return -(-rows // tile), -(-columns // tile)


def _check(name: str, types: Types, rank: int) -> str:
    dtype = check_same_dtype(name, types)
    if dtype not in _DTYPES or len(types[0].shape) != rank or not types[0].static:
        raise IllTyped(f"{name} needs a static tensor of rank {rank} and type {' or '.join(_DTYPES)}, not {types[0]}")
    return dtype


def _array(matrix: Matrix, like: Array) -> Array:
    """A matrix in the arithmetic of an array: floating point, or exact."""
    exact = like.dtype.kind in "iuO"
    whole = all(Fraction(c).denominator == 1 for row in matrix for c in row)
    values = [[int(c) if whole else Fraction(c) for c in row] for row in matrix]
    dtype = (like.dtype if whole and like.dtype != object else object) if exact else like.dtype
    return np.array(values, dtype) if exact else np.array(values, np.float64).astype(dtype)


def _both_sides(matrix: Matrix, tiles: Array) -> Array:
    """``matrix · tile · matrixᵀ`` for the matrices in the last two axes."""
    m = _array(matrix, tiles)
    return np.matmul(np.matmul(m, tiles), m.T)


def _emit(name: str, loops: Callable[[TensorType, Any], tuple[tirx.PrimFunc, TensorType]]) -> Any:
    """How a call of loops is written, which become a function of the module that is being built.

    Equal operators have the very same loops in all programs, so that they are recognised at once.
    """
    remembered = lru_cache(maxsize=1024)(loops)

    def emit(exprs: list[Any], a: Any) -> Any:
        func, out = remembered(_type_of(exprs[0]), a)
        builder = relax.BlockBuilder.current() or relax.BlockBuilder()
        return relax.call_tir(builder.add_func(func, name), exprs, relax.TensorType(out.shape, out.dtype))

    return emit


def _type_of(expr: Any) -> TensorType:
    return TensorType(tuple(int(d) for d in expr.ty.shape.values), str(expr.ty.dtype.dtype))


# -- weight ------------------------------------------------------------------------------------------------------------


def _weight_infer(types: Types, a: Any) -> TensorType:
    dtype, points = _check("winograd_weight", types, 4), len(matrices(a.tile).weight)
    height, width, inputs, filters = types[0].shape
    if (height, width) != (TAPS, TAPS):
        raise IllTyped(f"winograd_weight needs a {TAPS}×{TAPS} kernel in HWIO, not {types[0]}")
    return TensorType((points**2, inputs, filters), dtype)


def _weight_numpy(arrays: Sequence[Array], a: Any) -> Array:
    w = arrays[0] if arrays[0].dtype.kind != "f" else arrays[0].astype(np.float64)  # rounded once, at the end
    matrix = _array(matrices(a.tile).weight, w)
    found = np.matmul(np.kron(matrix, matrix), w.reshape(TAPS**2, -1))
    dtype = found.dtype if found.dtype == object else arrays[0].dtype
    return found.reshape(-1, *w.shape[2:]).astype(dtype, copy=False)


def _weight_loops(x: TensorType, a: Any) -> tuple[tirx.PrimFunc, TensorType]:
    out, matrix = _weight_infer([x], a), matrices(a.tile).weight
    func = transform(
        "winograd_weight", x, out, matrix, int(x.shape[2]),
        lambda w, tile, r, c: lambda channel: w[r, c, tile, channel],
        lambda tile, r, c: ([r * len(matrix) + c, tile], None),
    )  # fmt: skip
    return func, out


# -- data --------------------------------------------------------------------------------------------------------------


def _results(shape: Sequence[Any], a: Any) -> tuple[int, int]:
    """Rows and columns of the convolution's result."""
    top, left, bottom, right = a.padding
    rows, columns = shape[1] + top + bottom - (TAPS - 1), shape[2] + left + right - (TAPS - 1)
    if min(a.padding) < 0 or rows < 1 or columns < 1:
        raise IllTyped(f"a {TAPS}×{TAPS} window doesn't fit in {shape} with padding {a.padding}")
    return rows, columns


def _input_infer(types: Types, a: Any) -> TensorType:
    dtype, points = _check("winograd_input", types, 4), len(matrices(a.tile).data)
    batch, channels = types[0].shape[0], types[0].shape[3]
    down, across = tile_counts(*_results(types[0].shape, a), a.tile)
    return TensorType((points**2, batch * down * across, channels), dtype)


def _input_numpy(arrays: Sequence[Array], a: Any) -> Array:
    x = arrays[0]
    rows, columns = _results(x.shape, a)
    down, across = tile_counts(rows, columns, a.tile)
    top, left, bottom, right = a.padding
    padding = top, left, bottom + down * a.tile - rows, right + across * a.tile - columns
    matrix = matrices(a.tile).data
    tiles = windows(pad_spatial(x.transpose(0, 3, 1, 2), padding), (len(matrix),) * 2, (a.tile,) * 2, (1, 1))
    found = _both_sides(matrix, tiles)  # (batch, channels, down, across, points, points)
    return np.ascontiguousarray(found.transpose(4, 5, 0, 2, 3, 1)).reshape(len(matrix) ** 2, -1, x.shape[3])


def _input_loops(x: TensorType, a: Any) -> tuple[tirx.PrimFunc, TensorType]:
    out, matrix = _input_infer([x], a), matrices(a.tile).data
    batch, height, width, _ = (int(d) for d in x.shape)
    down, across = tile_counts(*_results(x.shape, a), a.tile)
    top, left = a.padding[:2]

    def load(source: Any, tile: Any, r: int, c: int) -> Any:
        h, w = tile // across % down * a.tile + (r - top), tile % across * a.tile + (c - left)
        # conditions only where some tile needs them
        inside = [h >= 0] * (r < top) + [h < height] * ((down - 1) * a.tile + r - top >= height)
        inside += [w >= 0] * (c < left) + [w < width] * ((across - 1) * a.tile + c - left >= width)

        def element(channel: Any) -> Any:
            value = source[tile // (down * across), h, w, channel]
            if not inside:
                return value
            return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, x.dtype))

        return element

    func = transform(
        "winograd_input", x, out, matrix, batch * down * across,
        load,
        lambda tile, r, c: ([r * len(matrix) + c, tile], None),
    )  # fmt: skip
    return func, out


# -- result ------------------------------------------------------------------------------------------------------------


def _output_infer(types: Types, a: Any) -> TensorType:
    dtype, points = _check("winograd_output", types, 3), len(matrices(a.tile).data)
    batch, rows, columns = a.shape
    down, across = tile_counts(rows, columns, a.tile)
    if min(a.shape) < 1 or types[0].shape[:2] != (points**2, batch * down * across):
        raise IllTyped(f"winograd_output: {types[0]} isn't made of tiles of {a.tile} of results of shape {a.shape}")
    return TensorType((batch, rows, columns, types[0].shape[2]), dtype)


def _output_numpy(arrays: Sequence[Array], a: Any) -> Array:
    batch, rows, columns = a.shape
    matrix = matrices(a.tile).output
    down, across = tile_counts(rows, columns, a.tile)
    tiles = arrays[0].reshape(len(matrix[0]), len(matrix[0]), batch, down, across, -1).transpose(2, 3, 4, 5, 0, 1)
    found = _both_sides(matrix, tiles).transpose(0, 1, 4, 2, 5, 3)  # (batch, down, tile, across, tile, channels)
    whole = found.reshape(batch, down * a.tile, across * a.tile, -1)
    return np.ascontiguousarray(whole[:, :rows, :columns])


def _output_loops(x: TensorType, a: Any) -> tuple[tirx.PrimFunc, TensorType]:
    out, matrix = _output_infer([x], a), matrices(a.tile).output
    batch, rows, columns = a.shape
    down, across = tile_counts(rows, columns, a.tile)

    def place(tile: Any, r: int, c: int) -> tuple[list[Any], Any]:
        h, w = tile // across % down * a.tile + r, tile % across * a.tile + c
        exists = [h < rows] * (down * a.tile - a.tile + r >= rows)
        exists += [w < columns] * (across * a.tile - a.tile + c >= columns)
        return [tile // (down * across), h, w], tirx.all(*exists) if exists else None

    func = transform(
        "winograd_output", x, out, matrix, batch * down * across,
        lambda m, tile, r, c: lambda channel: m[r * len(matrix[0]) + c, tile, channel],
        place,
    )  # fmt: skip
    # TVM's own analysis takes a statement with several results for opaque. Like a convolution, it can be followed by
    # elementwise operators in one kernel.
    return func.with_attr("op_pattern", int(Fusion.OUT_EWISE_FUSABLE)), out


# -- the records -------------------------------------------------------------------------------------------------------


def _flops(matrix: Matrix, tiles: float) -> float:
    """FLOPs of ``matrix · tile · matrixᵀ``: additions, and multiplications by what isn't 1 or -1."""
    rows = [[c for c in row if c] for row in matrix]
    once = sum(len(row) - 1 + sum(abs(c) != 1 for c in row) for row in rows)
    return float(tiles * once * (len(matrix) + len(matrix[0])))


def _sample_tile(rng: np.random.Generator) -> int:
    return int(rng.choice((2, 4)))


def _sample_input(rng: np.random.Generator, types: Types) -> Any:
    """Padding with which the window fits."""
    _, height, width, _ = types[0].shape
    low = [max(0, TAPS - d) for d in (height, width)] * 2
    padding = tuple(int(rng.integers(least, least + 3)) for least in low)
    return WINOGRAD_INPUT.make_attrs(tile=_sample_tile(rng), padding=padding)


def _sample_output(rng: np.random.Generator, types: Types) -> Any:
    """Any way to make an image of the tiles."""
    points, tiles, _ = (int(d) for d in types[0].shape)
    tile = {16: 2, 36: 4}.get(points, 0)
    if not tile:
        raise IllTyped(f"{points} points aren't a tile of Winograd's")
    batch = int(rng.choice([d for d in range(1, tiles + 1) if tiles % d == 0]))
    down = int(rng.choice([d for d in range(1, tiles // batch + 1) if tiles // batch % d == 0]))
    sizes = [n * tile - int(rng.integers(tile)) for n in (down, tiles // batch // down)]
    return WINOGRAD_OUTPUT.make_attrs(tile=tile, shape=(batch, *sizes))


WINOGRAD_WEIGHT: Operator = register(
    Operator(
        name="winograd_weight",
        relax="",
        arity=1,
        schema={"tile": REQUIRED},
        infer=_weight_infer,
        numpy=_weight_numpy,
        emit=_emit("winograd_weight", _weight_loops),
        flops=lambda ins, out, a: _flops(matrices(a.tile).weight, count(out.shape[1:])),
        sample=lambda rng, types: WINOGRAD_WEIGHT.make_attrs(tile=_sample_tile(rng)),
    )
)

WINOGRAD_INPUT: Operator = register(
    Operator(
        name="winograd_input",
        relax="",
        arity=1,
        schema={"tile": REQUIRED, "padding": (0, 0, 0, 0)},  # padding: top, left, bottom, right
        infer=_input_infer,
        numpy=_input_numpy,
        emit=_emit("winograd_input", _input_loops),
        flops=lambda ins, out, a: _flops(matrices(a.tile).data, count(out.shape[1:])),
        linear_in=(0,),
        sample=_sample_input,
    )
)

WINOGRAD_OUTPUT: Operator = register(
    Operator(
        name="winograd_output",
        relax="",
        arity=1,
        schema={"tile": REQUIRED, "shape": REQUIRED},  # shape: images, rows, columns of the result
        infer=_output_infer,
        numpy=_output_numpy,
        emit=_emit("winograd_output", _output_loops),
        flops=lambda ins, out, a: _flops(matrices(a.tile).output, count(ins[0].shape[1:])),
        fusion=Fusion.OUT_EWISE_FUSABLE,
        linear_in=(0,),
        sample=_sample_output,
    )
)
