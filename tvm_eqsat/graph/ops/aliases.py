"""Relax operators that are read as other operators: one node, or one chain of nodes per field of a tuple.

``zeros`` and ``ones`` have no tensor operand: ``full`` itself reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import Any

from tvm.tirx import IntImm

from ...layout.tvm_map import from_tvm
from ..operator import Attrs
from . import _relax
from .index import canonical_slice, read_slices
from .layout import LAYOUT_TRANSFORM
from .shape import RESHAPE

Chain = list[tuple[str, Attrs]]
ShapeRule = Callable[[tuple[int, ...], Any], tuple[int, ...] | None]


def read_alias(call: Any) -> list[Chain] | None:
    """How a call with one tensor operand, ``call.args[0]``, is written in the table's operators.

    Parameters
    ----------
    call : relax.Call
        Any call.

    Returns
    -------
    list of list of (str, Attrs), or None
        For each tensor of the result, the operators (names in the table) to apply to the operand, first to last;
        an empty chain is the operand itself. None if the call isn't such an alias, or not one that can be read.
    """
    reader = READERS.get(getattr(call.op, "name", ""))
    return reader(call) if reader is not None else None


def _reshaped(new_shape: ShapeRule) -> Callable[[Any], list[Chain] | None]:
    """Reader of an operator that only changes the shape, given the rule from the operand's shape and attributes."""

    def read(call: Any) -> list[Chain] | None:
        args = _relax.operands(call, 1)
        old = _relax.static_shape(args[0]) if args else None
        new = new_shape(old, call.attrs) if old is not None else None
        if new is None:
            return None
        return [[]] if new == old else [[("reshape", RESHAPE.make_attrs(shape=new))]]

    return read


def _squeezed(shape: tuple[int, ...], attrs: Any) -> tuple[int, ...] | None:
    axes = _relax.axes_of(attrs.axis, len(shape)) if attrs is not None else None
    # Axes that aren't 1 stay, silently, as in Relax.
    return None if axes is None else tuple(d for i, d in enumerate(shape) if d != 1 or i not in axes)


def _expanded(shape: tuple[int, ...], attrs: Any) -> tuple[int, ...] | None:
    if attrs is None:
        return None
    rank = len(shape) + len(attrs.axis)
    axes = _relax.axes_of(attrs.axis, rank)
    rest = iter(shape)
    return None if axes is None else tuple(1 if i in axes else next(rest) for i in range(rank))


def _flattened(shape: tuple[int, ...], attrs: Any) -> tuple[int, ...]:
    return (prod(shape),)


def _batch_flattened(shape: tuple[int, ...], attrs: Any) -> tuple[int, ...] | None:
    return (shape[0], prod(shape[1:])) if shape else None


def _strided_slice(call: Any) -> list[Chain] | None:
    found = read_slices(call)
    if found is None:
        return None
    shape = _relax.static_shape(found[0])
    return [_slices(found[1], shape or ())]


def _slices(slices: list[Attrs], shape: tuple[int, ...]) -> Chain:
    """Chain of the slices that don't take everything."""
    whole = {(axis, 0, dim, 1) for axis, dim in enumerate(shape)}
    return [("slice", attrs) for attrs in slices if attrs not in whole]


def _split(call: Any) -> list[Chain] | None:
    args = _relax.operands(call, 1)
    shape = _relax.static_shape(args[0]) if args else None
    axis = _relax.axis_of(call.attrs.axis, len(shape)) if shape is not None and call.attrs is not None else None
    if shape is None or axis is None:
        return None
    dim, where = shape[axis], call.attrs.indices_or_sections
    if isinstance(where, IntImm):
        part = -(-dim // where.value)  # the last part may be smaller
        cuts = [part * i for i in range(1, where.value)]
    else:
        cuts = [int(i) for i in where]
    slices = [canonical_slice(axis, begin, end, 1, dim, False) for begin, end in pairwise([0, *cuts, dim])]
    return None if None in slices else [_slices([attrs], shape) for attrs in slices if attrs is not None]


def _layout_transform(call: Any) -> list[Chain] | None:
    args = _relax.operands(call, 1)
    shape = _relax.static_shape(args[0]) if args else None
    if shape is None or call.attrs is None:
        return None
    fill = _relax.scalar(getattr(call.attrs.pad_value, "value", call.attrs.pad_value))
    found = from_tvm(call.attrs.index_map, shape, 0.0 if fill is None else fill)  # none: any value will do
    if found is None:
        return None
    return [[]] if found.is_identity else [[("layout_transform", LAYOUT_TRANSFORM.make_attrs(map=found))]]


READERS: dict[str, Callable[[Any], list[Chain] | None]] = {
    "relax.squeeze": _reshaped(_squeezed),
    "relax.expand_dims": _reshaped(_expanded),
    "relax.flatten": _reshaped(_flattened),
    "relax.nn.batch_flatten": _reshaped(_batch_flattened),
    "relax.strided_slice": _strided_slice,
    "relax.split": _split,
    "relax.layout_transform": _layout_transform,
}
