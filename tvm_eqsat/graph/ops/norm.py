"""Normalisations.

TVM lowers ``center`` and ``scale`` for ``batch_norm`` only; ``layer_norm``, ``group_norm`` and ``instance_norm``
multiply by ``gamma`` and add ``beta`` whatever these say, so a call of theirs with either off isn't modelled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax

from ...errors import IllTyped
from ..operator import OPERATORS, REQUIRED, Attrs, Fusion, Operator, Types, register
from ..types import TensorType
from . import _relax
from ._arrays import Array, along
from ._shapes import FLOAT, check_axes, check_axis, check_dtype, check_same_dtype

nn = relax.op.nn
_FLOAT = frozenset({"float"})  # (not bfloat16)


def _wide(x: Array) -> Array:
    """Half precision is normalised in single precision, as in TVM."""
    return x if x.dtype.itemsize >= 4 else x.astype(np.float32)


def _standardise(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axes, keepdims=True) + x.dtype.type(epsilon))


def _check_parameters(what: str, types: Types, shape: tuple[Any, ...]) -> None:
    """All operands share a floating-point dtype, and the parameters have this shape."""
    check_dtype(what, check_same_dtype(what, types), FLOAT)
    for parameter in types[1:]:
        if parameter.shape != shape:
            raise IllTyped(f"{what} of {types[0]} needs parameters of shape {shape}, not {parameter}")


def _check_affine(what: str, a: Any) -> None:
    if not (a.center and a.scale):
        raise IllTyped(f"{what} without center or scale isn't what TVM lowers")


def _no_reduction(x: Any, axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(i for i in range(x.ndim) if i not in axes)


# ** batch_norm: field 0 of Relax's tuple of three, at inference


def _infer_batch_norm(types: Types, a: Any) -> TensorType:
    x = types[0]
    _check_parameters("batch_norm", types, (x.shape[check_axis("batch_norm", a.axis, len(x.shape))],))
    return x


def _batch_norm(arrays: Sequence[Array], a: Any) -> Array:
    x = arrays[0]
    gamma, beta, mean, variance = (along(p, a.axis, x.ndim) for p in arrays[1:])
    out = (x - mean) / np.sqrt(variance + x.dtype.type(a.epsilon))
    if a.scale:
        out = out * gamma
    return out + beta if a.center else out


def _read_batch_norm(call: Any) -> tuple[list[Any], Attrs] | None:
    args, attrs = _relax.operands(call, 5), call.attrs
    axis = _relax.axis_of(attrs.axis, _relax.rank(args[0])) if args and attrs is not None else None
    if args is None or axis is None or attrs.training:
        return None
    return args, BATCH_NORM.make_attrs(
        axis=axis, epsilon=float(attrs.epsilon), center=bool(attrs.center), scale=bool(attrs.scale)
    )


def _sample_batch_norm(rng: np.random.Generator, types: Types) -> Attrs:
    axes = [i for i, dim in enumerate(types[0].shape) if (dim,) == types[1].shape]
    flags = {"center": bool(rng.integers(2)), "scale": bool(rng.integers(2))}
    return BATCH_NORM.make_attrs(axis=int(rng.choice(axes)), epsilon=float(rng.choice([1e-5, 1e-3])), **flags)


BATCH_NORM: Operator = register(
    Operator(
        name="batch_norm",
        relax="relax.nn.batch_norm",
        arity=5,
        schema={"axis": REQUIRED, "epsilon": 1e-5, "center": True, "scale": True},
        infer=_infer_batch_norm,
        numpy=_batch_norm,
        emit=lambda exprs, a: relax.TupleGetItem(
            nn.batch_norm(*exprs, axis=a.axis, epsilon=a.epsilon, center=a.center, scale=a.scale, training=False), 0
        ),
        read=_read_batch_norm,
        flops=lambda ins, out, a: (2.0 + a.scale + a.center) * out.numel(),
        fusion=Fusion.INJECTIVE,
        sample=_sample_batch_norm,
    )
)


# ** normalisation over the trailing or any ascending axes: layer_norm, rms_norm


def _read_axes(name: str, call: Any, arity: int, extra: Callable[[Any], dict[str, Any] | None]) -> Any:
    args, attrs = _relax.operands(call, arity), call.attrs
    axes = _relax.axes_of(attrs.axes, _relax.rank(args[0])) if args and attrs is not None else None
    values = extra(attrs) if axes else None
    # TVM checks the parameters' shape in the order given, but lowers the axes sorted.
    if args is None or axes is None or values is None or axes != tuple(sorted(axes)):
        return None
    return args, OPERATORS[name].make_attrs(axes=axes, epsilon=float(attrs.epsilon), **values)


def _affine(attrs: Any) -> dict[str, Any] | None:
    return {} if attrs.center and attrs.scale else None


def _normalised_axes(types: Types) -> tuple[int, ...]:
    """Trailing axes whose dimensions are the parameters' shape."""
    rank, n = types[0].rank, types[1].rank
    return tuple(range(rank - n, rank))


