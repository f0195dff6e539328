"""Halos: a mutant made exact by keeping the pieces of its data apart, instead of correcting its output (PET's code).

Where a convolution runs along several pieces laid end to end, its windows reach from one piece into the next: the
smallest remedy is a gap of zeros between them. Where it runs on tiles cut out of one line, windows reach beyond their
tile: each tile then takes along what lies around it, so that tiles overlap (as in ALT's ``unfold``, EuroSys'23).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from ..errors import IllTyped
from ..graph.ops._shapes import layout_axes
from ..graph.tensor_graph import TensorGraph
from .corrector import difference
from .digits import dimension_groups
from .draft import Draft, static_shape


def with_halo(program: TensorGraph, mutant: TensorGraph) -> TensorGraph | None:
    """The mutant with the smallest gaps, or overlaps, that make it equivalent.

    Parameters
    ----------
    program, mutant : TensorGraph
        As for :func:`~tvm_eqsat.partial.corrector.difference`.

    Returns
    -------
    TensorGraph or None
        An equivalent program; None if no convolution of the mutant runs along pieces or on tiles, or if something
        else is wrong with it.
    """
    graph, changed = mutant, False
    convolutions = [i for i in mutant.live() if mutant.nodes[i].op in ("conv1d", "conv2d", "conv3d")]
    if len(convolutions) != 1:
        return None
    for i in range(len(mutant.nodes[convolutions[0]].attrs.strides)):  # type: ignore[attr-defined]
        try:
            found = _apart(graph, i)
        except IllTyped:
            found = None
        graph, changed = found or graph, changed or found is not None
    return graph if changed and difference(program, graph, most=0).equal else None


class _Place(NamedTuple):
    """A reshape on the way to or from a convolution.

    Attributes
    ----------
    node : int
        The reshape.
    mine, theirs : list of int
        Dimensions before and after it that make up one another; those of one element are left out.
    way : dict of int to int
        The nodes in between, with the dimension of each that the convolution's dimension is.
    """

    node: int
    mine: list[int]
    theirs: list[int]
    way: dict[int, int]


def _kept(graph: TensorGraph, i: int, axis: int, back: bool) -> int | None:
    """The dimension of a node's operand that is its dimension ``axis`` (or the other way round); None if none is."""
    node = graph.nodes[i]
    attrs: Any = node.attrs
    if node.op == "permute_dims":
        return int(attrs.axes[axis]) if back else attrs.axes.index(axis)
    if node.op == "slice" and attrs.axis != axis:
        return axis
    if node.op == "pad" and not any(attrs.pad_width[2 * axis : 2 * axis + 2]):
        return axis
    if node.op == "reshape":
        mine, theirs = _group(graph, i, axis, back)
        if len(mine) == len(theirs) == 1:
            return mine[0] if back else theirs[0]
    return None


def _group(graph: TensorGraph, i: int, axis: int, back: bool) -> tuple[list[int], list[int]]:
    """Dimensions of more than one element that make up dimension ``axis`` of a reshape, or of its operand."""
    x, y = static_shape(graph, graph.nodes[i].inputs[0]), static_shape(graph, i)
    for mine, theirs in dimension_groups(x, y):
        if axis in (theirs if back else mine):
            return [k for k in mine if x[k] > 1], [k for k in theirs if y[k] > 1]
    return [], []


def _reshape_before(graph: TensorGraph, i: int, axis: int) -> _Place | None:
    """The reshape that dimension ``axis`` of a node comes from."""
    way: dict[int, int] = {}
    while graph.nodes[i].inputs:
        kept = _kept(graph, i, axis, back=True)
        if kept is None:
            return _Place(i, *_group(graph, i, axis, True), way) if graph.nodes[i].op == "reshape" else None
        way[i] = axis
        i, axis = graph.nodes[i].inputs[0], kept
    return None


def _reshape_after(graph: TensorGraph, i: int, axis: int) -> _Place | None:
    """The reshape that dimension ``axis`` of a node ends in."""
    users, way = graph.users(), dict[int, int]()
    while len(users[i]) == 1:
        (after,) = users[i]
        kept = _kept(graph, after, axis, back=False)
        if kept is None:
            found = graph.nodes[after].op == "reshape"
            return _Place(after, *_group(graph, after, axis, False), way) if found else None
        i, axis = after, kept
        way[i] = axis
    return None


