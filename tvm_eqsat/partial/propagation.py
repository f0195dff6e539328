"""How boxes propagate through each operator of the table; see :mod:`~tvm_eqsat.partial.boxes` for what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..errors import IllTyped
from ..graph.operator import OPERATORS
from ..graph.ops._shapes import in_layout, layout_axes
from ..graph.tensor_graph import Node
from ..graph.types import TensorType
from .digits import Boxes, Digit, Digits, Steps, interior, length, merge, refine, regroup, scaled, sums_over


def _shape(node: Node) -> tuple[int, ...]:
    if not isinstance(node.type, TensorType) or not node.type.static or 0 in node.type.shape:
        raise IllTyped(f"boxes need static shapes with elements, not {node.type} of {node.op}")
    return tuple(int(n) for n in node.type.shape)


# ** sums and products of two tensors


class _Join:
    """The boxes of a sum (terms side by side) or of a product (every term with every other) of two tensors."""

    def __init__(self, x: Boxes, y: Boxes, product: bool) -> None:
        self.counts = x.terms, y.terms
        self.product = product
        self.terms = x.terms * y.terms if product else x.terms + y.terms
        self.leaves = x.leaves | y.leaves
        self.sums = x.sums | y.sums if product else x.sums & y.sums
        if product and x.leaves & y.leaves:
            raise IllTyped(
                f"not multilinear: the inputs {sorted(x.leaves & y.leaves)} occur in both factors of a product"
            )

    def steps(self, x: Sequence[Steps] | None, y: Sequence[Steps] | None) -> tuple[Steps, ...]:
        """Steps of a common digit; None for an operand that doesn't have it."""
        xs = ((),) * self.counts[0] if x is None else x
        ys = ((),) * self.counts[1] if y is None else y
        return tuple(tuple(sorted(a + b)) for a in xs for b in ys) if self.product else (*xs, *ys)

    def digits(self, x: Digits, y: Digits) -> Digits:
        """A dimension of both operands, or of one (the other is stretched)."""
        if not y:
            return tuple(d._replace(steps=self.steps(d.steps, None)) for d in x)
        if not x:
            return tuple(d._replace(steps=self.steps(None, d.steps)) for d in y)
        return tuple(
            Digit(a.size, interior({*a.splits, *b.splits}, a.size), self.steps(a.steps, b.steps))
            for a, b in refine(x, y, self.counts)
        )

    def broadcast(self, x: Sequence[Digits], y: Sequence[Digits]) -> list[Digits]:
        """Dimensions that are aligned at the last one."""
        rank = max(len(x), len(y))
        a, b = ([()] * (rank - len(dims)) + list(dims) for dims in (x, y))
        return [self.digits(*pair) for pair in zip(a, b, strict=True)]

    def contract(self, x: Digits, y: Digits) -> None:
        """Sum over a dimension of both operands."""
        self.sums |= sums_over(self.digits(x, y))

    def boxes(self, dims: Iterable[Digits]) -> Boxes:
        """The result, with these dimensions."""
        return Boxes(tuple(dims), self.terms, self.leaves, self.sums)


def _elementwise(product: bool) -> Callable[[Node, Sequence[Boxes]], Boxes]:
    def transfer(node: Node, operands: Sequence[Boxes]) -> Boxes:
        x, y = operands
        join = _Join(x, y, product)
        return join.boxes(join.broadcast(x.dims, y.dims))

    return transfer


def _matmul(node: Node, operands: Sequence[Boxes]) -> Boxes:
    x, y = operands
    join = _Join(x, y, product=True)
    dims = join.broadcast(x.dims[:-2], y.dims[:-2])
    dims += [join.digits(rows, ()) for rows in x.dims[-2:-1]]
    if len(y.dims) > 1:
        dims.append(join.digits((), y.dims[-1]))
    join.contract(x.dims[-1], y.dims[-2 if len(y.dims) > 1 else 0])
    return join.boxes(dims)


