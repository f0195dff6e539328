"""Matrix multiplication. Transposes are separate ``permute_dims`` nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from ...errors import IllTyped
from ..operator import Attrs, Fusion, Operator, Types, register
from ..types import TensorType
from . import _relax
from ._arrays import Array, accumulate_in
from ._shapes import NUMBER, accumulator, broadcast, check_dtype, check_same_dtype, count, wider


def _infer(types: Types, a: Any) -> TensorType:
    x, y = types[0].shape, types[1].shape
    dtype = check_same_dtype("matmul", types)
    check_dtype("matmul", dtype, NUMBER)
    if not x or not y:
        raise IllTyped("matmul doesn't apply to scalars")
    rows, columns = x[-2:-1], y[-1:] if len(y) > 1 else ()
    if x[-1] != y[-2 if len(y) > 1 else 0]:
        raise IllTyped(f"matmul: {x} and {y} differ in the dimension that is summed over")
    shape = broadcast(x[:-2], y[:-2]) + rows + columns
    return TensorType(shape, accumulator("matmul", dtype, a.out_dtype))


def _numpy(arrays: Any, a: Any) -> Array:
    x, y = (accumulate_in(array, a.out_dtype) for array in arrays)
    return np.asarray(np.matmul(x, y)).astype(np.result_type(x, y), copy=False)  # (NumPy widens bfloat16)


def _read(call: Any) -> tuple[list[Any], Attrs] | None:
    args = _relax.operands(call, 2)
    if args is None or call.attrs is None:
        return None
    return args, MATMUL.make_attrs(out_dtype=_relax.out_dtype(call, args[0]))


MATMUL: Operator = register(
    Operator(
        name="matmul",
        relax="relax.matmul",
        arity=2,
        schema={"out_dtype": ""},  # empty: the operands' dtype
        infer=_infer,
        numpy=_numpy,
        emit=lambda exprs, a: relax.op.matmul(exprs[0], exprs[1], out_dtype=a.out_dtype or None),
        read=_read,
        flops=lambda ins, out, a: 2.0 * out.numel() * count(ins[0].shape[-1:]),
        fusion=Fusion.OUT_EWISE_FUSABLE,
        linear_in=(0, 1),
        sample=lambda rng, types: MATMUL.make_attrs(out_dtype=wider(rng, types[0].dtype)),
    )
)
