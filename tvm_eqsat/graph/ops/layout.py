"""Tensors stored in other layouts, and convolutions whose channels are stored in blocks.

Relax can't legalise these convolutions, so they are emitted as loops, and so is the conversion: as one copy, which
reads each element where it is, whatever steps the map was composed of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from ...errors import IllTyped
from ...layout.convolutions import conv2d_nchwc, depthwise_conv2d
from ...layout.index_map import IndexMap
from ..operator import REQUIRED, Attrs, Fusion, Operator, Types, no_flops, register
from ..types import TensorType
from ._arrays import Array
from ._shapes import NUMBER, check_dtype, check_same_dtype, count, window
from .conv import check_lengths, convolve, pad_spatial, sample_window


def call_te(compute: Callable[..., Any], exprs: list[Any], name: str, *args: Any) -> relax.Expr:
    """The call of a TE compute of some tensors and other arguments."""
    builder = relax.BlockBuilder.current() or relax.BlockBuilder()
    return builder.call_te(lambda *tensors: compute(*tensors, *args), *exprs, primfunc_name_hint=name)


# ** layout_transform


def _infer(types: Types, a: Any) -> TensorType:
    if types[0].shape != a.map.source:
        raise IllTyped(f"a layout of shape {a.map.source} isn't one of {types[0]}")
    return TensorType(a.map.shape, types[0].dtype)


def _copy(x: Any, index_map: IndexMap) -> Any:
    fill = tirx.const(int(index_map.fill or 0) if "int" in str(x.dtype) else index_map.fill or 0.0, x.dtype)
    beyond = list(enumerate(zip(index_map.reach(), index_map.source, strict=True)))

    def element(*index: Any) -> Any:
        place = index_map.places(index)
        inside = [place[k] >= 0 for k, ((low, _), _) in beyond if low < 0]
        inside += [place[k] < size for k, ((_, high), size) in beyond if high >= size]
        return tirx.if_then_else(tirx.all(*inside), x[tuple(place)], fill) if inside else x[tuple(place)]

    return te.compute(index_map.shape, element, name="layout_transform")


def _sample(rng: np.random.Generator, types: Types) -> Attrs:
    shape = tuple(int(d) for d in types[0].shape)
    axis, factor = int(rng.integers(len(shape))), int(rng.integers(1, 4))
    first = [
        lambda: IndexMap.split(shape, axis, factor),
        lambda: IndexMap.pad(shape, [(int(rng.integers(2)), int(rng.integers(3))) for _ in shape]),
        lambda: IndexMap.unfold(shape, axis, factor + 1, factor),
        lambda: IndexMap.fuse(shape, 0, axis + 1),
    ][int(rng.integers(4))]()
    found = first.then(IndexMap.reorder(first.shape, [int(k) for k in rng.permutation(len(first.shape))]))
    assert found is not None
    return LAYOUT_TRANSFORM.make_attrs(map=found)


LAYOUT_TRANSFORM: Operator = register(
    Operator(
        name="layout_transform",
        relax="",  # what ``relax.layout_transform`` is read as, see aliases: this one also crops, and repeats elements
        arity=1,
        schema={"map": REQUIRED},
        infer=_infer,
        numpy=lambda arrays, a: a.map.apply(arrays[0]),
        emit=lambda exprs, a: call_te(_copy, exprs, "layout_transform", a.map),
        flops=no_flops,
        fusion=Fusion.INJECTIVE,
        linear_in=(0,),
        jointly_linear=True,
        linear_if=lambda a: not a.map.fill,
        sample=_sample,
    )
)


# ** convolutions of data in NCHW{i}c, and depthwise ones of NHWC too

_WINDOW: dict[str, Any] = {"strides": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}


def _sliding(name: str, sizes: Sequence[Any], kernel: Sequence[Any], a: Any) -> tuple[Any, Any]:
    """How many windows there are below and beside each other."""
    check_lengths(name, 2, a.strides, a.dilation, a.padding[:2], a.padding[2:])
    rows, columns = (
        window(sizes[k], kernel[k], a.strides[k], a.padding[k], a.padding[2 + k], a.dilation[k]) for k in range(2)
    )
    return rows, columns


def _infer_conv(types: Types, a: Any) -> TensorType:
    x, w = types
    dtype = check_same_dtype("conv2d_nchwc", types)
    check_dtype("conv2d_nchwc", dtype, NUMBER)
    if len(x.shape) != 5 or len(w.shape) != 6 or not (x.static and w.static):
        raise IllTyped(f"conv2d_nchwc doesn't apply to {x} and {w}")
    if (x.shape[1], x.shape[4]) != (w.shape[1] * a.groups, w.shape[4]) or w.shape[0] % a.groups:
        raise IllTyped(f"conv2d_nchwc: the channels of {x} aren't those of {w} in {a.groups} groups")
    rows, columns = _sliding("conv2d_nchwc", x.shape[2:4], w.shape[2:4], a)
    return TensorType((x.shape[0], w.shape[0], rows, columns, w.shape[5]), dtype)


def _conv(arrays: Sequence[Array], a: Any) -> Array:
    x, w = arrays
    weights = w.transpose(0, 5, 1, 4, 2, 3).reshape(w.shape[0] * w.shape[5], -1, *w.shape[2:4])
    data = pad_spatial(x.transpose(0, 1, 4, 2, 3).reshape(x.shape[0], -1, *x.shape[2:4]), a.padding)
    out = convolve(data, weights, a.strides, a.dilation, a.groups)
    return out.reshape(x.shape[0], w.shape[0], w.shape[5], *out.shape[2:]).transpose(0, 1, 3, 4, 2)


def _sample_conv(rng: np.random.Generator, types: Types) -> Attrs:
    x, w = types
    drawn: dict[str, Any] = sample_window(rng, [int(d) for d in x.shape[2:4]], [int(d) for d in w.shape[2:4]])
    return CONV2D_NCHWC.make_attrs(**drawn, groups=x.shape[1] // w.shape[1])


#: Data (n, channels / i, h, w, i) and weights (filters / o, channels / groups / i, h, w, i, o) make
#: (n, filters / o, h, w, o). No block spans two groups.
CONV2D_NCHWC: Operator = register(
    Operator(
        name="conv2d_nchwc",
        relax="",
        arity=2,
        schema={**_WINDOW, "groups": 1},
        infer=_infer_conv,
        numpy=_conv,
        emit=lambda exprs, a: call_te(conv2d_nchwc, exprs, "conv2d_nchwc", a.strides, a.padding, a.dilation, a.groups),
        flops=lambda ins, out, a: 2.0 * out.numel() * count(ins[1].shape[1:5]),
        fusion=Fusion.OUT_EWISE_FUSABLE,
        linear_in=(0, 1),
        sample=_sample_conv,
    )
)


def _infer_depthwise(types: Types, a: Any) -> TensorType:
    x, w = types
    dtype = check_same_dtype("depthwise_conv2d", types)
    check_dtype("depthwise_conv2d", dtype, NUMBER)
    if len(x.shape) not in (4, 5) or len(w.shape) != len(x.shape) - 1 or not (x.static and w.static):
        raise IllTyped(f"depthwise_conv2d doesn't apply to {x} and {w}")
    if (x.shape[1:-3], x.shape[-1]) != (w.shape[:-3], w.shape[-1]):
        raise IllTyped(f"depthwise_conv2d: the channels of {x} aren't those of {w}")
    rows, columns = _sliding("depthwise_conv2d", x.shape[-3:-1], w.shape[-3:-1], a)
    return TensorType((*x.shape[:-3], rows, columns, x.shape[-1]), dtype)


def _depthwise(arrays: Sequence[Array], a: Any) -> Array:
    x, w = (np.moveaxis(array, -1, -3) for array in arrays)
    blocks = x.shape[1:-3]
    data = pad_spatial(x.reshape(x.shape[0], -1, *x.shape[-2:]), a.padding)
    weights = w.reshape(-1, 1, *w.shape[-2:])
    out = convolve(data, weights, a.strides, a.dilation, len(weights))
    return np.moveaxis(out.reshape(x.shape[0], *blocks, -1, *out.shape[2:]), -3, -1)


def _sample_depthwise(rng: np.random.Generator, types: Types) -> Attrs:
    x, w = types
    drawn: dict[str, Any] = sample_window(rng, [int(d) for d in x.shape[-3:-1]], [int(d) for d in w.shape[-3:-1]])
    return DEPTHWISE_CONV2D.make_attrs(**drawn)


#: Data (n, h, w, channels) and weights (h, w, channels), or (n, channels / i, h, w, i) and (channels / i, h, w, i).
DEPTHWISE_CONV2D: Operator = register(
    Operator(
        name="depthwise_conv2d",
        relax="",
        arity=2,
        schema=_WINDOW,
        infer=_infer_depthwise,
        numpy=_depthwise,
        emit=lambda exprs, a: call_te(depthwise_conv2d, exprs, "depthwise_conv2d", a.strides, a.padding, a.dilation),
        flops=lambda ins, out, a: 2.0 * out.numel() * count(ins[1].shape[-3:-1]),
        fusion=Fusion.OUT_EWISE_FUSABLE,
        linear_in=(0, 1),
        sample=_sample_depthwise,
    )
)
