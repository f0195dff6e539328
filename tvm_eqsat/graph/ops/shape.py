"""Operators that only rearrange, repeat or select elements."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from ...errors import IllTyped
from ..operator import REQUIRED, Attrs, Fusion, Operator, Types, no_flops, register
from ..types import Symbol, TensorType
from . import _relax
from ._shapes import broadcast, check_axis, check_same_dtype, same_size

op = relax.op


def _shape_expr(shape: Any) -> relax.ShapeExpr:
    return relax.ShapeExpr([d.var if isinstance(d, Symbol) else d for d in shape])


def _read_shape(call: Any) -> tuple[Any, tuple[int, ...]] | None:
    """Operand and target shape of ``reshape`` and ``broadcast_to``."""
    if len(call.args) != 2 or not _relax.may_be_tensor(call.args[0]):
        return None
    shape = _relax.shape_values(call.args[1])
    return None if shape is None else (call.args[0], shape)


# ** reshape (also what squeeze, expand_dims and flatten are read as, see aliases)


def _infer_reshape(types: Types, a: Any) -> TensorType:
    x = types[0]
    if 0 in a.shape:
        raise IllTyped("reshape: in Relax, 0 stands for the operand's own dimension")
    if not same_size(x.shape, a.shape):
        raise IllTyped(f"reshape from {x.shape} to {a.shape} changes the number of elements")
    return TensorType(a.shape, x.dtype)


def _read_reshape(call: Any) -> tuple[list[Any], Attrs] | None:
    found = _read_shape(call)
    return None if found is None else ([found[0]], RESHAPE.make_attrs(shape=found[1]))


def _sample_reshape(rng: np.random.Generator, types: Types) -> Attrs:
    rest, shape = types[0].numel(), []
    for _ in range(int(rng.integers(0, 3))):
        shape.append(int(rng.choice([d for d in range(1, rest + 1) if rest % d == 0])))
        rest //= shape[-1]
    return RESHAPE.make_attrs(shape=(*shape, rest))


RESHAPE: Operator = register(
    Operator(
        name="reshape",
        relax="relax.reshape",
        arity=1,
        schema={"shape": REQUIRED},
        infer=_infer_reshape,
        numpy=lambda arrays, a: arrays[0].reshape(a.shape),
        emit=lambda exprs, a: op.reshape(exprs[0], _shape_expr(a.shape)),
        read=_read_reshape,
        flops=no_flops,
        fusion=Fusion.INJECTIVE,
        linear_in=(0,),
        jointly_linear=True,
        sample=_sample_reshape,
    )
)


# ** permute_dims


def _infer_permute(types: Types, a: Any) -> TensorType:
    shape, axes = types[0].shape, a.axes
    if len(axes) != len(shape) or set(axes) != set(range(len(shape))):
        raise IllTyped(f"permute_dims: {axes} isn't a permutation of the axes of {types[0]}")
    return TensorType(tuple([shape[i] for i in axes]), types[0].dtype)


def _read_permute(call: Any) -> tuple[list[Any], Attrs] | None:
    args = _relax.operands(call, 1)
    if args is None or call.attrs is None:
        return None
    rank = _relax.rank(args[0])
    axes = _relax.axes_of(call.attrs.axes, rank)
    if axes is None or len(axes) != rank:
        return None
    return args, PERMUTE_DIMS.make_attrs(axes=axes if call.attrs.axes is not None else axes[::-1])


PERMUTE_DIMS: Operator = register(
    Operator(
        name="permute_dims",
        relax="relax.permute_dims",
        arity=1,
        schema={"axes": REQUIRED},
        infer=_infer_permute,
        numpy=lambda arrays, a: arrays[0].transpose(a.axes),
        emit=lambda exprs, a: op.permute_dims(exprs[0], list(a.axes)),
        read=_read_permute,
        flops=no_flops,
        fusion=Fusion.INJECTIVE,
        linear_in=(0,),
        jointly_linear=True,
        sample=lambda rng, types: PERMUTE_DIMS.make_attrs(axes=tuple(int(i) for i in rng.permutation(types[0].rank))),
    )
)


# ** broadcast_to


def _infer_broadcast_to(types: Types, a: Any) -> TensorType:
    x = types[0]
    if len(x.shape) > len(a.shape) or broadcast(x.shape, a.shape) != a.shape:
        raise IllTyped(f"{x.shape} doesn't broadcast to {a.shape}")
    return TensorType(a.shape, x.dtype)


def _read_broadcast_to(call: Any) -> tuple[list[Any], Attrs] | None:
    found = _read_shape(call)
    return None if found is None else ([found[0]], BROADCAST_TO.make_attrs(shape=found[1]))


def _sample_broadcast_to(rng: np.random.Generator, types: Types) -> Attrs:
    stretched = tuple(int(rng.integers(1, 4)) if d == 1 else d for d in types[0].shape)
    return BROADCAST_TO.make_attrs(shape=tuple(int(i) for i in rng.integers(1, 4, rng.integers(0, 2))) + stretched)


BROADCAST_TO: Operator = register(
    Operator(
        name="broadcast_to",
        relax="relax.broadcast_to",
        arity=1,
        schema={"shape": REQUIRED},
        infer=_infer_broadcast_to,
        numpy=lambda arrays, a: np.broadcast_to(arrays[0], a.shape),
        emit=lambda exprs, a: op.broadcast_to(exprs[0], _shape_expr(a.shape)),
        read=_read_broadcast_to,
        flops=no_flops,
        fusion=Fusion.BROADCAST,
        linear_in=(0,),
        jointly_linear=True,
        sample=_sample_broadcast_to,
    )
)


# ** concat and stack: any number of operands


def _infer_concat(types: Types, a: Any) -> TensorType:
    first, axis = types[0].shape, a.axis
    dtype = check_same_dtype("concat", types)
    check_axis("concat", axis, len(first))
    total = first[axis]
    before, after = first[:axis], first[axis + 1 :]
    for other in types[1:]:
        shape = other.shape
        if len(shape) != len(first) or shape[:axis] != before or shape[axis + 1 :] != after:
            raise IllTyped(f"concat along axis {axis} of {types[0]} and {other}")
        total = total + shape[axis]
    return TensorType((*before, total, *after), dtype)


def _read_concat(call: Any) -> tuple[list[Any], Attrs] | None:
    args = _relax.tuple_operands(call)
    if args is None or call.attrs is None:
        return None
    # Without an axis the operands are vectors.
    axis = _relax.axis_of(0 if call.attrs.axis is None else call.attrs.axis, _relax.rank(args[0]))
    return None if axis is None else (args, CONCAT.make_attrs(axis=axis))


def _sample_concat(rng: np.random.Generator, types: Types) -> Attrs:
    for axis in rng.permutation(types[0].rank):
        attrs = CONCAT.make_attrs(axis=int(axis))
        try:
            CONCAT.infer(types, attrs)
        except IllTyped:
            continue
        return attrs
    raise IllTyped(f"concat doesn't apply to {', '.join(map(str, types))}")


CONCAT: Operator = register(
    Operator(
        name="concat",
        relax="relax.concat",
        arity=None,
        schema={"axis": REQUIRED},
        infer=_infer_concat,
        numpy=lambda arrays, a: np.concatenate(arrays, a.axis),
        emit=lambda exprs, a: op.concat(list(exprs), a.axis),
        read=_read_concat,
        flops=no_flops,
        fusion=Fusion.INJECTIVE,
        linear_in=(0,),
        jointly_linear=True,
        sample=_sample_concat,
    )
)


def _infer_stack(types: Types, a: Any) -> TensorType:
    first, axis = types[0], a.axis
    check_axis("stack", axis, len(first.shape) + 1)
    for other in types[1:]:
        if other != first:
            raise IllTyped(f"stack of {first} and {other}")
    return TensorType((*first.shape[:axis], len(types), *first.shape[axis:]), first.dtype)


def _read_stack(call: Any) -> tuple[list[Any], Attrs] | None:
    args = _relax.tuple_operands(call)
    rank = _relax.rank(args[0]) if args else None
    if args is None or rank is None or call.attrs is None:
        return None
    axis = _relax.axis_of(0 if call.attrs.axis is None else call.attrs.axis, rank + 1)
    return None if axis is None else (args, STACK.make_attrs(axis=axis))


STACK: Operator = register(
    Operator(
        name="stack",
        relax="relax.stack",
        arity=None,
        schema={"axis": REQUIRED},
        infer=_infer_stack,
        numpy=lambda arrays, a: np.stack(arrays, a.axis),
        emit=lambda exprs, a: op.stack(list(exprs), a.axis),
        read=_read_stack,
        flops=no_flops,
        fusion=Fusion.BROADCAST,  # sic: no operand is indexed by the new axis
        linear_in=(0,),
        jointly_linear=True,
        sample=lambda rng, types: STACK.make_attrs(axis=int(rng.integers(0, types[0].rank + 1))),
    )
)
