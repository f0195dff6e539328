"""Convolutions whose channels come last, or in blocks, as TE computes: what MetaSchedule tunes.

TVM's own ``topi.nn.conv2d_NCHWc`` has no groups, and Relax can't legalise its layouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import te, tirx


def conv2d_nchwc(
    x: Any, w: Any, strides: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int
) -> Any:
    """Blocked convolution.

    Parameters
    ----------
    x : te.Tensor, shape (n, channels / i, height, width, i)
    w : te.Tensor, shape (filters / o, channels / groups / i, kernel height, kernel width, i, o)
    padding : sequence of int
        Top, left, bottom, right.

    Returns
    -------
    te.Tensor, shape (n, filters / o, rows, columns, o)
    """
    filters, inputs, kh, kw, inner, outer = (int(d) for d in w.shape)
    data, rows, columns = _prepared(x, kh, kw, strides, padding, dilation)
    r, s = te.reduce_axis((0, kh), name="r"), te.reduce_axis((0, kw), name="s")
    c, i = te.reduce_axis((0, inputs), name="c"), te.reduce_axis((0, inner), name="i")

    def block(f: Any) -> Any:
        return c if groups == 1 else f // (filters // groups) * inputs + c

    return te.compute(
        (x.shape[0], filters, rows, columns, outer),
        lambda b, f, h, v, o: te.sum(
            data[b, block(f), h * strides[0] + r * dilation[0], v * strides[1] + s * dilation[1], i]
            * w[f, c, r, s, i, o],
            axis=[c, r, s, i],
        ),
        name="conv2d_nchwc",
    )


def depthwise_conv2d(x: Any, w: Any, strides: Sequence[int], padding: Sequence[int], dilation: Sequence[int]) -> Any:
    """Depthwise convolution.

    Parameters
    ----------
    x : te.Tensor, shape (n, height, width, channels) or (n, channels / i, height, width, i)
    w : te.Tensor, shape (kernel height, kernel width, channels) or (channels / i, kernel height, kernel width, i)
    padding : sequence of int
        Top, left, bottom, right.

    Returns
    -------
    te.Tensor, shape (n, rows, columns, channels) or (n, channels / i, rows, columns, i)
    """
    *_, kh, kw, inner = (int(d) for d in w.shape)
    data, rows, columns = _prepared(x, kh, kw, strides, padding, dilation)
    r, s = te.reduce_axis((0, kh), name="r"), te.reduce_axis((0, kw), name="s")

    def element(*index: Any) -> Any:
        *before, h, v, i = index
        place = *before, h * strides[0] + r * dilation[0], v * strides[1] + s * dilation[1], i
        tap = *before[1:], r, s, i
        return te.sum(data[place] * w[tap], axis=[r, s])

    return te.compute((*x.shape[:-3], rows, columns, inner), element, name="depthwise_conv2d")


def _prepared(
    x: Any, kh: int, kw: int, strides: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> tuple[Any, int, int]:
    """The data with zeros around each image, and how many windows there are below and beside each other."""
    *before, height, width, inner = (int(d) for d in x.shape)
    top, left, bottom, right = padding
    rows = (height + top + bottom - dilation[0] * (kh - 1) - 1) // strides[0] + 1
    columns = (width + left + right - dilation[1] * (kw - 1) - 1) // strides[1] + 1
    if not any(padding):
        return x, rows, columns

    def element(*index: Any) -> Any:
        *first, h, v, i = index
        inside = tirx.all(h >= top, h < height + top, v >= left, v < width + left)
        place = *first, h - top, v - left, i
        return tirx.if_then_else(inside, x[place], tirx.const(0, x.dtype))

    shape = (*before, height + top + bottom, width + left + right, inner)
    return te.compute(shape, element, name="padded"), rows, columns
