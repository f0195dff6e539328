"""Forms of convolutions and matrix products: other loops over other layouts, with sizes that are to be chosen.

Each maker returns one rule for given sizes. All of them hold for data with channels first or last. They aren't part of
:data:`~tvm_eqsat.rules.ALL`: which of them pays for which operator is for measurements to say (``layouts="joint"``).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ...layout.blocks import blocked, blocked_weight
from ...layout.digits import Digit, Group
from ...layout.index_map import IndexMap
from ..conv import NCHW_TO_NHWC, NHWC_TO_NCHW, OIHW_TO_HWIO
from ..dsl import Term, attributes, op, tensors
from ..lib import inverse as permutation_back
from ..lib import permuted
from ..rule import Rule
from .maps import SOURCE, inverse, stored, then

x, w = tensors("x w")
a = attributes("a")

_HWIO_TO_OIHW = permutation_back(OIHW_TO_HWIO)
_LAYOUTS = (("NCHW", "OIHW"), ("NHWC", "HWIO"))


def _plain(a: Any) -> bool:
    """Not grouped, in one of the two layouts, computed in the data's own type."""
    return bool((a.data_layout, a.kernel_layout) in _LAYOUTS and a.groups == 1 and not a.out_dtype)


def _conv_rule(name: str, law: str, rhs: Callable[[Term, Term, Any], Term | None], pays: Any, source: str) -> Rule:
    return Rule(
        name=name,
        law=law,
        lhs=op.conv2d(x, w, attrs=a),
        rhs=rhs,
        when=lambda a: _plain(a),
        pays=pays,
        reassociates=True,
        source=source,
        shapes=("x:n8hw w!:8833", "x:nhw9 w!:3398", "x:n975 w!:8922", "x:nhw8 w!:2388", "x:nhw8 w!:1188"),
        attrs=dict.fromkeys("hw", lambda rng: rng.integers(5, 9)),
        counterexample="x:n655 w:6333",
    )


def _channels_last(
    form: Callable[[Term, Term, Any], Term | None],
) -> Callable[[Term, Term, Any], Term | None]:
    """A form of data with channels last, for either layout."""

    def rhs(x: Term, w: Term, a: Any) -> Term | None:
        if a.data_layout == "NHWC":
            return form(x, w, a)
        found = form(permuted(x, NCHW_TO_NHWC), permuted(w, OIHW_TO_HWIO), a)
        return None if found is None else permuted(found, NHWC_TO_NCHW)

    return rhs


def _converted(x: Term, m: IndexMap) -> Term:
    """``x`` in another layout: as a view, where it is one."""
    return op.reshape(x, shape=m.shape) if m.is_view else op.layout_transform(x, map=m)


def _windows(x: Term, w: Term, a: Any) -> tuple[int, int]:
    """How many windows there are below and beside each other, of data with channels last."""
    top, left, bottom, right = a.padding
    sizes = x.shape[1] + top + bottom, x.shape[2] + left + right
    rows, columns = (
        (size - (kernel - 1) * d - 1) // stride + 1
        for size, kernel, d, stride in zip(sizes, w.shape[:2], a.dilation, a.strides, strict=True)
    )
    return rows, columns


# -- convolutions ------------------------------------------------------------------------------------------------


def _im2col(x: Term, w: Term, a: Any) -> Term:
    rows, columns = _windows(x, w, a)
    (n, *_, channels), (kh, kw, _, filters) = x.shape, w.shape
    places = n * rows * columns, kh * kw * channels
    index = Digit(n, 0, 1), Digit(rows, 1, a.strides[0]), Digit(columns, 2, a.strides[1])
    tap = Digit(kh, 1, a.dilation[0]), Digit(kw, 2, a.dilation[1]), Digit(channels, 3, 1)
    offset = 0, -a.padding[0], -a.padding[1], 0
    windows = IndexMap(tuple(x.shape), (Group(places[0], index), Group(places[1], tap)), offset, 0.0)
    products = op.matmul(_converted(x, windows), op.reshape(w, shape=(places[1], filters)))
    return op.reshape(products, shape=(n, rows, columns, filters))


