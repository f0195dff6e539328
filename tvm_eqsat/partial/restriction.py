"""A program restricted to a box of its output: it reads, and computes, only what that box needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..graph.ops._shapes import in_layout, layout_axes
from ..graph.tensor_graph import Node, TensorGraph
from .boxes import Box
from .digits import dimension_groups
from .draft import Draft, static_shape


class Restriction:
    """Writes boxes of a program's tensors into a draft over the same inputs.

    Parameters
    ----------
    program : TensorGraph
        Static shapes. Operators that can't be restricted are computed as a whole, and the box is cut out.
    draft : Draft
        What is written to.
    """

    def __init__(self, program: TensorGraph, draft: Draft) -> None:
        self.program, self.draft = program, draft
        self._known: dict[tuple[int, Box], int] = {}

    def shape(self, i: int) -> tuple[int, ...]:
        """Shape of one of the program's tensors."""
        return static_shape(self.program, i)

    def tile(self, i: int, box: Box) -> int:
        """The node of the draft that computes a box of the program's node ``i``."""
        if (i, box) not in self._known:
            node, whole = self.program.nodes[i], _whole(self.shape(i))
            if box == whole:
                made = self.draft.apply(
                    node.op, node.attrs, *(self.tile(k, _whole(self.shape(k))) for k in node.inputs)
                )
            elif node.op in _RESTRICT:
                made = _RESTRICT[node.op](self, node, box)
            else:
                made = self.cut(self.tile(i, whole), box)
            self._known[i, box] = made
        return self._known[i, box]

    def cut(self, x: int, box: Sequence[tuple[int, int]]) -> int:
        """A box of a tensor of the draft."""
        for axis, (begin, end) in enumerate(box):
            x = self.draft.slice(x, axis, begin, end)
        return x

    def zeros(self, node: Node, box: Box) -> int:
        """A box that holds only zeros."""
        return self.draft("full", value=0.0, shape=tuple(e - b for b, e in box), dtype=node.type.dtype)  # type: ignore


def _whole(shape: Sequence[int]) -> Box:
    return tuple((0, n) for n in shape)


def _clip(begin: int, end: int, size: int) -> tuple[int, int]:
    return max(begin, 0), min(end, size)


def _elementwise(r: Restriction, node: Node, box: Box) -> int:
    return r.draft.apply(node.op, node.attrs, *(r.tile(i, _aligned(r.shape(i), box)) for i in node.inputs))


def _aligned(shape: Sequence[int], box: Box) -> Box:
    """The part of an operand of this shape that is broadcast to a box."""
    sides = box[len(box) - len(shape) :]
    return tuple((0, 1) if n == 1 else side for n, side in zip(shape, sides, strict=True))


def _broadcast_to(r: Restriction, node: Node, box: Box) -> int:
    (i,) = node.inputs
    return r.draft("broadcast_to", r.tile(i, _aligned(r.shape(i), box)), shape=tuple(e - b for b, e in box))


def _matmul(r: Restriction, node: Node, box: Box) -> int:
    (x, y), rest = node.inputs, list(box)
    xs, ys = r.shape(x), r.shape(y)
    columns = [rest.pop()] if len(ys) > 1 else []
    rows = [rest.pop()] if len(xs) > 1 else []
    summed = (0, xs[-1])
    left = r.tile(x, (*_aligned(xs[:-2], tuple(rest)), *rows, summed))
    right = r.tile(y, (*_aligned(ys[:-2], tuple(rest)), summed, *columns))
    return r.draft.apply("matmul", node.attrs, left, right)


def _reshape(r: Restriction, node: Node, box: Box) -> int:
    """The elements of a box are a box of the operand, or else the box is made wider and cut out afterwards."""
    (i,), out = node.inputs, node.attrs[0]
    shape = r.shape(i)
    wanted: list[tuple[int, int]] = [(0, n) for n in shape]
    wider = [(0, n) for n in out]
    for mine, theirs in dimension_groups(shape, out):
        corners = [[box[j][0] for j in theirs], [box[j][1] - 1 for j in theirs]]
        flat = [int(np.ravel_multi_index(c, [out[j] for j in theirs])) if c else 0 for c in corners]
        first, last = (np.unravel_index(f, [shape[k] for k in mine]) if mine else () for f in flat)
        hull = [(int(b), int(e) + 1) for b, e in zip(first, last, strict=True)]
        if prod(e - b for b, e in hull) == flat[1] - flat[0] + 1 == prod(box[j][1] - box[j][0] for j in theirs) or (
            _same_dimension([shape[k] for k in mine], [out[j] for j in theirs])
        ):
            for k, side in zip(mine, hull, strict=True):
                wanted[k] = side
            for j in theirs:
                wider[j] = box[j]
    found = r.draft.reshape(r.tile(i, tuple(wanted)), [e - b for b, e in wider])
    return r.cut(found, [(b - w, e - w) for (b, e), (w, _) in zip(box, wider, strict=True)])


