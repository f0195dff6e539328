"""The sum of a convolution that was computed as one matrix product: each tap's results, moved to where they belong.

EinNet's offset-reduce (Zheng et al., OSDI'23, §2): a product of every pixel with every tap of the kernel comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import te, tirx

from ...errors import IllTyped
from ..operator import Attrs, Fusion, Operator, Types, register
from ..types import TensorType
from ._arrays import Array
from ._shapes import NUMBER, check_dtype, count, window
from .conv import check_lengths, pad_spatial, sample_window
from .layout import call_te


def _infer(types: Types, a: Any) -> TensorType:
    (y,) = types
    check_dtype("shifted_sum", y.dtype, NUMBER)
    if len(y.shape) != 6 or not y.static:
        raise IllTyped(f"shifted_sum doesn't apply to {y}")
    check_lengths("shifted_sum", 2, a.strides, a.dilation, a.padding[:2], a.padding[2:])
    return TensorType(_result(y.shape, a), y.dtype)


def _result(shape: Sequence[Any], a: Any) -> tuple[Any, ...]:
    n, *sizes, kh, kw, filters = shape
    rows, columns = (
        window(sizes[k], (kh, kw)[k], a.strides[k], a.padding[k], a.padding[2 + k], a.dilation[k]) for k in range(2)
    )
    return n, rows, columns, filters


def _numpy(arrays: Sequence[Array], a: Any) -> Array:
    (y,) = arrays
    _, rows, columns, _ = shape = _result(y.shape, a)
    padded = np.moveaxis(pad_spatial(np.moveaxis(y, (1, 2), (-2, -1)), a.padding), (-2, -1), (1, 2))
    out = np.zeros(shape, y.dtype)
    for r, s in np.ndindex(*y.shape[3:5]):
        top, left = r * a.dilation[0], s * a.dilation[1]
        down = slice(top, top + rows * a.strides[0], a.strides[0])
        across = slice(left, left + columns * a.strides[1], a.strides[1])
        out += padded[:, down, across, r, s][:, :rows, :columns]
    return out


def _compute(y: Any, a: Any) -> Any:
    shape = [int(d) for d in y.shape]
    _, height, width, kh, kw, _ = shape
    r, s = te.reduce_axis((0, kh), name="r"), te.reduce_axis((0, kw), name="s")

    def element(n: Any, i: Any, j: Any, f: Any) -> Any:
        h = i * a.strides[0] + r * a.dilation[0] - a.padding[0]
        v = j * a.strides[1] + s * a.dilation[1] - a.padding[1]
        place = y[n, h, v, r, s, f]
        if not any(a.padding):
            return te.sum(place, axis=[r, s])
        inside = tirx.all(h >= 0, h < height, v >= 0, v < width)
        return te.sum(tirx.if_then_else(inside, place, tirx.const(0, y.dtype)), axis=[r, s])

    return te.compute(_result(shape, a), element, name="shifted_sum")


def _sample(rng: np.random.Generator, types: Types) -> Attrs:
    _, height, width, kh, kw, _ = (int(d) for d in types[0].shape)
    drawn: dict[str, Any] = sample_window(rng, [height, width], [kh, kw])
    return SHIFTED_SUM.make_attrs(**drawn)


#: Products (n, height, width, kernel height, kernel width, filters) make (n, rows, columns, filters).
SHIFTED_SUM: Operator = register(
    Operator(
        name="shifted_sum",
        relax="",
        arity=1,
        schema={"strides": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)},
        infer=_infer,
        numpy=_numpy,
        emit=lambda exprs, a: call_te(_compute, exprs, "shifted_sum", a),
        flops=lambda ins, out, a: float(out.numel() * count(ins[0].shape[3:5])),
        fusion=Fusion.OUT_EWISE_FUSABLE,
        linear_in=(0,),
        sample=_sample,
    )
)
