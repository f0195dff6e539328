"""``softmax`` and ``log_softmax``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from ..operator import OPERATORS, REQUIRED, Attrs, Fusion, Operator, Types, register
from ..types import TensorType
from . import _relax
from ._arrays import Array
from ._shapes import FLOAT, check_axis, check_dtype


def _softmax(x: Array, axis: int) -> Array:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis, keepdims=True, dtype=x.dtype))


def _log_softmax(x: Array, axis: int) -> Array:
    shifted = x - x.max(axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis, keepdims=True, dtype=x.dtype)))


def _register(name: str, numpy: Callable[[Array, int], Array]) -> Operator:
    relax_op = getattr(relax.op.nn, name)

    def infer(types: Types, a: Any) -> TensorType:
        x = types[0]
        check_dtype(name, x.dtype, FLOAT)
        check_axis(name, a.axis, len(x.shape))
        return x

    def read(call: Any) -> tuple[list[Any], Attrs] | None:
        args = _relax.operands(call, 1)
        axis = _relax.axis_of(call.attrs.axis, _relax.rank(args[0])) if args and call.attrs is not None else None
        return None if args is None or axis is None else (args, OPERATORS[name].make_attrs(axis=axis))

    return register(
        Operator(
            name=name,
            relax=f"relax.nn.{name}",
            arity=1,
            schema={"axis": REQUIRED},
            infer=infer,
            numpy=lambda arrays, a: numpy(arrays[0], a.axis),
            emit=lambda exprs, a: relax_op(exprs[0], a.axis),
            read=read,
            flops=lambda ins, out, a: 5.0 * out.numel(),
            fusion=Fusion.OUT_EWISE_FUSABLE,
            sample=lambda rng, types: OPERATORS[name].make_attrs(axis=int(rng.integers(0, types[0].rank))),
        )
    )


SOFTMAX = _register("softmax", _softmax)
LOG_SOFTMAX = _register("log_softmax", _log_softmax)
