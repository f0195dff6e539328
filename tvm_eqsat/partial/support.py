"""Where the tensors of a program may be nonzero, if only some elements of its inputs are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from ..graph.operator import OPERATORS
from ..graph.tensor_graph import Node, TensorGraph
from .digits import dimension_groups
from .draft import static_shape
from .modular import Array

Shape = tuple[int, ...]
Support = list[Array]  # for each dimension, the positions outside of which a tensor is zero


def support(program: TensorGraph, flat: Collection[tuple[int, int]]) -> dict[int, Support]:
    """For each live node and each dimension, positions outside of which it is surely zero.

    Parameters
    ----------
    program : TensorGraph
        Static shapes.
    flat : collection of (int, int)
        Inputs, and a dimension of each, along which only the first element isn't zero.
    """
    found: dict[int, Support] = {}
    for i in program.live():
        node, shape = program.nodes[i], static_shape(program, i)
        found[i] = [np.arange(n) for n in shape]
        if node.op == "input":
            leaf = node.attrs[OPERATORS["input"].field_index("index")]
            found[i] = [np.arange(1 if (leaf, axis) in flat else n) for axis, n in enumerate(shape)]
        elif node.op in _FOLLOWED:
            operands = [static_shape(program, k) for k in node.inputs]
            found[i] = _FOLLOWED[node.op](node, shape, operands, [found[k] for k in node.inputs])
    return found


def _permute(node: Node, shape: Shape, operands: Sequence[Shape], known: Sequence[Support]) -> Support:
    return [known[0][i] for i in node.attrs[0]]


def _reshape(node: Node, shape: Shape, operands: Sequence[Shape], known: Sequence[Support]) -> Support:
    """That of the dimensions that are kept."""
    found = [np.arange(n) for n in shape]
    for mine, theirs in dimension_groups(operands[0], shape):
        kept = [i for i in mine if operands[0][i] > 1], [j for j in theirs if shape[j] > 1]
        if len(kept[0]) == len(kept[1]) == 1:
            found[kept[1][0]] = known[0][kept[0][0]]
    return found


def _pad(node: Node, shape: Shape, operands: Sequence[Shape], known: Sequence[Support]) -> Support:
    a: Any = node.attrs
    return [at + before for at, before in zip(known[0], a.pad_width[::2], strict=True)]


def _others(node: Node, shape: Shape, operands: Sequence[Shape], known: Sequence[Support]) -> Support:
    """Of a slice or a concatenation: that of the operands, along the other axes."""
    a: Any = node.attrs
    found = list(known[0])
    for more in known[1:]:
        found = [np.union1d(x, y) for x, y in zip(found, more, strict=True)]
    found[a.axis] = np.arange(shape[a.axis])
    return found


_FOLLOWED: dict[str, Callable[[Node, Shape, Sequence[Shape], Sequence[Support]], Support]] = {
    "permute_dims": _permute,
    "reshape": _reshape,
    "pad": _pad,
    "slice": _others,
    "concat": _others,
}