def _same_dimension(x: Sequence[int], y: Sequence[int]) -> bool:
    return sum(n > 1 for n in x) <= 1 and sum(n > 1 for n in y) <= 1


def _permute(r: Restriction, node: Node, box: Box) -> int:
    axes = node.attrs[0]
    return r.draft.permute(r.tile(node.inputs[0], in_layout(box, axes)), axes)


def _sum(r: Restriction, node: Node, box: Box) -> int:
    axes, keepdims = node.attrs
    rest = iter(box)
    wanted = []
    for i, n in enumerate(r.shape(node.inputs[0])):
        side = next(rest) if i not in axes or keepdims else (0, n)
        wanted.append((0, n) if i in axes else side)
    return r.draft.apply("sum", node.attrs, r.tile(node.inputs[0], tuple(wanted)))


def _slice(r: Restriction, node: Node, box: Box) -> int:
    a: Any = node.attrs
    begin, end = (a.begin + a.stride * at for at in box[a.axis])
    end -= a.stride - 1
    found = r.tile(node.inputs[0], (*box[: a.axis], (begin, end), *box[a.axis + 1 :]))
    return r.draft.slice(found, a.axis, 0, end - begin, a.stride)


def _pad(r: Restriction, node: Node, box: Box) -> int:
    a: Any = node.attrs
    inner, outer = [], []
    for (begin, end), before, n in zip(box, a.pad_width[::2], r.shape(node.inputs[0]), strict=True):
        b, e = _clip(begin - before, end - before, n)
        if b >= e:
            return r.zeros(node, box)
        inner.append((b, e))
        outer.append((b - (begin - before), end - before - e))
    found = r.tile(node.inputs[0], tuple(inner))
    for axis, (before, after) in enumerate(outer):
        found = r.draft.pad(found, axis, before, after)
    return found


def _concat(r: Restriction, node: Node, box: Box) -> int:
    (axis,), start, parts = node.attrs, 0, []
    for i in node.inputs:
        size = r.shape(i)[axis]
        begin, end = _clip(box[axis][0] - start, box[axis][1] - start, size)
        if begin < end:
            parts.append(r.tile(i, (*box[:axis], (begin, end), *box[axis + 1 :])))
        start += size
    return r.draft.concat(parts, axis)


def _stack(r: Restriction, node: Node, box: Box) -> int:
    (axis,) = node.attrs
    rest = (*box[:axis], *box[axis + 1 :])
    return r.draft("stack", *(r.tile(i, rest) for i in node.inputs[slice(*box[axis])]), axis=axis)


def _channels(groups: int, filters: int, channels: int, side: tuple[int, int]) -> tuple[tuple[int, int], int]:
    """Channels of data that filters read (``filters`` and ``channels``: of one group), and how many groups these are.

    No group at all: the filters are parts of several groups.
    """
    begin, end = side[0] // filters, -(-side[1] // filters)
    if end - begin > 1 and (side[0] % filters or side[1] % filters):
        return (0, groups * channels), 0
    return (begin * channels, end * channels), end - begin


class Window(NamedTuple):
    """What a box of a convolution reads.

    Attributes
    ----------
    data, weight : Box
        Of the operands.
    before, after : tuple of int
        Zeros around each spatial dimension of that data.
    groups : int
        Of the convolution; 0 if the box has parts of several groups.
    """

    data: Box
    weight: Box
    before: tuple[int, ...]
    after: tuple[int, ...]
    groups: int


