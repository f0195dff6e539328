"""Shape and dtype arithmetic shared by the operator families.

Plain Python on tuples: inference runs for every e-node, so nothing here touches NumPy or TVM. Dimensions are compared
where that is enough; where a number is needed, a :class:`~tvm_eqsat.graph.types.Symbol` raises
:class:`~tvm_eqsat.errors.IllTyped` by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any

from ...errors import IllTyped
from ..types import Dim, Symbol, TensorType, dtype_bits

Shape = tuple[Dim, ...]

# Groups of dtypes, by the word that the dtype's name begins with.
FLOAT = frozenset({"float", "bfloat"})
SIGNED = FLOAT | {"int"}
NUMBER = SIGNED | {"uint"}
INTEGER = frozenset({"int", "uint"})
BITS = INTEGER | {"bool"}
BOOL = frozenset({"bool"})
ANY = NUMBER | BOOL


@cache
def dtype_word(dtype: str) -> str:
    """``"float"`` of ``"float32"``: the word that a dtype begins with."""
    return dtype.split("_")[0].rstrip("0123456789")


def check_dtype(what: str, dtype: str, allowed: frozenset[str]) -> None:
    """Raise :class:`IllTyped` unless ``dtype`` is one of ``allowed``."""
    if dtype_word(dtype) not in allowed:
        raise IllTyped(f"{what} doesn't apply to {dtype}, only to {', '.join(sorted(allowed))}")


def check_same_dtype(what: str, types: Sequence[TensorType]) -> str:
    """The dtype that all operands share."""
    dtype = types[0].dtype
    for other in types:
        if other.dtype != dtype:
            raise IllTyped(f"{what} needs operands of one dtype, not {dtype} and {other.dtype}")
    return dtype


def accumulator(what: str, dtype: str, out_dtype: str) -> str:
    """Result dtype of an operator with an ``out_dtype`` attribute (empty: the operands' own).

    It may only widen within one kind, floating or integer: ``numpy`` then knows that int64 arrays given to any other
    operator are exact arithmetic, not data to convert.
    """
    if not out_dtype:
        return dtype
    if (dtype_word(dtype) in FLOAT) != (dtype_word(out_dtype) in FLOAT) or dtype_bits(out_dtype) < dtype_bits(dtype):
        raise IllTyped(f"{what} can't accumulate {dtype} in {out_dtype}")
    return out_dtype


def wider(rng: Any, dtype: str) -> str:
    """A random ``out_dtype`` for operands of ``dtype``, for ``sample``."""
    wide = {"float16": "float32", "bfloat16": "float32", "int8": "int32"}.get(dtype, "")
    return wide if rng.integers(2) else ""


def check_axis(what: str, axis: int, rank: int) -> int:
    """``axis``, if it is a canonical axis of a tensor of this rank."""
    if not 0 <= axis < rank:
        raise IllTyped(f"{what}: axis {axis} isn't in a tensor of rank {rank}")
    return axis


def check_axes(what: str, axes: Sequence[int], rank: int) -> None:
    """Raise :class:`IllTyped` unless ``axes`` are non-empty, strictly ascending axes of a tensor of this rank."""
    last = -1
    for axis in axes:
        if axis <= last:
            raise IllTyped(f"{what}: axes {tuple(axes)} aren't in ascending order")
        last = axis
    if not axes or last >= rank:
        raise IllTyped(f"{what}: axes {tuple(axes)} don't fit a tensor of rank {rank}")


def broadcast(a: Shape, b: Shape) -> Shape:
    """NumPy's broadcasting. Equal symbols agree; a symbol never stretches."""
    if a == b:
        return a
    if len(a) < len(b):
        a, b = b, a
    out = list(a)
    for i, dim in enumerate(b, len(a) - len(b)):
        if out[i] == dim or dim == 1:
            continue
        if out[i] != 1:
            raise IllTyped(f"shapes {a} and {b} don't broadcast")
        out[i] = dim
    return tuple(out)


def same_size(a: Shape, b: Shape) -> bool:
    """Whether two shapes surely have equally many elements: same product of numbers, same symbols."""
    return _size(a) == _size(b)


def _size(shape: Shape) -> tuple[int, list[int]]:
    numbers = 1
    symbols = []
    for dim in shape:
        if isinstance(dim, Symbol):
            symbols.append(id(dim))
        else:
            numbers *= dim
    return numbers, sorted(symbols)


def window(size: Dim, kernel: Dim, stride: int, before: int, after: int, dilation: int, ceil: bool = False) -> Dim:
    """Number of positions of a sliding window along one dimension.

    With ``ceil``, a last partial window counts unless it would start in the padding behind the data.
    """
    if kernel == 1 and stride == 1 and before == 0 and after == 0:
        return size
    if kernel < 1 or stride < 1 or dilation < 1 or before < 0 or after < 0:
        raise IllTyped(f"no window has size {kernel}, stride {stride}, dilation {dilation}, padding {before}, {after}")
    room = size + before + after - dilation * (kernel - 1) - 1
    if room < 0:
        raise IllTyped(f"a window of size {kernel} (dilation {dilation}) doesn't fit in {size} (+{before} +{after})")
    if not ceil:
        return int(room // stride + 1)
    count = (room + stride - 1) // stride + 1
    return int(count - 1 if (count - 1) * stride >= size + before else count)


@cache
def layout_axes(layout: str, letters: str) -> tuple[int, ...]:
    """Position in ``layout`` of each of ``letters``, e.g. ``("NHWC", "NCHW")`` -> ``(0, 3, 1, 2)``."""
    if len(layout) != len(letters) or set(layout) != set(letters):
        raise IllTyped(f"layout {layout!r} isn't an order of {letters!r}")
    return tuple(layout.index(letter) for letter in letters)


def is_layout(layout: str, letters: str) -> bool:
    """Whether ``layout`` is an order of ``letters`` (no split dimensions)."""
    return len(layout) == len(letters) and set(layout) == set(letters)


def in_layout(canonical: Sequence[Any], axes: Sequence[int]) -> tuple[Any, ...]:
    """Values in the order of a layout, from the order of the letters given to :func:`layout_axes`."""
    out: list[Any] = [None] * len(axes)
    for axis, value in zip(axes, canonical, strict=True):
        out[axis] = value
    return tuple(out)


def count(dims: Sequence[Dim]) -> int:
    """Product of dimensions; symbols count with their hint. For FLOPs only."""
    return prod(d.hint if isinstance(d, Symbol) else d for d in dims)
