"""Programs evaluated in a prime field, only at chosen positions of their output.

Every operator asks its operands for the positions that it reads, so the cost is that of the positions wanted, not that
of the tensors. Values are int64 below :data:`~tvm_eqsat.verify.field.PRIME`. Inputs are random functions of the
position: each element has one value wherever, and however often, it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import prod
from typing import Any

import numpy as np

from ..graph.operator import OPERATORS
from ..graph.ops._shapes import in_layout, layout_axes
from ..graph.tensor_graph import Node, TensorGraph
from ..verify.field import PRIME
from .digits import dimension_groups
from .draft import static_shape
from .modular import Array, field_elements, matmul_field, random_field
from .support import Shape, support


class Points:
    """A program's values at chosen positions.

    Parameters
    ----------
    program : TensorGraph
        A multilinear program with one output and static shapes, of operators that :mod:`.boxes` knows.
    flat : collection of (int, int)
        Inputs, and a dimension of each, along which only the first element isn't zero. Sums skip the others.
    """

    def __init__(self, program: TensorGraph, flat: Collection[tuple[int, int]] = ()) -> None:
        self.program, self.flat, self.seed = program, flat, 0
        self.shapes = {i: static_shape(program, i) for i in program.live()}
        self.support = support(program, flat)
        self._known: dict[tuple[int, tuple[bytes, ...]], Array] = {}

    def output(self, index: Sequence[Array], seed: int) -> Array:
        """Values of the output at a product of positions.

        Parameters
        ----------
        index : sequence of numpy.ndarray
            Positions along each dimension.
        seed : int
            Of the inputs' values; programs with the same seed read the same inputs.

        Returns
        -------
        numpy.ndarray of int64, one dimension for each of ``index``
        """
        self.seed = seed
        self._known.clear()
        return self.gather(self.program.outputs[0], index)

    def gather(self, i: int, index: Sequence[Array]) -> Array:
        """Values of a node at a product of positions, in any order; zero outside of the tensor."""
        shape = self.shapes[i]
        if not all(at.size for at in index):
            return np.zeros([at.size for at in index], np.int64)
        if any(at.min() < 0 or at.max() >= n for at, n in zip(index, shape, strict=True)):
            inside = [(0 <= at) & (at < n) for at, n in zip(index, shape, strict=True)]
            out = np.zeros([at.size for at in index], np.int64)
            out[np.ix_(*inside)] = self.gather(i, [at[ok] for at, ok in zip(index, inside, strict=True)])
            return out
        unique = [_unique(at, n) for at, n in zip(index, shape, strict=True)]
        found = self.read(i, [at for at, _ in unique])
        if all(at is ascending for at, (ascending, _) in zip(index, unique, strict=True)):
            return found
        return found[np.ix_(*(back for _, back in unique))]

    def read(self, i: int, index: Sequence[Array]) -> Array:
        """Values of a node at a product of positions, which are in it and ascend."""
        key = i, tuple(at.tobytes() for at in index)
        if key not in self._known:
            node = self.program.nodes[i]
            self._known[key] = _MEANING[node.op](self, node, list(index), self.shapes[i])
        return self._known[key]


_FIRST = np.zeros(1, np.int64)  # of a dimension that is stretched


def _all(n: int) -> Array:
    return np.arange(n)


def _unique(at: Array, size: int) -> tuple[Array, Array]:
    """Positions below ``size`` in ascending order, and where each of ``at`` is among them; the same if so already."""
    if at.size < 2 or bool((at[1:] > at[:-1]).all()):
        return at, np.arange(at.size)
    used = np.zeros(size, bool)
    used[at] = True
    return np.flatnonzero(used), (np.cumsum(used) - 1)[at]


def _positions(index: Sequence[Array], shape: Sequence[int]) -> Array:
    """Flat positions of a product of positions."""
    flat = np.zeros((), np.int64)
    for at, n in zip(index, shape, strict=True):
        flat = flat[..., None] * n + at
    return flat


# ** one function per operator: values at ``index`` of a node of shape ``shape``


def _input(points: Points, node: Node, index: list[Array], shape: Shape) -> Array:
    leaf = node.attrs[OPERATORS["input"].field_index("index")]
    values = random_field(points.seed, leaf, _positions(index, shape))
    for axis, at in enumerate(index):
        if (leaf, axis) in points.flat:
            values *= (at == 0).reshape([-1 if i == axis else 1 for i in range(len(index))])
    return values


def _constant(points: Points, node: Node, index: list[Array], shape: Shape) -> Array:
    array = OPERATORS[node.op].numpy((), node.attrs)
    return field_elements(np.asarray(array[np.ix_(*index)]))


def _operands(points: Points, node: Node, index: list[Array]) -> list[Array]:
    """Values of operands that broadcast to the node's shape."""
    values = []
    for i in node.inputs:
        shape = points.shapes[i]
        aligned = index[len(index) - len(shape) :]
        values.append(points.read(i, [_FIRST if n == 1 else at for at, n in zip(aligned, shape, strict=True)]))
    return values