def _infer_layer_norm(types: Types, a: Any) -> TensorType:
    x = types[0]
    check_axes("layer_norm", a.axes, len(x.shape))
    _check_affine("layer_norm", a)
    _check_parameters("layer_norm", types, tuple([x.shape[i] for i in a.axes]))
    return x


def _layer_norm(arrays: Sequence[Array], a: Any) -> Array:
    x = arrays[0]
    gamma, beta = (np.expand_dims(p, _no_reduction(x, a.axes)) for p in arrays[1:])
    return _standardise(_wide(x), a.axes, a.epsilon).astype(x.dtype) * gamma + beta


LAYER_NORM: Operator = register(
    Operator(
        name="layer_norm",
        relax="relax.nn.layer_norm",
        arity=3,
        schema={"axes": REQUIRED, "epsilon": 1e-5, "center": True, "scale": True},
        infer=_infer_layer_norm,
        numpy=_layer_norm,
        emit=lambda exprs, a: nn.layer_norm(*exprs, axes=list(a.axes), epsilon=a.epsilon),
        read=lambda call: _read_axes("layer_norm", call, 3, _affine),
        flops=lambda ins, out, a: 8.0 * out.numel(),
        fusion=Fusion.OUT_EWISE_FUSABLE,
        sample=lambda rng, types: LAYER_NORM.make_attrs(axes=_normalised_axes(types)),
    )
)


def _infer_rms_norm(types: Types, a: Any) -> TensorType:
    x = types[0]
    check_axes("rms_norm", a.axes, len(x.shape))
    if len(a.axes) == len(x.shape):
        raise IllTyped("rms_norm over every axis isn't something that TVM can lower")
    _check_parameters("rms_norm", types, tuple([x.shape[i] for i in a.axes]))
    return x


def _rms_norm(arrays: Sequence[Array], a: Any) -> Array:
    x, weight = map(_wide, arrays)  # (TVM normalises double precision in single, too)
    scale = 1 / np.sqrt(np.square(x).mean(a.axes, keepdims=True) + x.dtype.type(a.epsilon))
    return (scale * x * np.expand_dims(weight, _no_reduction(x, a.axes))).astype(arrays[0].dtype)


RMS_NORM: Operator = register(
    Operator(
        name="rms_norm",
        relax="relax.nn.rms_norm",
        arity=2,
        schema={"axes": REQUIRED, "epsilon": 1e-5},
        infer=_infer_rms_norm,
        numpy=_rms_norm,
        emit=lambda exprs, a: nn.rms_norm(*exprs, axes=list(a.axes), epsilon=a.epsilon),
        read=lambda call: _read_axes("rms_norm", call, 2, lambda attrs: {}),
        flops=lambda ins, out, a: 5.0 * out.numel(),
        fusion=Fusion.OUT_EWISE_FUSABLE,
        sample=lambda rng, types: RMS_NORM.make_attrs(axes=_normalised_axes(types)),
    )
)


