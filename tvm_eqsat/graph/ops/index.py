"""Selecting elements: ``slice`` by position, the gathers by index tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax

from ...errors import IllTyped
from ..operator import REQUIRED, Attrs, Fusion, Operator, Types, no_flops, register
from ..types import TensorType
from . import _relax
from ._arrays import Array
from ._shapes import INTEGER, check_axis, check_dtype

op = relax.op


# ** slice: one axis; a strided_slice of several, and every field of a split, are chains of them (see aliases)


def _infer_slice(types: Types, a: Any) -> TensorType:
    x, axis = types[0], a.axis
    check_axis("slice", axis, len(x.shape))
    if not (a.stride > 0 and 0 <= a.begin < a.end <= x.shape[axis] and (a.end - a.begin - 1) % a.stride == 0):
        raise IllTyped(f"slice {a.begin}:{a.end}:{a.stride} of axis {axis} of {x} isn't canonical")
    length = (a.end - a.begin - 1) // a.stride + 1
    return TensorType((*x.shape[:axis], length, *x.shape[axis + 1 :]), x.dtype)


def canonical_slice(axis: int, begin: int, end: int, stride: int, dim: int, clip: bool) -> Attrs | None:
    """Attributes of ``slice`` for bounds as Relax takes them, None if they don't select anything forwards.

    Parameters
    ----------
    clip : bool
        Negative bounds count from the end and bounds beyond the dimension are clipped (``assume_inbound`` is off).
    """
    if clip:
        begin, end = (min(max(i + dim if i < 0 else i, 0), dim) for i in (begin, end))
    if stride < 1 or not 0 <= begin < end <= dim:
        return None
    return SLICE.make_attrs(axis=axis, begin=begin, end=end - (end - begin - 1) % stride, stride=stride)


def read_slices(call: Any) -> tuple[Any, list[Attrs]] | None:
    """Operand and one ``slice`` per axis of a ``strided_slice``."""
    args = list(call.args)
    if len(args) not in (4, 5) or call.attrs is None or not all(isinstance(a, relax.Tuple) for a in args[1:]):
        return None
    shape = _relax.static_shape(args[0])
    bounds = [_relax.ints(a.fields) for a in args[1:]]
    if shape is None or None in bounds:
        return None
    axes = _relax.axes_of(bounds[0], len(shape))
    begins, ends, strides = bounds[1], bounds[2], bounds[3] if len(bounds) == 4 else (1,) * len(bounds[0] or ())
    if axes is None or not len(axes) == len(begins) == len(ends) == len(strides):  # type: ignore[arg-type]
        return None
    clip = not call.attrs.assume_inbound
    slices = [
        canonical_slice(axis, begin, end, stride, shape[axis], clip)
        for axis, begin, end, stride in zip(axes, begins, ends, strides, strict=True)  # type: ignore[arg-type]
    ]
    return None if None in slices else (args[0], slices)  # type: ignore[return-value]


def _read_slice(call: Any) -> tuple[list[Any], Attrs] | None:
    found = read_slices(call)
    return ([found[0]], found[1][0]) if found and len(found[1]) == 1 else None


def _sample_slice(rng: np.random.Generator, types: Types) -> Attrs:
    axis = int(rng.integers(types[0].rank))
    dim = int(types[0].shape[axis])
    begin = int(rng.integers(dim))
    found = canonical_slice(axis, begin, int(rng.integers(begin, dim)) + 1, int(rng.integers(1, 3)), dim, False)
    assert found is not None
    return found


def _slice(arrays: Sequence[Array], a: Any) -> Array:
    return arrays[0][(slice(None),) * a.axis + (slice(a.begin, a.end, a.stride),)]


SLICE: Operator = register(
    Operator(
        name="slice",
        relax="relax.strided_slice",
        arity=1,
        schema={"axis": REQUIRED, "begin": REQUIRED, "end": REQUIRED, "stride": 1},  # end: one after the last taken
        infer=_infer_slice,
        numpy=_slice,
        emit=lambda exprs, a: op.strided_slice(exprs[0], [a.axis], [a.begin], [a.end], [a.stride]),
        read=_read_slice,
        flops=no_flops,
        fusion=Fusion.INJECTIVE,
        linear_in=(0,),
        jointly_linear=True,
        sample=_sample_slice,
    )
)


# ** take


def _infer_take(types: Types, a: Any) -> TensorType:
    x, indices = types
    check_dtype("take: index", indices.dtype, INTEGER)
    axis = check_axis("take", a.axis, len(x.shape))
    if a.mode not in ("fast", "clip", "wrap"):
        raise IllTyped(f"take has no mode {a.mode!r}")
    return TensorType((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)


def _take(arrays: Sequence[Array], a: Any) -> Array:
    # "fast" promises indices in bounds.
    return np.asarray(np.take(arrays[0], arrays[1], a.axis, mode="wrap" if a.mode == "wrap" else "clip"))


def _read_take(call: Any) -> tuple[list[Any], Attrs] | None:
    args, attrs = _relax.operands(call, 2), call.attrs
    if args is None or attrs is None or attrs.mode not in ("fast", "clip", "wrap"):
        return None
    # Without an axis the operand is a vector.
    axis = _relax.axis_of(0 if attrs.axis is None else attrs.axis, _relax.rank(args[0]))
    return None if axis is None else (args, TAKE.make_attrs(axis=axis, mode=str(attrs.mode)))


TAKE: Operator = register(
    Operator(
        name="take",
        relax="relax.take",
        arity=2,
        schema={"axis": REQUIRED, "mode": "fast"},
        infer=_infer_take,
        numpy=_take,
        emit=lambda exprs, a: op.take(exprs[0], exprs[1], axis=a.axis, mode=a.mode),
        read=_read_take,
        flops=no_flops,
        fusion=Fusion.OPAQUE,
        linear_in=(0,),
        sample=lambda rng, types: TAKE.make_attrs(
            axis=int(rng.integers(types[0].rank)), mode=str(rng.choice(["fast", "clip", "wrap"]))
        ),
    )
)


# ** gather_elements


def _infer_gather_elements(types: Types, a: Any) -> TensorType:
    x, indices = types
    check_dtype("gather_elements: index", indices.dtype, frozenset({"int"}))
    axis = check_axis("gather_elements", a.axis, len(x.shape))
    if len(indices.shape) != len(x.shape):
        raise IllTyped(f"gather_elements: {x} and index {indices} differ in rank")
    for i, (dim, there) in enumerate(zip(indices.shape, x.shape, strict=True)):
        if i != axis and dim != there and not dim <= there:
            raise IllTyped(f"gather_elements: index {indices} reaches beyond axis {i} of {x}")
    return TensorType(indices.shape, x.dtype)


def _gather_elements(arrays: Sequence[Array], a: Any) -> Array:
    x, indices = arrays
    where = list(np.ogrid[tuple(slice(d) for d in indices.shape)])
    where[a.axis] = indices
    return x[tuple(where)]


def _read_gather_elements(call: Any) -> tuple[list[Any], Attrs] | None:
    args = _relax.operands(call, 2)
    axis = _relax.axis_of(call.attrs.axis, _relax.rank(args[0])) if args and call.attrs is not None else None
    return None if args is None or axis is None else (args, GATHER_ELEMENTS.make_attrs(axis=axis))


GATHER_ELEMENTS: Operator = register(
    Operator(
        name="gather_elements",
        relax="relax.gather_elements",
        arity=2,
        schema={"axis": REQUIRED},
        infer=_infer_gather_elements,
        numpy=_gather_elements,
        emit=lambda exprs, a: op.gather_elements(exprs[0], exprs[1], axis=a.axis),
        read=_read_gather_elements,
        flops=no_flops,
        fusion=Fusion.OPAQUE,
        linear_in=(0,),
        sample=lambda rng, types: GATHER_ELEMENTS.make_attrs(axis=int(rng.integers(types[0].rank))),
    )
)


# ** gather_nd: the last dimension of the index is one coordinate of the operand, after the batch dimensions


def _infer_gather_nd(types: Types, a: Any) -> TensorType:
    x, indices = types
    batch = a.batch_dims
    if indices.dtype != "int64":
        raise IllTyped(f"gather_nd needs indices of int64, not {indices.dtype}")
    if not (0 <= batch < len(indices.shape) and batch + indices.shape[-1] <= len(x.shape)):
        raise IllTyped(f"gather_nd of {x} by {indices} with {batch} batch dimensions")
    if indices.shape[:batch] != x.shape[:batch]:
        raise IllTyped(f"gather_nd: batch dimensions of {x} and {indices} differ")
    return TensorType((*indices.shape[:-1], *x.shape[batch + int(indices.shape[-1]) :]), x.dtype)


def _gather_nd(arrays: Sequence[Array], a: Any) -> Array:
    x, indices = arrays
    coordinates = [indices[..., i] for i in range(indices.shape[-1])]
    grid = np.ogrid[tuple(slice(d) for d in indices.shape[:-1])][: a.batch_dims]
    index: Any = (*grid, *coordinates)
    return np.asarray(x[index])


def _read_gather_nd(call: Any) -> tuple[list[Any], Attrs] | None:
    args = _relax.operands(call, 2)
    if args is None or call.attrs is None:
        return None
    return args, GATHER_ND.make_attrs(batch_dims=int(call.attrs.batch_dims))


def _sample_gather_nd(rng: np.random.Generator, types: Types) -> Attrs:
    x, indices = types
    fits = [
        b
        for b in range(len(indices.shape))
        if indices.shape[:b] == x.shape[:b] and b + int(indices.shape[-1]) <= len(x.shape)
    ]
    return GATHER_ND.make_attrs(batch_dims=int(rng.choice(fits)))


GATHER_ND: Operator = register(
    Operator(
        name="gather_nd",
        relax="relax.gather_nd",
        arity=2,
        schema={"batch_dims": 0},
        infer=_infer_gather_nd,
        numpy=_gather_nd,
        emit=lambda exprs, a: op.gather_nd(exprs[0], exprs[1], batch_dims=a.batch_dims),
        read=_read_gather_nd,
        flops=no_flops,
        fusion=Fusion.OPAQUE,
        linear_in=(0,),
        sample=_sample_gather_nd,
    )
)