def _elementwise(function: Callable[..., Array]) -> Callable[[Points, Node, list[Array], Shape], Array]:
    def value(points: Points, node: Node, index: list[Array], shape: Shape) -> Array:
        return np.asarray(function(*_operands(points, node, index)) % PRIME)

    return value


def _broadcast_to(points: Points, node: Node, index: list[Array], shape: Shape) -> Array:
    return np.broadcast_to(_operands(points, node, index)[0], [at.size for at in index])


def _matmul(points: Points, node: Node, index: list[Array], shape: Shape) -> Array:
    x, y = node.inputs
    xs, ys = points.shapes[x], points.shapes[y]
    columns = [index[-1]] if len(ys) > 1 else []
    rows = [index[len(index) - 1 - len(columns)]] if len(xs) > 1 else []
    batch = index[: len(index) - len(rows) - len(columns)]

    def stacked(shape: tuple[int, ...]) -> list[Array]:
        lengths = shape[:-2]
        return [_FIRST if n == 1 else at for at, n in zip(batch[len(batch) - len(lengths) :], lengths, strict=True)]

    summed = np.intersect1d(points.support[x][-1], points.support[y][-2 if columns else 0], assume_unique=True)
    a = points.read(x, [*stacked(xs), *rows, summed])
    b = points.read(y, [*stacked(ys), summed, *columns])
    out = matmul_field(a if rows else a[None], b if columns else b[:, None])
    return out.reshape([at.size for at in index])


