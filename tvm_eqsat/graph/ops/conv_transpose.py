"""Transposed convolutions, in the one layout that TVM can lower (channels first, weight ``IO...``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax

from ...errors import IllTyped
from ..operator import OPERATORS, Attrs, Fusion, Operator, Types, register
from ..types import TensorType
from . import _relax
from ._arrays import Array, accumulate_in
from ._shapes import NUMBER, accumulator, check_dtype, check_same_dtype, count, wider
from .conv import SPATIAL, check_lengths, convolve, sample_window


def _stretch(x: Array, factors: Sequence[int]) -> Array:
    """``x`` with zeros between the elements of its trailing dimensions."""
    n = len(factors)
    shape = [(d - 1) * f + 1 for d, f in zip(x.shape[-n:], factors, strict=True)]
    out = np.zeros((*x.shape[:-n], *shape), x.dtype)
    every: Any = (..., *(slice(None, None, f) for f in factors))
    out[every] = x
    return out


def _register(n: int) -> Operator:
    name = f"conv{n}d_transpose"
    data_layout, kernel_layout = "NC" + SPATIAL[n], "IO" + SPATIAL[n]
    relax_op = getattr(relax.op.nn, name)

    def infer(types: Types, a: Any) -> TensorType:
        x, w = types[0].shape, types[1].shape
        dtype = check_same_dtype(name, types)
        check_dtype(name, dtype, NUMBER)
        if len(x) != n + 2 or len(w) != n + 2:
            raise IllTyped(f"{name} needs operands of rank {n + 2}, not {types[0]} and {types[1]}")
        check_lengths(name, n, a.strides, a.dilation, a.output_padding, a.padding[:n], a.padding[n:])
        groups = a.groups
        if x[1] != w[0]:
            raise IllTyped(f"{name}: {x[1]} channels of data, but {w[0]} of the weight")
        if groups != 1 and x[1] % groups:
            raise IllTyped(f"{name}: {x[1]} channels don't divide into {groups} groups")
        out = [x[0], w[1] if groups == 1 else w[1] * groups]
        for i in range(n):
            size, stride, extra = x[2 + i], a.strides[i], a.output_padding[i]
            reach = (w[2 + i] - 1) * a.dilation[i]
            before, after = a.padding[i], a.padding[n + i]
            if not (0 <= extra < stride and 0 <= before <= reach and 0 <= after <= reach):
                raise IllTyped(f"{name}: output padding {extra} or padding {before}, {after} is out of range")
            out.append((size - 1) * stride + reach + 1 - before - after + extra)
            if out[-1] < 1:
                raise IllTyped(f"{name}: nothing is left of dimension {i} after cropping {before}, {after}")
        return TensorType(tuple(out), accumulator(name, dtype, a.out_dtype))

    def numpy(arrays: Sequence[Array], a: Any) -> Array:
        x, w = (accumulate_in(array, a.out_dtype) for array in arrays)
        reach = [(k - 1) * d for k, d in zip(w.shape[2:], a.dilation, strict=True)]
        before = [r - p for r, p in zip(reach, a.padding[:n], strict=True)]
        after = [r - p + e for r, p, e in zip(reach, a.padding[n:], a.output_padding, strict=True)]
        x = np.pad(_stretch(x, a.strides), [(0, 0), (0, 0), *zip(before, after, strict=True)])
        # The gradient of a convolution correlates with the mirrored weight, inputs and outputs exchanged.
        w = w.reshape(a.groups, -1, *w.shape[1:]).swapaxes(1, 2)
        w = np.flip(w.reshape(-1, *w.shape[2:]), tuple(range(2, n + 2)))
        return convolve(x, w, (1,) * n, a.dilation, a.groups)

    def emit(exprs: list[Any], a: Any) -> Any:
        return relax_op(
            exprs[0],
            exprs[1],
            strides=list(a.strides),
            padding=list(a.padding),
            output_padding=list(a.output_padding),
            dilation=list(a.dilation),
            groups=a.groups,
            data_layout=data_layout,
            kernel_layout=kernel_layout,
            out_dtype=a.out_dtype or None,
        )

    def read(call: Any) -> tuple[list[Any], Attrs] | None:
        args, attrs = _relax.operands(call, 2), call.attrs
        if args is None or attrs is None:
            return None
        if (attrs.data_layout, attrs.kernel_layout, attrs.out_layout) != (data_layout, kernel_layout, data_layout):
            return None
        return args, OPERATORS[name].make_attrs(
            strides=tuple(attrs.strides),
            padding=tuple(attrs.padding),
            output_padding=tuple(attrs.output_padding),
            dilation=tuple(attrs.dilation),
            groups=int(attrs.groups),
            out_dtype=_relax.out_dtype(call, args[0]),
        )

    def sample(rng: np.random.Generator, types: Types) -> Attrs:
        channels, *sizes = (int(d) for d in types[0].shape[1:])
        kernel = [int(d) for d in types[1].shape[2:]]
        window = sample_window(rng, [2 * k for k in kernel], kernel)
        strides, dilation, padding = window["strides"], window["dilation"], window["padding"]
        room = [(s - 1) * t + d * (k - 1) for s, t, d, k in zip(sizes, strides, dilation, kernel, strict=True)]
        after = [min(p, r - b) for p, r, b in zip(padding[n:], room, padding[:n], strict=True)]
        return OPERATORS[name].make_attrs(
            strides=strides,
            dilation=dilation,
            padding=(*padding[:n], *after),
            output_padding=tuple(int(rng.integers(0, t)) for t in strides),
            groups=int(rng.choice([g for g in (1, 2) if channels % g == 0])),
            out_dtype=wider(rng, types[0].dtype),
        )

    return register(
        Operator(
            name=name,
            relax=f"relax.nn.{name}",
            arity=2,
            schema={
                "strides": (1,) * n,
                "padding": (0,) * 2 * n,  # cropped before each spatial dimension, then after each
                "output_padding": (0,) * n,
                "dilation": (1,) * n,
                "groups": 1,
                "out_dtype": "",
            },
            infer=infer,
            numpy=numpy,
            emit=emit,
            read=read,
            # Every input element meets every weight of its group once.
            flops=lambda ins, out, a: 2.0 * ins[0].numel() * count(ins[1].shape[1:]),
            fusion=Fusion.OUT_EWISE_FUSABLE,
            linear_in=(0, 1),
            sample=sample,
        )
    )


CONV1D_TRANSPOSE, CONV2D_TRANSPOSE, CONV3D_TRANSPOSE = map(_register, (1, 2, 3))
