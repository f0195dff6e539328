"""Matrix products whose weight is packed in panels: each holds some columns, row after row, in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te

from ...errors import IllTyped
from ..operator import Fusion, Operator, Types, register
from ..types import TensorType
from ._arrays import Array
from ._shapes import NUMBER, check_dtype, check_same_dtype, count
from .layout import call_te


def _infer(types: Types, a: Any) -> TensorType:
    x, w = types
    dtype = check_same_dtype("matmul_panels", types)
    check_dtype("matmul_panels", dtype, NUMBER)
    if len(x.shape) != 2 or len(w.shape) != 3 or not (x.static and w.static) or x.shape[1] != w.shape[1]:
        raise IllTyped(f"matmul_panels doesn't apply to {x} and {w}")
    return TensorType((x.shape[0], w.shape[0], w.shape[2]), dtype)


def _numpy(arrays: Sequence[Array], a: Any) -> Array:
    x, w = arrays
    return np.ascontiguousarray(np.matmul(x, w).transpose(1, 0, 2))


def _compute(x: Any, w: Any) -> Any:
    k = te.reduce_axis((0, w.shape[1]), name="k")
    return te.compute(
        (x.shape[0], w.shape[0], w.shape[2]),
        lambda i, p, j: te.sum(x[i, k] * w[p, k, j], axis=[k]),
        name="matmul_panels",
    )


#: Data (rows, k) and weights (panels, k, columns) make (rows, panels, columns), which is the product row by row.
MATMUL_PANELS: Operator = register(
    Operator(
        name="matmul_panels",
        relax="",
        arity=2,
        infer=_infer,
        numpy=_numpy,
        emit=lambda exprs, a: call_te(_compute, exprs, "matmul_panels"),
        flops=lambda ins, out, a: 2.0 * out.numel() * count(ins[0].shape[1:]),
        fusion=Fusion.OUT_EWISE_FUSABLE,
        linear_in=(0, 1),
    )
)
