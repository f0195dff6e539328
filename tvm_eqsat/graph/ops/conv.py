"""Convolutions over one, two and three spatial dimensions, with asymmetric padding, dilation and groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax

from ...errors import IllTyped
from ..operator import OPERATORS, Attrs, Fusion, Operator, Types, register
from ..types import TensorType
from . import _relax
from ._arrays import Array, accumulate_in, windows
from ._shapes import (
    NUMBER,
    accumulator,
    check_dtype,
    check_same_dtype,
    count,
    in_layout,
    is_layout,
    layout_axes,
    wider,
    window,
)

SPATIAL = {1: "W", 2: "HW", 3: "DHW"}


def convolve(x: Array, w: Array, strides: Sequence[int], dilation: Sequence[int], groups: int) -> Array:
    """Convolution of padded data, as one batched matrix product over the groups.

    Parameters
    ----------
    x : numpy.ndarray, shape (batch, groups * c, *spatial)
    w : numpy.ndarray, shape (groups * o, c, *kernel)

    Returns
    -------
    numpy.ndarray, shape (batch, groups * o, *positions)
    """
    n = len(strides)
    kernel = w.shape[2:]
    view = windows(x, kernel, strides, dilation)  # (batch, channels, *positions, *kernel)
    batch, channels, *positions = view.shape[: 2 + n]
    view = view.reshape(batch, groups, channels // groups, *positions, *kernel)
    order = (1, 0, *range(3, 3 + n), 2, *range(3 + n, 3 + 2 * n))
    columns = view.transpose(order).reshape(groups, batch * int(np.prod(positions)), -1)
    weights = w.reshape(groups, w.shape[0] // groups, -1).transpose(0, 2, 1)
    product = np.matmul(columns, weights).astype(np.result_type(x, w), copy=False)  # (NumPy widens bfloat16)
    out = product.reshape(groups, batch, *positions, -1)
    return out.transpose(1, 0, 2 + n, *range(2, 2 + n)).reshape(batch, w.shape[0], *positions)


def pad_spatial(x: Array, padding: Sequence[int]) -> Array:
    """``x`` with zeros around its trailing dimensions; ``padding``: all befores, then all afters."""
    n = len(padding) // 2
    if not any(padding):
        return x
    return np.pad(x, [(0, 0)] * (x.ndim - n) + list(zip(padding[:n], padding[n:], strict=True)))


def check_lengths(what: str, n: int, *values: Sequence[int]) -> None:
    """Raise :class:`IllTyped` unless every attribute has one value per spatial dimension."""
    for value in values:
        if len(value) != n:
            raise IllTyped(f"{what} needs {n} values per attribute (padding: {2 * n}), not {value}")


def conv_flops(ins: Types, out: TensorType, a: Any) -> float:
    """Two FLOPs for each element of a filter at each output position."""
    filters = ins[1].shape[a.kernel_layout.index("O")]
    return 2.0 * out.numel() * ins[1].numel() / count([filters])


def _register(n: int) -> Operator:
    name = f"conv{n}d"
    data_letters, kernel_letters = "NC" + SPATIAL[n], "OI" + SPATIAL[n]
    relax_op = getattr(relax.op.nn, name)

    def infer(types: Types, a: Any) -> TensorType:
        x, w = types
        dtype = check_same_dtype(name, types)
        check_dtype(name, dtype, NUMBER)
        if len(x.shape) != n + 2 or len(w.shape) != n + 2:
            raise IllTyped(f"{name} needs operands of rank {n + 2}, not {x} and {w}")
        check_lengths(name, n, a.strides, a.dilation, a.padding[:n], a.padding[n:])
        data, kernel = layout_axes(a.data_layout, data_letters), layout_axes(a.kernel_layout, kernel_letters)
        xs, ws, groups = x.shape, w.shape, a.groups
        inputs, filters = ws[kernel[1]], ws[kernel[0]]
        if xs[data[1]] != (inputs if groups == 1 else inputs * groups):
            raise IllTyped(f"{name}: {xs[data[1]]} channels of data for {groups} groups of {inputs} of the weight")
        if groups != 1 and filters % groups:
            raise IllTyped(f"{name}: {filters} filters don't divide into {groups} groups")
        out = [xs[data[0]], filters]
        for i in range(n):
            padding = a.padding[i], a.padding[n + i]
            out.append(window(xs[data[2 + i]], ws[kernel[2 + i]], a.strides[i], *padding, a.dilation[i]))
        return TensorType(in_layout(out, data), accumulator(name, dtype, a.out_dtype))

    def numpy(arrays: Sequence[Array], a: Any) -> Array:
        data, kernel = layout_axes(a.data_layout, data_letters), layout_axes(a.kernel_layout, kernel_letters)
        x, w = (accumulate_in(array, a.out_dtype) for array in arrays)
        x = pad_spatial(x.transpose(data), a.padding)
        out = convolve(x, w.transpose(kernel), a.strides, a.dilation, a.groups)
        return out.transpose(in_layout(range(n + 2), data))

    def emit(exprs: list[Any], a: Any) -> Any:
        return relax_op(
            exprs[0],
            exprs[1],
            strides=list(a.strides),
            padding=list(a.padding),
            dilation=list(a.dilation),
            groups=a.groups,
            data_layout=a.data_layout,
            kernel_layout=a.kernel_layout,
            out_dtype=a.out_dtype or None,
        )

    def read(call: Any) -> tuple[list[Any], Attrs] | None:
        args, attrs = _relax.operands(call, 2), call.attrs
        if args is None or attrs is None or attrs.out_layout != attrs.data_layout:
            return None
        data_layout, kernel_layout = str(attrs.data_layout), str(attrs.kernel_layout)
        if not is_layout(data_layout, data_letters) or not is_layout(kernel_layout, kernel_letters):
            return None
        return args, OPERATORS[name].make_attrs(
            strides=tuple(attrs.strides),
            padding=tuple(attrs.padding),
            dilation=tuple(attrs.dilation),
            groups=int(attrs.groups),
            data_layout=data_layout,
            kernel_layout=kernel_layout,
            out_dtype=_relax.out_dtype(call, args[0]),
        )

    def sample(rng: np.random.Generator, types: Types) -> Attrs:
        """Geometry that fits, in the first of the usual layouts (in random order) that the operands agree with."""
        record = OPERATORS[name]
        letters = SPATIAL[n]
        layouts = [(f"NC{letters}", f"OI{letters}"), (f"N{letters}C", f"{letters}IO"), (f"N{letters}C", f"O{letters}I")]
        for i in rng.permutation(len(layouts)):
            data_layout, kernel_layout = layouts[i]
            channels = types[0].shape[data_layout.index("C")]
            inputs = types[1].shape[kernel_layout.index("I")]
            sizes = [types[0].shape[data_layout.index(letter)] for letter in letters]
            kernel = [types[1].shape[kernel_layout.index(letter)] for letter in letters]
            attrs = record.make_attrs(
                **sample_window(rng, sizes, kernel),
                groups=channels // inputs,
                data_layout=data_layout,
                kernel_layout=kernel_layout,
                out_dtype=wider(rng, types[0].dtype),
            )
            try:
                record.infer(types, attrs)
            except IllTyped:
                continue
            return attrs
        raise IllTyped(f"no layout fits {name} of {types[0]} and {types[1]}")

    return register(
        Operator(
            name=name,
            relax=f"relax.nn.{name}",
            arity=2,
            schema={
                "strides": (1,) * n,
                "padding": (0,) * 2 * n,  # before each spatial dimension, then after each
                "dilation": (1,) * n,
                "groups": 1,
                "data_layout": data_letters,
                "kernel_layout": kernel_letters,
                "out_dtype": "",
            },
            infer=infer,
            numpy=numpy,
            emit=emit,
            read=read,
            flops=conv_flops,
            fusion=Fusion.OUT_EWISE_FUSABLE,
            linear_in=(0, 1),
            sample=sample,
        )
    )


def sample_window(rng: np.random.Generator, sizes: Sequence[int], kernel: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Random strides, dilation and padding: the window fits, and every place of it meets the data."""
    n = len(kernel)
    fits = [max(1, (size - 1) // max(1, k - 1)) for size, k in zip(sizes, kernel, strict=True)]
    dilation = tuple(min(int(d), f) for d, f in zip(rng.integers(1, 3, n), fits, strict=True))
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)] * 2
    return {
        "strides": tuple(int(s) for s in rng.integers(1, 3, n)),
        "dilation": dilation,
        "padding": tuple(int(rng.integers(0, min(r, 2) + 1)) for r in reach),
    }


CONV1D, CONV2D, CONV3D = map(_register, (1, 2, 3))