def conv_axes(a: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Position of batch, channels and spatial dimensions in the data, of filters, channels and taps in the weight."""
    spatial = "DHW"[3 - len(a.strides) :]
    return layout_axes(a.data_layout, "NC" + spatial), layout_axes(a.kernel_layout, "OI" + spatial)


def conv_window(a: Any, x: Sequence[int], w: Sequence[int], box: Box) -> Window | None:
    """What a box of a convolution of ``x`` and ``w`` (shapes) reads; None if nothing but padding."""
    data, kernel = conv_axes(a)
    images, filters, *places = (box[i] for i in data)
    channels, groups = _channels(a.groups, w[kernel[0]] // a.groups, w[kernel[1]], filters)
    spaces, before, after = [], [], []
    for i, (begin, end) in enumerate(places):
        first = begin * a.strides[i] - a.padding[i]
        last = (end - 1) * a.strides[i] - a.padding[i] + a.dilation[i] * (w[kernel[2 + i]] - 1) + 1
        b, e = _clip(first, last, x[data[2 + i]])
        if b >= e:
            return None
        spaces.append((b, e))
        before.append(b - first)
        after.append(last - e)
    weight = in_layout((filters, (0, w[kernel[1]]), *((0, w[k]) for k in kernel[2:])), kernel)
    return Window(in_layout((images, channels, *spaces), data), weight, tuple(before), tuple(after), groups)


def _conv(r: Restriction, node: Node, box: Box) -> int:
    """On the tile of data that the box's windows cover; where they reach beyond the data, the tile is padded."""
    a: Any = node.attrs
    x, w = node.inputs
    window = conv_window(a, r.shape(x), r.shape(w), box)
    if window is None:
        return r.zeros(node, box)
    if not window.groups:  # whole groups, cut afterwards
        axis, per_group = conv_axes(a)[0][1], r.shape(w)[conv_axes(a)[1][0]] // a.groups
        begin, end = box[axis]
        whole = begin // per_group * per_group, -(-end // per_group) * per_group
        found = _conv(r, node, (*box[:axis], whole, *box[axis + 1 :]))
        return r.draft.slice(found, axis, begin - whole[0], end - whole[0])
    attrs = a._replace(padding=window.before + window.after, groups=window.groups)
    return r.draft.apply(node.op, attrs, r.tile(x, window.data), r.tile(w, window.weight))


def _conv_transpose(r: Restriction, node: Node, box: Box) -> int:
    """On the tile of data that reaches the box; the border that it also reaches is cut off."""
    a: Any = node.attrs
    (x, w), n = node.inputs, len(a.strides)
    xs, ws = r.shape(x), r.shape(w)
    channels, groups = _channels(a.groups, ws[1], ws[0] // a.groups, box[1])
    if not groups:
        wider = (box[0], (0, ws[1] * a.groups), *box[2:])
        found = _conv_transpose(r, node, wider)
        return r.draft.slice(found, 1, *box[1])
    spaces, crop = [], []
    for i, (begin, end) in enumerate(box[2:]):
        reach, stride, before = a.dilation[i] * (ws[2 + i] - 1), a.strides[i], a.padding[i]
        b, e = _clip(-(-(begin + before - reach) // stride), (end - 1 + before) // stride + 1, xs[2 + i])
        if b >= e:
            return r.zeros(node, box)
        spaces.append((b, e))
        start = begin + before - b * stride
        crop.append((start, start + end - begin - ((e - b - 1) * stride + reach + 1)))
    begin = channels[0] // (ws[0] // a.groups) * ws[1]
    filters = (0, ws[1]) if groups > 1 else (box[1][0] - begin, box[1][1] - begin)
    weight = (channels, filters, *((0, size) for size in ws[2:]))
    attrs = a._replace(padding=(0,) * 2 * n, output_padding=(0,) * n, groups=groups)
    found = r.draft.apply(node.op, attrs, r.tile(x, (box[0], channels, *spaces)), r.tile(w, weight))
    for i, (start, beyond) in enumerate(crop):
        found = r.draft.pad(found, 2 + i, -start, beyond)
    return found


_RESTRICT: dict[str, Callable[[Restriction, Node, Box], int]] = {
    "input": lambda r, node, box: r.cut(r.draft.apply(node.op, node.attrs), box),
    "constant": lambda r, node, box: r.cut(r.draft.apply(node.op, node.attrs), box),
    "full": lambda r, node, box: r.draft.apply(
        node.op,
        node.attrs._replace(shape=tuple(e - b for b, e in box)),  # type: ignore[attr-defined]
    ),
    "negative": _elementwise,
    "add": _elementwise,
    "subtract": _elementwise,
    "multiply": _elementwise,
    "matmul": _matmul,
    "reshape": _reshape,
    "permute_dims": _permute,
    "broadcast_to": _broadcast_to,
    "sum": _sum,
    "slice": _slice,
    "pad": _pad,
    "concat": _concat,
    "stack": _stack,
    **{f"conv{n}d": _conv for n in (1, 2, 3)},
    **{f"conv{n}d_transpose": _conv_transpose for n in (1, 2, 3)},
}
