"""Tensor types: what shape inference and the e-graph analysis compute with."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from ..errors import IllTyped


class Symbol:
    """A symbolic dimension. Two are equal only if they are the same Relax variable.

    Arithmetic and ordering raise :class:`~tvm_eqsat.errors.IllTyped` on purpose: an inference rule that needs the
    value of a dimension fails, and the operator stays opaque; one that only compares dimensions works for any value.

    Parameters
    ----------
    var : tvm.tirx.Var
        The Relax shape variable.
    hint : int
        The value that the cost model assumes.
    """

    __slots__ = ("hint", "name", "var")

    def __init__(self, var: Any, hint: int = 1) -> None:
        self.var = var
        self.name = str(var.name)
        self.hint = hint

    def __repr__(self) -> str:
        return self.name

    def _unknown(self, *_: Any) -> Any:
        raise IllTyped(f"the value of the symbolic dimension {self.name} isn't known")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = _unknown
    __floordiv__ = __rfloordiv__ = __truediv__ = __rtruediv__ = __mod__ = __rmod__ = _unknown
    __lt__ = __le__ = __gt__ = __ge__ = __int__ = __index__ = _unknown


Dim = int | Symbol


class TensorType(NamedTuple):
    """Shape and dtype of a tensor. ``dtype`` is TVM's spelling, e.g. ``"float32"``."""

    shape: tuple[Dim, ...]
    dtype: str

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def static(self) -> bool:
        """Whether every dimension is a number."""
        return all(type(d) is int for d in self.shape)

    def numel(self) -> int:
        """Number of elements; symbolic dimensions count with their hint."""
        return prod(d.hint if isinstance(d, Symbol) else d for d in self.shape)

    def bytes(self) -> int:
        """Size in bytes; symbolic dimensions count with their hint."""
        return (self.numel() * dtype_bits(self.dtype) + 7) // 8

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.shape))}) {self.dtype}"


class ValueType(NamedTuple):
    """Type of a value that isn't a tensor of known rank (shape, object, tuple…): only opaque operators take it.

    ``key`` makes it equal to nothing but itself, so no rewrite ever unites such classes.
    """

    key: int
    text: str

    def __str__(self) -> str:
        return self.text


def dtype_bits(dtype: str) -> int:
    """Bits per element of a TVM dtype such as ``float32``, ``bool`` or ``float8_e4m3fn``."""
    if dtype == "bool":
        return 8
    digits = ""
    for char in dtype.split("_")[0]:
        if char.isdigit():
            digits += char
        elif digits:
            break
    if not digits:
        raise IllTyped(f"dtype {dtype!r} has no width in bits")
    return int(digits)


def is_float(dtype: str) -> bool:
    """Whether a TVM dtype is a floating-point type."""
    return dtype.startswith(("float", "bfloat"))
