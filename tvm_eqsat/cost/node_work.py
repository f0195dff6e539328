"""What one operator does as a kernel of its own, from its attributes and types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..graph.operator import OPERATORS
from ..graph.types import Dim, Symbol, TensorType
from .loops import CALLS
from .roofline import Kind, Work, in_rows

#: Transcendental functions in each output element, in units of one ``exp``.
OP_CALLS = {**CALLS, "gelu": 2, "gelu_tanh": 2, "silu": 1, "softplus": 2, "power": 2, "softmax": 1, "log_softmax": 1}


def node_work(op: str, attrs: Any, types: Sequence[TensorType], out: TensorType) -> Work | None:
    """The work of an operator by itself.

    Parameters
    ----------
    op : str
        Operator name of the table.
    attrs : tuple
        Its canonical attributes.
    types : sequence of TensorType
        Operands.
    out : TensorType
        Result.

    Returns
    -------
    Work or None
        None for a view: nothing is moved.
    """
    describe = _WORK.get(op)
    work = describe(types, out, attrs) if describe else _reduction(types, out, attrs)
    if work is None:
        return None
    flops = work.flops or OPERATORS[op].flops(types, out, attrs)
    calls = float(OP_CALLS.get(op, 0) * out.numel())
    if work.kind in (Kind.STREAM, Kind.SHUFFLE):
        return replace(work, more_flops=flops, calls=calls, dtype=out.dtype)
    depth = flops / (2 * max(1, out.numel())) if work.width else 0.0
    return replace(work, flops=flops, depth=depth, calls=calls, dtype=out.dtype)


def _size(dim: Dim) -> int:
    return dim.hint if isinstance(dim, Symbol) else dim


def _sizes(t: TensorType) -> list[int]:
    return [_size(d) for d in t.shape]


def _traffic(types: Sequence[TensorType], out: TensorType) -> float:
    return float(sum(t.bytes() for t in types) + out.bytes())


def _reduction(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work:
    return Work(Kind.REDUCE, _traffic(types, out))


def _conv(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work:
    layout = attrs.data_layout
    channels = _size(types[0].shape[layout.index("C")])
    if attrs.groups > 1:
        kind = Kind.NO_REUSE if attrs.groups == channels else Kind.GROUPED
    elif layout[-1] == "C":
        kind = Kind.DENSE if attrs.kernel_layout[-1] == "O" else Kind.TRANSPOSED
    else:
        kind = Kind.STRIDED if max(attrs.strides) > 1 else Kind.SLIDING
    return Work(kind, _traffic(types, out), width=_size(out.shape[-1]))


def _conv_transpose(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work:
    # TVM spreads the data out with zeros between, and multiplies these too
    flops = 2.0 * out.numel() * types[1].numel() / max(1, _size(types[1].shape[1]) * attrs.groups)
    kind = Kind.GROUPED if attrs.groups > 1 else Kind.SLIDING
    return Work(kind, _traffic(types, out), flops=flops, width=_size(out.shape[-1]))


def _blocked_conv(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work:
    return Work(Kind.SLIDING if attrs.groups == 1 else Kind.GROUPED, _traffic(types, out), width=_size(out.shape[-1]))


def _panels(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work:
    kind = Kind.SLIDING if _size(out.shape[0]) > 1 else Kind.NO_REUSE
    return Work(kind, _traffic(types, out), width=_size(out.shape[-1]))


def _depthwise_conv(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work:
    return Work(Kind.NO_REUSE, _traffic(types, out), width=_size(out.shape[-1]))


def _layout(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work | None:
    m = attrs.map
    if m.is_view:
        return None
    last = m.groups[_inner(out)].digits[-1:] if m.groups else ()
    straight = all(digit.stride == 1 and digit.dim == _inner(types[0]) for digit in last)
    return Work(Kind.STREAM if straight else Kind.SHUFFLE, _traffic(types, out), rows=in_rows(_sizes(out)))


def _matmul(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work:
    x, y = types
    rows = _size(x.shape[-2]) if x.rank > 1 else 1
    columns = _size(y.shape[-1]) if y.rank > 1 else 1
    # a batch of rows over one matrix is just more rows
    batch = x.numel() // max(1, rows * _size(x.shape[-1]))
    shared = y.rank <= 2 or y.numel() == _size(y.shape[-1]) * _size(y.shape[-2])
    rows = rows * batch if shared else rows
    kind = Kind.NO_REUSE if min(rows, columns) == 1 else Kind.DENSE
    return Work(kind, _traffic(types, out), width=columns)


def _copy(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work:
    return Work(Kind.STREAM, _traffic(types, out), rows=in_rows(_sizes(out)))


def _pad(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work:
    return Work(Kind.STREAM, _traffic(types, out))


def _tile_transform(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work:
    return Work(Kind.STREAM, _traffic(types, out))  # Winograd's: 16 channels at a time, whatever the shape


def _slice(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work:
    if attrs.stride > 1 and attrs.axis >= _inner(out):
        return Work(Kind.SHUFFLE, 2.0 * out.bytes())
    return Work(Kind.STREAM, 2.0 * out.bytes())


def _concat(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work:
    return Work(Kind.SHUFFLE if attrs.axis >= _inner(out) else Kind.STREAM, _traffic(types, out))


def _permute(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work | None:
    shape = types[0].shape
    order = [axis for axis in attrs.axes if shape[axis] != 1]
    if order == sorted(order):
        return None
    if order[-1] == max(order):
        return Work(Kind.STREAM, _traffic(types, out))
    return Work(Kind.SHUFFLE, _traffic(types, out), rows=in_rows(_sizes(out)))


def _gather(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work:
    return Work(Kind.SHUFFLE, 2.0 * out.bytes() + types[1].bytes())


def _shuffle(types: Sequence[TensorType], out: TensorType, attrs: Any) -> Work:
    return Work(Kind.SHUFFLE, _traffic(types, out))


def _view(types: Sequence[TensorType], out: TensorType, attrs: Any) -> None:
    return None


def _inner(t: TensorType) -> int:
    """The innermost axis of more than one element."""
    return max((i for i, d in enumerate(t.shape) if d != 1), default=0)


_WORK: dict[str, Callable[[Sequence[TensorType], TensorType, Any], Work | None]] = {
    "conv1d": _conv, "conv2d": _conv, "conv3d": _conv,
    "conv1d_transpose": _conv_transpose, "conv2d_transpose": _conv_transpose, "conv3d_transpose": _conv_transpose,
    "conv2d_nchwc": _blocked_conv, "depthwise_conv2d": _depthwise_conv, "layout_transform": _layout,
    "matmul": _matmul, "matmul_panels": _panels, "batch_norm": _copy,
    "reshape": _view, "permute_dims": _permute, "slice": _slice, "concat": _concat, "pad": _pad, "resize2d": _shuffle,
    "winograd_weight": _tile_transform, "winograd_input": _tile_transform, "winograd_output": _tile_transform,
    "take": _gather, "gather_elements": _gather, "gather_nd": _gather,
}  # fmt: skip