def _convolution(transposed: bool) -> Callable[[Points, Node, list[Array], Shape], Array]:
    def value(points: Points, node: Node, index: list[Array], shape: Shape) -> Array:
        a: Any = node.attrs
        n, (x, w) = len(a.strides), node.inputs
        spatial = "DHW"[3 - n :]
        data = tuple(range(n + 2)) if transposed else layout_axes(a.data_layout, "NC" + spatial)
        kernel = (1, 0, *range(2, n + 2)) if transposed else layout_axes(a.kernel_layout, "OI" + spatial)
        xs, ws = points.shapes[x], points.shapes[w]
        images, filters, *places = (index[i] for i in data)
        sizes, tables = [xs[i] for i in data[2:]], []
        for i, (at, size) in enumerate(zip(places, sizes, strict=True)):
            taps = a.dilation[i] * _all(ws[kernel[2 + i]])
            if transposed:
                reached, rest = np.divmod(at[:, None] + a.padding[i] - taps, a.strides[i])
                tables.append(np.where(rest == 0, reached, size))
            else:
                tables.append(at[:, None] * a.strides[i] + taps - a.padding[i])
        # Per group: its filters, the channels of data they read, and where these are in the weight.
        channels, per_group = xs[data[1]] // a.groups, shape[data[1]] // a.groups
        used, parts = _all(channels), []
        if a.groups == 1:
            used = np.intersect1d(points.support[x][data[1]], points.support[w][kernel[1]], assume_unique=True)
        for group in np.unique(filters // per_group):
            mine = filters[filters // per_group == group]
            read = group * channels + used
            o, c = (mine - group * per_group, read) if transposed else (mine, used)
            wanted = in_layout([images, read, *(t.reshape(-1) for t in tables)], data)
            values = points.gather(x, wanted).transpose(data)
            values = values.reshape(len(images), len(used), *(k for t in tables for k in t.shape))
            order = (0, *range(2, 2 + 2 * n, 2), 1, *range(3, 3 + 2 * n, 2))
            lines = values.transpose(order).reshape(-1, len(used) * prod(t.shape[1] for t in tables))
            taps = [_all(t.shape[1]) for t in tables]
            weights = points.read(w, in_layout([o, c, *taps], kernel)).transpose(kernel).reshape(len(mine), -1)
            parts.append(matmul_field(lines, weights.T))
        out = np.concatenate(parts, 1).reshape(len(images), *map(len, places), len(filters))
        out = np.moveaxis(out, -1, 1)
        return out.transpose(in_layout(range(n + 2), data))

    return value


def _reshape(points: Points, node: Node, index: list[Array], shape: Shape) -> Array:
    operand = points.shapes[node.inputs[0]]
    wanted: list[Array] = []
    places = []
    for mine, theirs in dimension_groups(operand, shape):
        flat = _positions([index[j] for j in theirs], [shape[j] for j in theirs]).reshape(-1)
        sizes = [operand[i] for i in mine]
        digits = np.unravel_index(flat, sizes) if sizes else ()
        unique = [_unique(d, n) for d, n in zip(digits, sizes, strict=True)]
        wanted += [u for u, _ in unique]
        places.append(_positions_of([back for _, back in unique], [u.size for u, _ in unique], flat.size))
    found = points.read(node.inputs[0], wanted)
    found = found.reshape([prod(wanted[i].size for i in mine) for mine, _ in dimension_groups(operand, shape)])
    return found[np.ix_(*places)].reshape([at.size for at in index])


def _positions_of(digits: Sequence[Array], sizes: Sequence[int], count: int) -> Array:
    flat = np.zeros(count, np.int64)
    for d, n in zip(digits, sizes, strict=True):
        flat = flat * n + d
    return flat


def _permute(points: Points, node: Node, index: list[Array], shape: Shape) -> Array:
    axes = node.attrs[0]
    return points.read(node.inputs[0], in_layout(index, axes)).transpose(axes)


def _sum(points: Points, node: Node, index: list[Array], shape: Shape) -> Array:
    axes, keepdims = node.attrs
    rest = iter(index)
    wanted = []
    for i in range(len(points.shapes[node.inputs[0]])):
        if i not in axes or keepdims:
            at = next(rest)
        wanted.append(points.support[node.inputs[0]][i] if i in axes else at)
    return np.asarray(points.read(node.inputs[0], wanted).sum(axes, keepdims=keepdims) % PRIME)


def _slice(points: Points, node: Node, index: list[Array], shape: Shape) -> Array:
    a: Any = node.attrs
    return points.read(node.inputs[0], [a.begin + a.stride * at if i == a.axis else at for i, at in enumerate(index)])


def _pad(points: Points, node: Node, index: list[Array], shape: Shape) -> Array:
    a: Any = node.attrs
    return points.gather(node.inputs[0], [at - before for at, before in zip(index, a.pad_width[::2], strict=True)])


def _concat(points: Points, node: Node, index: list[Array], shape: Shape) -> Array:
    (axis,), begin, parts = node.attrs, 0, []
    at = index[axis]
    for i in node.inputs:
        end = begin + points.shapes[i][axis]
        mine = at[(begin <= at) & (at < end)] - begin
        if mine.size:
            parts.append(points.read(i, [*index[:axis], mine, *index[axis + 1 :]]))
        begin = end
    return np.concatenate(parts, axis)


def _stack(points: Points, node: Node, index: list[Array], shape: Shape) -> Array:
    (axis,) = node.attrs
    rest = [*index[:axis], *index[axis + 1 :]]
    return np.stack([points.read(node.inputs[i], rest) for i in index[axis]], axis)


_MEANING: dict[str, Callable[[Points, Node, list[Array], Shape], Array]] = {
    "input": _input,
    "constant": _constant,
    "full": _constant,
    "negative": _elementwise(np.negative),
    "add": _elementwise(np.add),
    "subtract": _elementwise(np.subtract),
    "multiply": _elementwise(np.multiply),
    "matmul": _matmul,
    "reshape": _reshape,
    "permute_dims": _permute,
    "broadcast_to": _broadcast_to,
    "sum": _sum,
    "slice": _slice,
    "pad": _pad,
    "concat": _concat,
    "stack": _stack,
    **{f"conv{n}d": _convolution(transposed=False) for n in (1, 2, 3)},
    **{f"conv{n}d_transpose": _convolution(transposed=True) for n in (1, 2, 3)},
}