# ** convolutions


def _windows(line: Digit, size: int, windows: Sequence[Callable[[int], int]], stride: int) -> Digit:
    """A dimension of ``size`` positions, each of which reads one place of the line for each tap of the kernel.

    ``windows`` has, for each tap, the first position that reads the place t or one behind it: where t is the border of
    a box or of the data, a box of the output begins.
    """
    edges = (0, *line.splits, line.size)
    return Digit(size, interior({first(t) for first in windows for t in edges}, size), scaled(line.steps, stride))


def _conv_line(line: Digit, size: int, kernel: int, stride: int, dilation: int, before: int) -> Digits:
    """Position u reads the places ``stride u + dilation k - before``."""
    firsts = [lambda t, k=k: -((dilation * k - before - t) // stride) for k in range(kernel)]
    return _drop(_windows(line, size, firsts, stride))


def _transposed_line(line: Digit, size: int, kernel: int, stride: int, dilation: int, before: int) -> Digits:
    """Position u reads ``(u + before - dilation k) / stride`` if that is whole: it depends on u modulo the stride."""
    if size % stride:
        return (Digit(size, tuple(range(1, size)), line.steps),) if size > 1 else ()
    offsets = [before - dilation * k + r for r in range(stride) for k in range(kernel)]
    firsts = [lambda t, o=o: t - o // stride for o in offsets if o % stride == 0]
    phase = Digit(stride, tuple(range(1, stride)), ((),) * len(line.steps))
    return _drop(_windows(line, size // stride, firsts, 1), phase)


def _drop(*digits: Digit) -> Digits:
    return tuple(d for d in digits if d.size > 1)


def _convolution(transposed: bool) -> Callable[[Node, Sequence[Boxes]], Boxes]:
    follow = _transposed_line if transposed else _conv_line

    def transfer(node: Node, operands: Sequence[Boxes]) -> Boxes:
        x, w = operands
        a: Any = node.attrs
        n = len(a.strides)
        spatial = "DHW"[3 - n :]
        data = range(n + 2) if transposed else layout_axes(a.data_layout, "NC" + spatial)
        kernel = range(n + 2) if transposed else layout_axes(a.kernel_layout, "OI" + spatial)
        shape = _shape(node)
        join = _Join(x, w, product=True)
        batch = join.digits(x.dims[data[0]], ())
        channels = x.dims[data[1]]
        filters = w.dims[kernel[1 if transposed else 0]]
        if a.groups > 1:
            of_data = regroup(channels, (a.groups, length(channels) // a.groups), x.terms)[0]
            if transposed:
                by_group = w.dims[0]
                of_weight = regroup(by_group, (a.groups, length(by_group) // a.groups), w.terms)[0]
            else:
                of_weight, filters = regroup(filters, (a.groups, length(filters) // a.groups), w.terms)
            filters = join.digits(of_data, of_weight) + join.digits((), filters)
        else:
            filters = join.digits((), filters)
            join.contract(channels, w.dims[kernel[0 if transposed else 1]])
        dims = [batch, filters]
        for i in range(n):
            line = merge(x.dims[data[2 + i]], x.terms)
            taps = length(w.dims[kernel[2 + i]])
            out = follow(line, shape[data[2 + i]], taps, a.strides[i], a.dilation[i], a.padding[i])
            dims.append(join.digits(out, ()))
        return join.boxes(in_layout(dims, tuple(data)))

    return transfer


# ** one tensor moved


def _input(node: Node, operands: Sequence[Boxes]) -> Boxes:
    leaf = node.attrs[OPERATORS["input"].field_index("index")]
    dims = [_drop(Digit(n, (), (((leaf, i, 1),),))) for i, n in enumerate(_shape(node))]
    return Boxes(tuple(dims), 1, frozenset({leaf}))


def _constant(node: Node, operands: Sequence[Boxes]) -> Boxes:
    uniform = node.op == "full" or node.attrs[0].fill is not None
    shape = _shape(node)
    dims = [_drop(Digit(n, () if uniform else tuple(range(1, n)), ((),))) for n in shape]
    return Boxes(tuple(dims), 1, frozenset())


def _same(node: Node, operands: Sequence[Boxes]) -> Boxes:
    return operands[0]


def _reshape(node: Node, operands: Sequence[Boxes]) -> Boxes:
    x = operands[0]
    digits = [d for dim in x.dims for d in dim]
    return x._replace(dims=tuple(regroup(digits, _shape(node), x.terms)))


def _permute(node: Node, operands: Sequence[Boxes]) -> Boxes:
    return operands[0]._replace(dims=tuple(operands[0].dims[i] for i in node.attrs[0]))


def _broadcast_to(node: Node, operands: Sequence[Boxes]) -> Boxes:
    x, nowhere = operands[0], ((),) * operands[0].terms
    shape = _shape(node)
    dims = [()] * (len(shape) - len(x.dims)) + list(x.dims)
    stretched = [dim or _drop(Digit(n, (), nowhere)) for dim, n in zip(dims, shape, strict=True)]
    return x._replace(dims=tuple(stretched))


def _sum(node: Node, operands: Sequence[Boxes]) -> Boxes:
    x, (axes, keepdims) = operands[0], node.attrs
    kept = [() if i in axes else dim for i, dim in enumerate(x.dims) if keepdims or i not in axes]
    return x._replace(dims=tuple(kept), sums=x.sums.union(*(sums_over(x.dims[i]) for i in axes)))


def _along(x: Boxes, axis: int, line: Digit) -> Boxes:
    return x._replace(dims=(*x.dims[:axis], _drop(line), *x.dims[axis + 1 :]))


def _slice(node: Node, operands: Sequence[Boxes]) -> Boxes:
    a: Any = node.attrs
    x, axis, size = operands[0], a.axis, _shape(node)[a.axis]
    line = merge(x.dims[axis], x.terms)
    splits = {-((a.begin - t) // a.stride) for t in line.splits}
    return _along(x, axis, Digit(size, interior(splits, size), scaled(line.steps, a.stride)))


def _pad(node: Node, operands: Sequence[Boxes]) -> Boxes:
    x, width = operands[0], node.attrs[0]
    for axis, (before, after) in enumerate(zip(width[::2], width[1::2], strict=True)):
        if before or after:
            line = merge(x.dims[axis], x.terms)
            size = before + line.size + after
            splits = {before, before + line.size, *(t + before for t in line.splits)}
            x = _along(x, axis, Digit(size, interior(splits, size), line.steps))
    return x


def _concat(node: Node, operands: Sequence[Boxes]) -> Boxes:
    axis, out = node.attrs[0], operands[0]
    for x in operands[1:]:
        join = _Join(out, x, product=False)
        first, second = merge(out.dims[axis], out.terms), merge(x.dims[axis], x.terms)
        size = first.size + second.size
        splits = {*first.splits, first.size, *(t + first.size for t in second.splits)}
        line = Digit(size, interior(splits, size), join.steps(first.steps, second.steps))
        sides = enumerate(zip(out.dims, x.dims, strict=True))
        rest = [() if i == axis else join.digits(a, b) for i, (a, b) in sides]
        out = _along(join.boxes(rest), axis, line)
    return out


def _stack(node: Node, operands: Sequence[Boxes]) -> Boxes:
    axis = node.attrs[0]
    rows = [x._replace(dims=(*x.dims[:axis], (), *x.dims[axis:])) for x in operands]
    return _concat(node, rows)


TRANSFER: dict[str, Callable[[Node, Sequence[Boxes]], Boxes]] = {
    "input": _input,
    "constant": _constant,
    "full": _constant,
    "negative": _same,
    "add": _elementwise(product=False),
    "subtract": _elementwise(product=False),
    "multiply": _elementwise(product=True),
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
