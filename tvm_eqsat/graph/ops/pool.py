"""Pooling: maximum, average and adaptive average over one, two and three spatial dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Any

import numpy as np
from tvm import relax

from ...errors import IllTyped
from ..operator import OPERATORS, REQUIRED, Attrs, Fusion, Operator, Types, register
from ..types import TensorType
from . import _relax
from ._arrays import Array, along, windows
from ._shapes import FLOAT, NUMBER, check_dtype, count, in_layout, is_layout, layout_axes, window
from .conv import SPATIAL, check_lengths, sample_window


def _register(n: int, kind: str) -> Operator:
    name, letters = f"{kind}_pool{n}d", "NC" + SPATIAL[n]
    relax_op = getattr(relax.op.nn, name)
    average = kind == "avg"

    def infer(types: Types, a: Any) -> TensorType:
        x = types[0]
        # Averages of integers would round towards zero at every step: left alone.
        check_dtype(name, x.dtype, FLOAT if average else NUMBER)
        if len(x.shape) != n + 2:
            raise IllTyped(f"{name} needs an operand of rank {n + 2}, not {x}")
        check_lengths(name, n, a.pool_size, a.strides, a.dilation, a.padding[:n], a.padding[n:])
        axes = layout_axes(a.layout, letters)
        out = [x.shape[axes[0]], x.shape[axes[1]]]
        for i in range(n):
            size, padding = x.shape[axes[2 + i]], (a.padding[i], a.padding[n + i])
            out.append(window(size, a.pool_size[i], a.strides[i], *padding, a.dilation[i], a.ceil_mode))
        return TensorType(in_layout(out, axes), x.dtype)

    def numpy(arrays: Sequence[Array], a: Any) -> Array:
        axes = layout_axes(a.layout, letters)
        x = arrays[0].transpose(axes)
        # In ceil mode the last window may reach beyond the padding.
        extra = [s - 1 if a.ceil_mode else 0 for s in a.strides]
        ends = [p + e for p, e in zip(a.padding[n:], extra, strict=True)]
        around = [(0, 0), (0, 0), *zip(a.padding[:n], ends, strict=True)]
        out_type = OPERATORS[name].infer([TensorType(arrays[0].shape, "float32")], a)
        positions = [out_type.shape[axis] for axis in axes[2:]]
        kept: Any = (..., *(slice(p) for p in positions), *[slice(None)] * n)
        inner = tuple(range(-n, 0))
        x = np.pad(x, around, constant_values=0 if average else _lowest(x))
        view = windows(x, a.pool_size, a.strides, a.dilation)[kept]
        if average:
            out = view.sum(axis=inner, dtype=x.dtype) / _divisor(arrays[0], axes, positions, a)
        else:
            out = view.max(axis=inner)
        return np.asarray(out).transpose(in_layout(range(n + 2), axes))

    def _divisor(x: Array, axes: Sequence[int], positions: Sequence[Any], a: Any) -> Array:
        """How many elements each window averages: the outer product of the counts along each dimension."""
        counts = []
        for i, places in enumerate(positions):
            before, size = a.padding[i], x.shape[axes[2 + i]]
            low, high = (0, before + size + a.padding[n + i]) if a.count_include_pad else (before, before + size)
            starts = (place * a.strides[i] for place in range(places))
            reach = range(0, a.pool_size[i] * a.dilation[i], a.dilation[i])
            counts.append([sum(low <= start + step < high for step in reach) for start in starts])
        return np.maximum(reduce(np.multiply.outer, counts, np.asarray(1)), 1).astype(x.dtype)

    def emit(exprs: list[Any], a: Any) -> Any:
        return relax_op(
            exprs[0],
            pool_size=list(a.pool_size),
            strides=list(a.strides),
            padding=list(a.padding),
            dilation=list(a.dilation),
            ceil_mode=a.ceil_mode,
            count_include_pad=a.count_include_pad,
            layout=a.layout,
        )

    def read(call: Any) -> tuple[list[Any], Attrs] | None:
        args, attrs = _relax.operands(call, 1), call.attrs
        if args is None or attrs is None or attrs.out_layout != attrs.layout or not is_layout(attrs.layout, letters):
            return None
        return args, OPERATORS[name].make_attrs(
            pool_size=tuple(attrs.pool_size),
            strides=tuple(attrs.strides),
            padding=tuple(attrs.padding),
            dilation=tuple(attrs.dilation),
            ceil_mode=bool(attrs.ceil_mode),
            count_include_pad=average and bool(attrs.count_include_pad),
            layout=str(attrs.layout),
        )

    def sample(rng: np.random.Generator, types: Types) -> Attrs:
        layout = str(rng.choice([letters, f"N{SPATIAL[n]}C"]))
        sizes = [int(types[0].shape[layout.index(letter)]) for letter in SPATIAL[n]]
        pool_size = tuple(int(rng.integers(1, min(3, size) + 1)) for size in sizes)
        return OPERATORS[name].make_attrs(
            **sample_window(rng, sizes, pool_size),
            pool_size=pool_size,
            ceil_mode=bool(rng.integers(2)),
            count_include_pad=average and bool(rng.integers(2)),
            layout=layout,
        )

    return register(
        Operator(
            name=name,
            relax=f"relax.nn.{name}",
            arity=1,
            schema={
                "pool_size": REQUIRED,
                "strides": (1,) * n,
                "padding": (0,) * 2 * n,  # before each spatial dimension, then after each
                "dilation": (1,) * n,
                "ceil_mode": False,
                "count_include_pad": False,  # averages only
                "layout": letters,
            },
            infer=infer,
            numpy=numpy,
            emit=emit,
            read=read,
            flops=lambda ins, out, a: float(out.numel() * prod(a.pool_size)),
            fusion=Fusion.OUT_EWISE_FUSABLE,
            sample=sample,
        )
    )


def _lowest(x: Array) -> Any:
    """The value that never wins a maximum."""
    return np.iinfo(x.dtype).min if x.dtype.kind in "iu" else np.finfo(x.dtype).min


def _register_adaptive(n: int) -> Operator:
    name, letters = f"adaptive_avg_pool{n}d", "NC" + SPATIAL[n]
    relax_op = getattr(relax.op.nn, name)

    def infer(types: Types, a: Any) -> TensorType:
        x = types[0]
        check_dtype(name, x.dtype, FLOAT)
        if len(x.shape) != n + 2:
            raise IllTyped(f"{name} needs an operand of rank {n + 2}, not {x}")
        check_lengths(name, n, a.output_size)
        axes = layout_axes(a.layout, letters)
        return TensorType(in_layout([x.shape[axes[0]], x.shape[axes[1]], *a.output_size], axes), x.dtype)

    def numpy(arrays: Sequence[Array], a: Any) -> Array:
        out, bins = arrays[0], np.asarray(1)
        for axis, places in zip(layout_axes(a.layout, letters)[2:], a.output_size, strict=True):
            size = out.shape[axis]
            edges = [(i * size // places, -(-(i + 1) * size // places)) for i in range(places)]
            sums = [out.take(range(*edge), axis).sum(axis, dtype=out.dtype) for edge in edges]
            out = np.stack(sums, axis)
            bins = bins * along(np.asarray([high - low for low, high in edges]), axis, n + 2)
        return np.asarray(out / bins.astype(out.dtype))

    def read(call: Any) -> tuple[list[Any], Attrs] | None:
        args, attrs = _relax.operands(call, 1), call.attrs
        if args is None or attrs is None or attrs.out_layout != attrs.layout or not is_layout(attrs.layout, letters):
            return None
        layout, size = str(attrs.layout), attrs.output_size
        if size is None:
            shape = _relax.static_shape(args[0])
            if shape is None or len(shape) != n + 2:
                return None
            size = [shape[layout.index(letter)] for letter in SPATIAL[n]]
        return args, OPERATORS[name].make_attrs(output_size=tuple(size), layout=layout)

    def sample(rng: np.random.Generator, types: Types) -> Attrs:
        layout = str(rng.choice([letters, f"N{SPATIAL[n]}C"]))
        sizes = [int(types[0].shape[layout.index(letter)]) for letter in SPATIAL[n]]
        return OPERATORS[name].make_attrs(output_size=tuple(int(rng.integers(1, s + 1)) for s in sizes), layout=layout)

    return register(
        Operator(
            name=name,
            relax=f"relax.nn.{name}",
            arity=1,
            schema={"output_size": REQUIRED, "layout": letters},
            infer=infer,
            numpy=numpy,
            emit=lambda exprs, a: relax_op(exprs[0], output_size=list(a.output_size), layout=a.layout),
            read=read,
            flops=lambda ins, out, a: float(max(ins[0].numel(), count(out.shape))),
            fusion=Fusion.OUT_EWISE_FUSABLE,
            sample=sample,
        )
    )


MAX_POOL1D, MAX_POOL2D, MAX_POOL3D = (_register(n, "max") for n in (1, 2, 3))
AVG_POOL1D, AVG_POOL2D, AVG_POOL3D = (_register(n, "avg") for n in (1, 2, 3))
ADAPTIVE_AVG_POOL1D, ADAPTIVE_AVG_POOL2D, ADAPTIVE_AVG_POOL3D = map(_register_adaptive, (1, 2, 3))