def im2col() -> Rule:
    """Convolution as a matrix product of all windows; of kernel 1×1 and stride 1, of the data as it is."""
    return _conv_rule(
        "conv-im2col",
        "conv(x, w) = windows(x) · w: every window of the data becomes a row",
        _channels_last(_im2col),
        lambda w: w.const,
        "Chellapilla et al., 2006",
    )


def _shifted(x: Term, w: Term, a: Any) -> Term | None:
    (n, height, width, channels), (kh, kw, _, filters) = x.shape, w.shape
    if kh * kw == 1:
        return None
    taps = op.reshape(op.permute_dims(w, axes=(2, 0, 1, 3)), shape=(channels, kh * kw * filters))
    products = op.matmul(op.reshape(x, shape=(n * height * width, channels)), taps)
    apart = op.reshape(products, shape=(n, height, width, kh, kw, filters))
    return op.shifted_sum(apart, strides=a.strides, padding=a.padding, dilation=a.dilation)


def shifted() -> Rule:
    """Convolution as one matrix product of every pixel with every tap, whose results are moved and added up."""
    return _conv_rule(
        "conv-shifted",
        "conv(x, w) = sum over the taps of (x · w[tap]), moved by the tap",
        _channels_last(_shifted),
        lambda w: w.const,
        "EinNet (OSDI'23): offset-reduce",
    )


