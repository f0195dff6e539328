"""Reading Relax calls: everything here answers None for what can't be known, and never raises on odd calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tvm import ir, relax
from tvm.tirx import FloatImm, IntImm


def operands(call: Any, count: int) -> list[Any] | None:
    """The operands of a call that has exactly ``count``, all of them tensors as far as one can see."""
    args = list(call.args)
    return args if len(args) == count and all(map(may_be_tensor, args)) else None


def tuple_operands(call: Any) -> list[Any] | None:
    """The operands of a call whose only argument is a literal tuple of them, as in ``concat``."""
    if len(call.args) != 1 or not isinstance(call.args[0], relax.Tuple):
        return None
    args = list(call.args[0].fields)
    return args if args and all(map(may_be_tensor, args)) else None


def may_be_tensor(expr: Any) -> bool:
    """Whether an argument can be a tensor: it isn't a scalar value, a shape or a literal tuple."""
    return not (ir.is_prim_expr(expr) or isinstance(expr, relax.ShapeExpr | relax.Tuple))


def rank(expr: Any) -> int | None:
    """Rank of a tensor expression, None where it isn't known."""
    ndim = getattr(expr.ty, "ndim", -1)
    return ndim if isinstance(ndim, int) and ndim >= 0 else None


def static_shape(expr: Any) -> tuple[int, ...] | None:
    """Shape of a tensor expression, None unless every dimension is a number."""
    return shape_values(getattr(expr.ty, "shape", None))


def shape_values(shape: Any) -> tuple[int, ...] | None:
    """Values of a literal shape, None unless every one is a number."""
    return ints(shape.values) if isinstance(shape, relax.ShapeExpr) else None


def dtype(expr: Any) -> str | None:
    """Dtype of a tensor expression, None where it isn't known."""
    found = getattr(expr.ty, "dtype", None)
    return dtype_name(found) if found is not None else None


def dtype_name(value: Any) -> str:
    """TVM's spelling of a dtype attribute; ``""`` for None."""
    return "" if value is None else str(getattr(value, "dtype", value))


def out_dtype(call: Any, operand: Any) -> str:
    """Canonical ``out_dtype`` attribute: empty where it says what the operand's dtype already implies."""
    name = dtype_name(call.attrs.out_dtype)
    return "" if name == dtype(operand) else name


def ints(values: Iterable[Any]) -> tuple[int, ...] | None:
    """Integers out of Python or TVM ones, None if one of them is symbolic."""
    out = []
    for value in values:
        number = scalar(value)
        if type(number) is not int:
            return None
        out.append(number)
    return tuple(out)


def scalar(value: Any) -> int | float | None:
    """The number that a Python or TVM immediate holds, None for anything else."""
    if isinstance(value, IntImm | FloatImm):
        return value.value
    return value if isinstance(value, int | float) else None


def axis_of(axis: Any, rank: int | None) -> int | None:
    """Canonical non-negative axis, None if it doesn't exist."""
    if axis is None or rank is None or not -rank <= axis < rank:
        return None
    return int(axis) % rank


def axes_of(axes: Any, rank: int | None) -> tuple[int, ...] | None:
    """Canonical axes in the given order (all of them for None); None if one doesn't exist or comes twice."""
    if rank is None:
        return None
    if axes is None:
        return tuple(range(rank))
    out = [axis_of(axis, rank) for axis in axes]
    return None if None in out or len(set(out)) < len(out) else tuple(out)  # type: ignore[arg-type]
