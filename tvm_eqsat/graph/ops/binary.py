"""Binary elementwise operators with NumPy's broadcasting, and ``where``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from ..operator import OPERATORS, Attrs, Fusion, Operator, Types, register
from ..types import TensorType
from . import _relax
from ._arrays import Array, trunc_divide
from ._shapes import BITS, BOOL, FLOAT, NUMBER, broadcast, check_dtype, check_same_dtype

op = relax.op


def _register(
    name: str,
    numpy: Callable[[Array, Array], Any],
    domain: frozenset[str] = NUMBER,
    *,
    out_dtype: str = "",
    flops: int = 1,
    linear_in: tuple[int, ...] = (),
    jointly: bool = False,
) -> Operator:
    """Register a binary operator that Relax knows by the same name."""
    relax_op = getattr(op, name)

    def infer(types: Types, attrs: Any) -> TensorType:
        a, b = types
        if a.dtype != b.dtype:
            check_same_dtype(name, types)
        check_dtype(name, a.dtype, domain)
        if a.shape == b.shape and not out_dtype:
            return a
        return TensorType(broadcast(a.shape, b.shape), out_dtype or a.dtype)

    return register(
        Operator(
            name=name,
            relax=f"relax.{name}",
            arity=2,
            infer=infer,
            numpy=lambda arrays, a: np.asarray(numpy(arrays[0], arrays[1])),
            emit=lambda exprs, a: relax_op(exprs[0], exprs[1]),
            read=lambda call: _read(name, call, 2),
            flops=lambda ins, out, a: float(flops * out.numel()),
            fusion=Fusion.BROADCAST,
            linear_in=linear_in,
            jointly_linear=jointly,
        )
    )


def _read(name: str, call: Any, count: int) -> tuple[list[Any], Attrs] | None:
    args = _relax.operands(call, count)
    return None if args is None else (args, OPERATORS[name].make_attrs())


def _floor_divide(a: Array, b: Array) -> Any:
    return np.floor_divide(a, b) if a.dtype.kind in "iu" else np.floor(a / b)


ADD = _register("add", np.add, linear_in=(0, 1), jointly=True)
SUBTRACT = _register("subtract", np.subtract, linear_in=(0, 1), jointly=True)
MULTIPLY = _register("multiply", np.multiply, linear_in=(0, 1))
DIVIDE = _register("divide", trunc_divide)
POWER = _register("power", np.power, FLOAT)
MAXIMUM = _register("maximum", np.maximum)
MINIMUM = _register("minimum", np.minimum)
FLOOR_DIVIDE = _register("floor_divide", _floor_divide, flops=2)
MOD = _register("mod", np.fmod)
FLOOR_MOD = _register("floor_mod", lambda a, b: a - _floor_divide(a, b) * b, flops=4)

EQUAL = _register("equal", np.equal, out_dtype="bool")
NOT_EQUAL = _register("not_equal", np.not_equal, out_dtype="bool")
LESS = _register("less", np.less, out_dtype="bool")
LESS_EQUAL = _register("less_equal", np.less_equal, out_dtype="bool")
GREATER = _register("greater", np.greater, out_dtype="bool")
GREATER_EQUAL = _register("greater_equal", np.greater_equal, out_dtype="bool")

LOGICAL_AND = _register("logical_and", np.logical_and, BOOL)
LOGICAL_OR = _register("logical_or", np.logical_or, BOOL)
LOGICAL_XOR = _register("logical_xor", np.logical_xor, BOOL)
BITWISE_AND = _register("bitwise_and", np.bitwise_and, BITS)
BITWISE_OR = _register("bitwise_or", np.bitwise_or, BITS)
BITWISE_XOR = _register("bitwise_xor", np.bitwise_xor, BITS)


def _infer_where(types: Types, attrs: Any) -> TensorType:
    condition, x, y = types
    check_dtype("where", condition.dtype, BOOL)
    dtype = check_same_dtype("where", types[1:])
    return TensorType(broadcast(condition.shape, broadcast(x.shape, y.shape)), dtype)


WHERE: Operator = register(
    Operator(
        name="where",
        relax="relax.where",
        arity=3,
        infer=_infer_where,
        numpy=lambda arrays, a: np.where(*arrays),
        emit=lambda exprs, a: op.where(*exprs),
        read=lambda call: _read("where", call, 3),
        fusion=Fusion.BROADCAST,
        linear_in=(1, 2),
        jointly_linear=True,
    )
)