# ** normalisation per channel: group_norm, instance_norm


def _channel_norm(name: str, relax_op: Any, normalise: Callable[[Array, Any], Array], grouped: bool) -> Operator:
    """Register a normalisation with one ``gamma`` and ``beta`` per channel."""

    def infer(types: Types, a: Any) -> TensorType:
        x = types[0]
        rank = len(x.shape)
        check_dtype(name, x.dtype, _FLOAT)
        check_axis(name, a.channel_axis, rank)
        check_axes(name, a.axes, rank)
        _check_affine(name, a)
        channels = x.shape[a.channel_axis]
        if a.channel_axis in a.axes or (grouped and a.num_groups != 1 and channels % a.num_groups):
            raise IllTyped(f"{name}: axes {a.axes} or groups don't fit {channels} channels on axis {a.channel_axis}")
        _check_parameters(name, types, (channels,))
        return x

    def numpy(arrays: Sequence[Array], a: Any) -> Array:
        x = arrays[0]
        gamma, beta = (along(p, a.channel_axis, x.ndim) for p in arrays[1:])
        return normalise(_wide(x), a).astype(x.dtype) * gamma + beta

    def emit(exprs: list[Any], a: Any) -> Any:
        groups = {"num_groups": a.num_groups} if grouped else {}
        return relax_op(*exprs, channel_axis=a.channel_axis, axes=list(a.axes), epsilon=a.epsilon, **groups)

    def read(call: Any) -> tuple[list[Any], Attrs] | None:
        args, attrs = _relax.operands(call, 3), call.attrs
        if args is None or attrs is None or not (attrs.center and attrs.scale):
            return None
        rank = _relax.rank(args[0])
        axis, axes = _relax.axis_of(attrs.channel_axis, rank), _relax.axes_of(attrs.axes, rank)
        if axis is None or not axes:
            return None
        groups = {"num_groups": int(attrs.num_groups)} if grouped else {}
        return args, OPERATORS[name].make_attrs(
            channel_axis=axis, axes=tuple(sorted(axes)), epsilon=float(attrs.epsilon), **groups
        )

    def sample(rng: np.random.Generator, types: Types) -> Attrs:
        channels = int(types[0].shape[1])
        groups = {"num_groups": int(rng.choice([g for g in (1, 2, 4) if channels % g == 0]))} if grouped else {}
        return OPERATORS[name].make_attrs(channel_axis=1, axes=tuple(range(2, types[0].rank)), **groups)

    groups = {"num_groups": REQUIRED} if grouped else {}
    affine = {"epsilon": 1e-5, "center": True, "scale": True}
    return register(
        Operator(
            name=name,
            relax=f"relax.nn.{name}",
            arity=3,
            schema={**groups, "channel_axis": REQUIRED, "axes": REQUIRED, **affine},
            infer=infer,
            numpy=numpy,
            emit=emit,
            read=read,
            flops=lambda ins, out, a: 8.0 * out.numel(),
            fusion=Fusion.OUT_EWISE_FUSABLE,
            sample=sample,
        )
    )


def _group_normalise(x: Array, a: Any) -> Array:
    axis = a.channel_axis
    split = x.reshape(*x.shape[:axis], a.num_groups, -1, *x.shape[axis + 1 :])
    axes = tuple(sorted([axis + 1, *(i if i < axis else i + 1 for i in a.axes)]))
    return _standardise(split, axes, a.epsilon).reshape(x.shape)


GROUP_NORM = _channel_norm("group_norm", nn.group_norm, _group_normalise, grouped=True)
INSTANCE_NORM = _channel_norm(
    "instance_norm", nn.instance_norm, lambda x, a: _standardise(x, a.axes, a.epsilon), grouped=False
)