def _apart(graph: TensorGraph, spatial: int) -> TensorGraph | None:
    """The graph with a halo along one spatial dimension of its convolution; None if there are no pieces along it."""
    (conv,) = [i for i in graph.live() if graph.nodes[i].op in ("conv1d", "conv2d", "conv3d")]
    node = graph.nodes[conv]
    a: Any = node.attrs
    n = len(a.strides)
    axis = layout_axes(a.data_layout, "NC" + "DHW"[3 - n :])[2 + spatial]
    before = _reshape_before(graph, node.inputs[0], axis)
    padding = a.padding[spatial], a.padding[n + spatial]
    if before is None or not any(padding):
        return None
    if len(before.theirs) == 1:
        after = _reshape_after(graph, conv, axis)
        return after and _with_gaps(graph, before, conv, axis, after, a.strides[spatial], max(padding))
    if len(before.mine) == 1 and _dimension_at(graph, before, node.inputs[0], axis) == before.theirs[-1]:
        unpadded = a._replace(padding=tuple(0 if i % n == spatial else p for i, p in enumerate(a.padding)))
        return _with_overlap(graph, before, conv, unpadded, padding)
    return None


def _dimension_at(graph: TensorGraph, before: _Place, i: int, axis: int) -> int:
    """Dimension ``axis`` of a node, followed back to the result of the reshape."""
    while i != before.node:
        axis = _kept(graph, i, axis, back=True) or 0
        i = graph.nodes[i].inputs[0]
    return axis


def _with_gaps(
    graph: TensorGraph, before: _Place, conv: int, axis: int, after: _Place, stride: int, gap: int
) -> TensorGraph | None:
    """Pieces that are merged into one dimension, the last digit within a piece, with zeros in between."""
    data, result = graph.nodes[before.node], graph.nodes[after.node]
    inner, (line,) = before.mine[-1], before.theirs
    length, width = static_shape(graph, data.inputs[0])[inner], static_shape(graph, after.node)[after.theirs[-1]]
    count = prod(static_shape(graph, data.inputs[0])[k] for k in before.mine[:-1])
    if count != prod(static_shape(graph, after.node)[k] for k in after.theirs[:-1]) or len(after.mine) != 1:
        return None
    gap += -(length + gap) % stride
    period = (length + gap) // stride

    def merged(draft: Draft, x: int) -> int:
        shape = list(data.attrs[0])
        shape[line] = count * (length + gap)
        return draft.slice(draft.reshape(draft.pad(x, inner, 0, gap), shape), line, 0, shape[line] - gap)

    def parted(draft: Draft, x: int) -> int:
        (at,), piece, shape = after.mine, after.theirs[-1], list(result.attrs[0])
        shape[piece] = period
        x = draft.pad(x, at, 0, count * period - draft.shape(x)[at])
        return draft.slice(draft.reshape(x, shape), piece, 0, width)

    return _rewritten(graph, {before.node: merged, after.node: parted}, {**before.way, conv: axis, **after.way})


def _with_overlap(
    graph: TensorGraph, before: _Place, conv: int, attrs: tuple[Any, ...], padding: tuple[int, int]
) -> TensorGraph:
    """Tiles that are cut out of one dimension, with as much around them as the convolution would pad."""
    node = graph.nodes[before.node]
    (line,), tile = before.mine, before.theirs[-1]
    shape = static_shape(graph, before.node)
    length = shape[tile]
    wide = length + sum(padding)
    count = static_shape(graph, node.inputs[0])[line] // length

    def tiles(draft: Draft, x: int) -> int:
        x = draft.pad(x, line, *padding)
        parts = [draft.slice(x, line, k * length, k * length + wide) for k in range(count)]
        found = draft("stack", *parts, axis=line)
        return draft.reshape(found, [wide if i == tile else n for i, n in enumerate(shape)])

    def unpadded(draft: Draft, x: int, weight: int) -> int:
        return draft.apply(graph.nodes[conv].op, attrs, x, weight)

    return _rewritten(graph, {before.node: tiles, conv: unpadded}, before.way)


def _rewritten(graph: TensorGraph, changes: dict[int, Callable[..., int]], way: dict[int, int]) -> TensorGraph:
    """The graph with some nodes written anew, from their operands; on the way, reshapes keep a dimension."""
    draft = Draft(graph)
    place: dict[int, int] = {}
    for i in graph.live():
        node = graph.nodes[i]
        operands = [place[k] for k in node.inputs]
        if i in changes:
            place[i] = changes[i](draft, *operands)
        elif i in way and node.op == "reshape":
            shape = list(node.attrs[0])
            kept = _kept(graph, i, way[i], back=True)
            assert kept is not None
            shape[way[i]] = draft.shape(operands[0])[kept]
            place[i] = draft.reshape(operands[0], shape)
        else:
            place[i] = draft.apply(node.op, node.attrs, *operands)
    return draft.done(*(place[i] for i in graph.outputs))
