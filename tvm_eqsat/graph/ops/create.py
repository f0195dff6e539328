"""Tensors out of nothing: ``full``, which also reads ``zeros`` and ``ones``."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import ir, relax

from ...errors import IllTyped
from ..operator import BY_RELAX_NAME, REQUIRED, Attrs, Fusion, Operator, Types, no_flops, register
from ..types import Symbol, TensorType
from . import _relax
from ._arrays import numpy_dtype
from ._shapes import ANY, check_dtype


def fill_value(value: Any, dtype: str) -> bool | int | float:
    """``value`` as the Python number that a tensor of ``dtype`` holds."""
    return np.asarray(value).astype(numpy_dtype(dtype)).item()


def _infer(types: Types, a: Any) -> TensorType:
    check_dtype("full", a.dtype, ANY)
    if not all(isinstance(d, Symbol) or d >= 0 for d in a.shape):
        raise IllTyped(f"full: {a.shape} isn't a shape")
    return TensorType(a.shape, a.dtype)


def _read(call: Any) -> tuple[list[Any], Attrs] | None:
    shape = _relax.shape_values(call.args[0]) if call.args else None
    if shape is None or call.attrs is None:
        return None
    dtype = _relax.dtype_name(call.attrs.dtype)
    if call.op.name != "relax.full":
        value: Any = 1 if call.op.name == "relax.ones" else 0
    elif len(call.args) == 2 and isinstance(call.args[1], ir.GenericConst) and _relax.rank(call.args[1]) == 0:
        value = call.args[1].value.numpy()
        dtype = dtype or str(value.dtype)
    else:
        return None
    return [], FULL.make_attrs(value=fill_value(value, dtype), shape=shape, dtype=dtype)


def _emit(exprs: list[Any], a: Any) -> Any:
    shape = relax.ShapeExpr([d.var if isinstance(d, Symbol) else d for d in a.shape])
    return relax.op.full(shape, relax.const(a.value, a.dtype), a.dtype)


def _sample(rng: np.random.Generator, types: Types) -> Attrs:
    dtype = str(rng.choice(["float32", "float16", "int32", "bool"]))
    shape = tuple(int(d) for d in rng.integers(1, 5, rng.integers(0, 4)))
    return FULL.make_attrs(value=fill_value(rng.choice([0.0, 1.0, 2.5, -3.0]), dtype), shape=shape, dtype=dtype)


FULL: Operator = register(
    Operator(
        name="full",
        relax="relax.full",
        arity=0,
        schema={"value": REQUIRED, "shape": REQUIRED, "dtype": "float32"},
        infer=_infer,
        numpy=lambda arrays, a: np.full(a.shape, a.value, numpy_dtype(a.dtype)),
        emit=_emit,
        read=_read,
        flops=no_flops,
        fusion=Fusion.ELEMWISE,
        sample=_sample,
    )
)
BY_RELAX_NAME["relax.zeros"] = BY_RELAX_NAME["relax.ones"] = FULL
