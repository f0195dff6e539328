"""Reductions over a set of axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from ..operator import OPERATORS, REQUIRED, Attrs, Fusion, Operator, Types, register
from ..types import TensorType
from . import _relax
from ._arrays import Array
from ._shapes import FLOAT, NUMBER, check_axes, check_dtype


def _register(
    name: str,
    numpy: Callable[..., Any],
    domain: frozenset[str] = NUMBER,
    *,
    flops: int = 1,
    linear: bool = False,
    fusion: Fusion = Fusion.REDUCE,
) -> Operator:
    """Register a reduction that Relax knows by the same name; ``numpy`` takes the array, ``axis`` and ``keepdims``."""
    relax_op = getattr(relax.op, name)

    def infer(types: Types, a: Any) -> TensorType:
        x, axes = types[0], a.axes
        check_dtype(name, x.dtype, domain)
        check_axes(name, axes, len(x.shape))
        if a.keepdims:
            return TensorType(tuple(1 if i in axes else dim for i, dim in enumerate(x.shape)), x.dtype)
        return TensorType(tuple(dim for i, dim in enumerate(x.shape) if i not in axes), x.dtype)

    def read(call: Any) -> tuple[list[Any], Attrs] | None:
        args = _relax.operands(call, 1)
        if args is None or call.attrs is None:
            return None
        axes = _relax.axes_of(call.attrs.axis, _relax.rank(args[0]))
        if not axes:  # TVM infers an empty list as "no axis", but lowers it as "every axis"
            return None
        return args, OPERATORS[name].make_attrs(axes=tuple(sorted(axes)), keepdims=bool(call.attrs.keepdims))

    def sample(rng: np.random.Generator, types: Types) -> Attrs:
        rank = types[0].rank
        axes = rng.choice(rank, int(rng.integers(1, rank + 1)), replace=False)
        return OPERATORS[name].make_attrs(axes=tuple(sorted(int(i) for i in axes)), keepdims=bool(rng.integers(2)))

    return register(
        Operator(
            name=name,
            relax=f"relax.{name}",
            arity=1,
            schema={"axes": REQUIRED, "keepdims": False},
            infer=infer,
            numpy=lambda arrays, a: np.asarray(numpy(arrays[0], axis=a.axes, keepdims=a.keepdims)),
            emit=lambda exprs, a: relax_op(exprs[0], axis=list(a.axes), keepdims=a.keepdims),
            read=read,
            flops=lambda ins, out, a: float(flops * ins[0].numel()),
            fusion=fusion,
            linear_in=(0,) if linear else (),
            jointly_linear=linear,
            sample=sample,
        )
    )


def _sum(x: Array, axis: tuple[int, ...], keepdims: bool) -> Any:
    return np.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype)


def _prod(x: Array, axis: tuple[int, ...], keepdims: bool) -> Any:
    return np.prod(x, axis=axis, keepdims=keepdims, dtype=x.dtype)


def _mean(x: Array, axis: tuple[int, ...], keepdims: bool) -> Any:
    return np.asarray(_sum(x, axis, keepdims)) / np.prod([x.shape[i] for i in axis]).astype(x.dtype)


def _variance(x: Array, axis: tuple[int, ...], keepdims: bool) -> Any:
    return _mean(np.square(x - _mean(x, axis, True)), axis, keepdims)


SUM = _register("sum", _sum, linear=True)
MAX = _register("max", np.max)
MIN = _register("min", np.min)
PROD = _register("prod", _prod)
# TVM divides integers towards zero, in a wider dtype than it infers: only floats are modelled.
MEAN = _register("mean", _mean, FLOAT, fusion=Fusion.OUT_EWISE_FUSABLE)
VARIANCE = _register("variance", _variance, FLOAT, flops=4, fusion=Fusion.OUT_EWISE_FUSABLE)
STD = _register(
    "std",
    lambda x, axis, keepdims: np.sqrt(_variance(x, axis, keepdims)),
    FLOAT,
    flops=4,
    fusion=Fusion.OUT_EWISE_FUSABLE,
)