def _tiled(x: Term, w: Term, a: Any, height: int, width: int) -> Term | None:
    rows, columns = _windows(x, w, a)
    if height >= rows and width >= columns:
        return None
    down, across = -(-rows // height), -(-columns // width)
    (n, *_, channels), (kh, kw, _, filters) = x.shape, w.shape
    reach = [
        (size - 1) * stride + (kernel - 1) * d + 1
        for size, stride, kernel, d in zip((height, width), a.strides, (kh, kw), a.dilation, strict=True)
    ]
    tile = Digit(n, 0, 1), Digit(down, 1, height * a.strides[0]), Digit(across, 2, width * a.strides[1])
    inside = [Group(size, (Digit(size, k, 1),)) for k, size in ((1, reach[0]), (2, reach[1]), (3, channels))]
    offset = 0, -a.padding[0], -a.padding[1], 0
    cut = IndexMap(tuple(x.shape), (Group(n * down * across, tile), *inside), offset, 0.0)
    found = op.conv2d(
        _converted(x, cut), w, attrs=a._replace(padding=(0,) * 4, data_layout="NHWC", kernel_layout="HWIO")
    )
    together = IndexMap(
        tuple(found.shape),
        (
            Group(n, (Digit(n, 0, down * across),)),
            Group(rows, (Digit(down, 0, across), Digit(height, 1, 1))),
            Group(columns, (Digit(across, 0, 1), Digit(width, 2, 1))),
            Group(filters, (Digit(filters, 3, 1),)),
        ),
        (0,) * 4,
    )
    return _converted(found, together)


def tiled(height: int, width: int) -> Rule:
    """Convolution of overlapping tiles of the data, each stored in one piece, for tiles of so many results.

    Parameters
    ----------
    height, width : int
        Rows and columns of a tile's results.
    """
    return _conv_rule(
        f"conv-tiled-{height}x{width}",
        f"conv(x) = conv(tiles of x), the results put together; tiles of {height}×{width} results overlap",
        _channels_last(lambda x, w, a: _tiled(x, w, a, height, width)),
        lambda w: w.const,
        "ALT (EuroSys'23): unfold",
    )


def _blocked(x: Term, w: Term, a: Any, inputs: int, filters: int) -> Term | None:
    if a.data_layout == "NHWC":
        first = a._replace(data_layout="NCHW", kernel_layout="OIHW")
        found = _blocked(permuted(x, NHWC_TO_NCHW), permuted(w, _HWIO_TO_OIHW), first, inputs, filters)
        return None if found is None else permuted(found, NCHW_TO_NHWC)
    if inputs > w.shape[1] or filters > w.shape[0]:
        return None
    data = stored(x, blocked(x.shape, 1, inputs))
    weight = op.layout_transform(w, map=blocked_weight(w.shape, inputs, filters))
    assert data is not None
    out = op.conv2d_nchwc(data, weight, strides=a.strides, padding=a.padding, dilation=a.dilation)
    return stored(out, inverse(blocked((x.shape[0], w.shape[0], *out.shape[2:4]), 1, filters)))


def blocked_conv(inputs: int, filters: int) -> Rule:
    """Convolution with channels in blocks.

    Parameters
    ----------
    inputs, filters : int
        Channels of a block of the data, and of the results. The last block is padded; a single one isn't made.
    """
    return _conv_rule(
        f"conv-blocked-{inputs}x{filters}",
        f"conv in NCHW = conv in NCHW{inputs}c, results in NCHW{filters}c, between two conversions",
        lambda x, w, a: _blocked(x, w, a, inputs, filters),
        lambda w: w.const,
        SOURCE,
    )


# -- matrix products ---------------------------------------------------------------------------------------------


def _matmul_rule(name: str, law: str, rhs: Any, when: Any, shapes: tuple[str, ...], counterexample: str) -> Rule:
    return Rule(
        name=name,
        law=law,
        lhs=op.matmul(x, w),
        rhs=rhs,
        when=when,
        pays=lambda w: w.const,
        reassociates=True,
        source=SOURCE,
        shapes=shapes,
        counterexample=counterexample,
    )


def _rows(x: Term) -> Term:
    """The rows of all matrices, as one matrix."""
    return op.reshape(x, shape=(prod(x.shape[:-1]), x.shape[-1]))


def panels(columns: int) -> Rule:
    """Matrix product whose weight is packed in panels.

    Parameters
    ----------
    columns : int
        Of a panel; the rule refuses weights of which it doesn't divide the columns.
    """

    def rhs(x: Term, w: Term) -> Term | None:
        k, n = w.shape
        packed = stored(w, then(blocked(w.shape, 1, columns), IndexMap.reorder((k, n // columns, columns), (1, 0, 2))))
        return packed and op.reshape(op.matmul_panels(_rows(x), packed), shape=(*x.shape[:-1], n))

    return _matmul_rule(
        f"matmul-panels-{columns}",
        f"x · w = x · panels(w), of {columns} columns each",
        rhs,
        lambda w: w.rank == 2 and w.shape[1] % columns == 0,
        ("x:ab w!:b8", "x:nab w!:b8", "x:mnab w!:b8"),
        "x:nab w:nb8",
    )


def transposed() -> Rule:
    """Product of a single row: the weight is stored by columns, each of which is a sum of its own."""
    return _matmul_rule(
        "matmul-transposed",
        "x · w = (wᵀ · xᵀ)ᵀ, both of which are views, for x of a single row",
        lambda x, w: op.reshape(
            op.matmul(op.permute_dims(w, axes=(1, 0)), op.reshape(x, shape=(w.shape[0], 1))),
            shape=(*x.shape[:-1], w.shape[1]),
        ),
        lambda x, w: w.rank == 2 and x.rank >= 2 and all(size == 1 for size in x.shape[:-1]),
        ("x:1b w!:bc", "x:11b w!:bc"),
        "x:2b w:bc",
    )


def folded() -> Rule:
    """Products of several matrices with the same weight: one product of all their rows."""
    return _matmul_rule(
        "matmul-folded",
        "x · w = rows(x) · w for a matrix w",
        lambda x, w: op.reshape(op.matmul(_rows(x), w), shape=(*x.shape[:-1], w.shape[1])),
        lambda x, w: w.rank == 2 and x.rank > 2,
        ("x:nab w!:bc", "x:mnab w!:bc"),
        "x:ab w:bc",
    )
