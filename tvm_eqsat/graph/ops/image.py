"""Image operators: ``resize2d`` by the nearest pixel or linear interpolation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax

from ...errors import IllTyped
from ..operator import REQUIRED, Attrs, Fusion, Operator, Types, register
from ..types import TensorType
from . import _relax
from ._arrays import Array, along
from ._shapes import FLOAT, check_dtype

_ROUNDING: dict[str, Callable[[Array], Array]] = {
    "round": np.round,
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": lambda x: np.floor(x + np.float32(1e-5)),
    "ceil": lambda x: np.ceil(x - np.float32(1e-5)),
}
_COORDINATES = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "tf_half_pixel_for_nn")
_SPATIAL = {"NCHW": (2, 3), "NHWC": (1, 2)}


def _infer(types: Types, a: Any) -> TensorType:
    x = types[0]
    check_dtype("resize2d", x.dtype, FLOAT)
    if len(x.shape) != 4 or len(a.size) != 2 or min(a.size) < 1 or a.layout not in _SPATIAL:
        raise IllTyped(f"resize2d of {x} in layout {a.layout!r} to {a.size}")
    if a.method == "nearest_neighbor":
        known = a.rounding_method in _ROUNDING
    else:
        known = a.method == "linear" and not a.rounding_method
    if not known or a.coordinate_transformation_mode not in _COORDINATES:
        raise IllTyped(f"resize2d by {a.method!r}, {a.coordinate_transformation_mode!r}, {a.rounding_method!r}")
    if a.coordinate_transformation_mode == "align_corners" and min(a.size) < 2:
        raise IllTyped("resize2d can't align corners with a single pixel")
    shape = list(x.shape)
    for axis, size in zip(_SPATIAL[a.layout], a.size, strict=True):
        shape[axis] = size
    return TensorType(tuple(shape), x.dtype)


def _positions(size: int, target: int, mode: str) -> Array:
    """Where each of ``target`` pixels lies among ``size``, in the single precision that TVM computes it in."""
    x, scale = np.arange(target, dtype=np.float32), np.float32(size) / np.float32(target)
    half = np.float32(0.5)
    if mode == "align_corners":
        return np.float32(size - 1) / np.float32(target - 1) * x
    if mode == "asymmetric":
        return scale * x
    if mode == "tf_half_pixel_for_nn":
        return (x + half) * scale
    if mode == "pytorch_half_pixel" and target == 1:
        return np.zeros(1, np.float32)
    return (x + half) * scale - half


def _numpy(arrays: Sequence[Array], a: Any) -> Array:
    out = arrays[0] if arrays[0].dtype.itemsize >= 4 else arrays[0].astype(np.float32)
    for axis, target in zip(_SPATIAL[a.layout][::-1], a.size[::-1], strict=True):
        size = out.shape[axis]
        where = _positions(size, target, a.coordinate_transformation_mode)
        if a.method == "nearest_neighbor":
            out = out.take(_ROUNDING[a.rounding_method](where).astype(np.int64).clip(0, size - 1), axis)
            continue
        low = np.floor(where).astype(np.int64)
        part = along(where - low.astype(np.float32), axis, 4)
        ends = [out.take((low + step).clip(0, size - 1), axis) for step in (0, 1)]
        out = ends[0] * (1 - part) + ends[1] * part
    return out.astype(arrays[0].dtype)


def _read(call: Any) -> tuple[list[Any], Attrs] | None:
    attrs = call.attrs
    if len(call.args) != 2 or attrs is None or not _relax.may_be_tensor(call.args[0]):
        return None
    size = _relax.shape_values(call.args[1])
    if size is None or _relax.out_dtype(call, call.args[0]):
        return None
    mode, method, rounding = attrs.coordinate_transformation_mode, attrs.method, attrs.rounding_method
    if method == "linear":
        rounding = ""
    elif method == "nearest_neighbor" and not rounding:
        rounding = "round" if mode == "align_corners" else "floor"
    if method not in ("linear", "nearest_neighbor") or mode not in _COORDINATES or attrs.layout not in _SPATIAL:
        return None
    if rounding and rounding not in _ROUNDING:
        return None
    return [call.args[0]], RESIZE2D.make_attrs(
        size=size,
        layout=str(attrs.layout),
        method=str(method),
        coordinate_transformation_mode=str(mode),
        rounding_method=str(rounding),
    )


def _emit(exprs: list[Any], a: Any) -> Any:
    return relax.op.image.resize2d(
        exprs[0],
        a.size,
        layout=a.layout,
        method=a.method,
        coordinate_transformation_mode=a.coordinate_transformation_mode,
        rounding_method=a.rounding_method,
    )


def _sample(rng: np.random.Generator, types: Types) -> Attrs:
    method = str(rng.choice(["nearest_neighbor", "linear"]))
    return RESIZE2D.make_attrs(
        size=tuple(int(i) for i in rng.integers(2, 9, 2)),
        layout=str(rng.choice(list(_SPATIAL))),
        method=method,
        coordinate_transformation_mode=str(rng.choice(_COORDINATES)),
        rounding_method=str(rng.choice(list(_ROUNDING))) if method == "nearest_neighbor" else "",
    )


RESIZE2D: Operator = register(
    Operator(
        name="resize2d",
        relax="relax.image.resize2d",
        arity=1,
        schema={
            "size": REQUIRED,
            "layout": "NCHW",
            "method": "linear",
            "coordinate_transformation_mode": "half_pixel",
            "rounding_method": "",  # of the nearest neighbour; empty for "linear"
        },
        infer=_infer,
        numpy=_numpy,
        emit=_emit,
        read=_read,
        flops=lambda ins, out, a: (9.0 if a.method == "linear" else 0.0) * out.numel(),
        fusion=Fusion.INJECTIVE,
        sample=_sample,
    )
)
