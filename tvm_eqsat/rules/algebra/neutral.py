"""Neutral elements: constants that an operator can do without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...graph.tensor_graph import Constant
from ..dsl import Term, attributes, op, tensors
from ..lib import spatial
from ..rule import Rule, RuleSet
from ._samples import conv_attrs

x, w = tensors("x w")
a, b, j, k, p = attributes("a b j k p")


def _is_dirac(k: Constant, a: Any) -> bool:
    """Whether a convolution with this kernel copies its data."""
    kernel = k.array.transpose([a.kernel_layout.index(letter) for letter in "OIHW"])
    filters, inputs, *lengths = kernel.shape
    start = [t // d for t, d in zip(a.padding[:2], a.dilation, strict=True)]
    reach = [d * (n - 1 - s) for d, n, s in zip(a.dilation, lengths, start, strict=True)]
    fits = filters == inputs * a.groups and tuple(a.strides) == (1, 1) and list(a.padding[2:]) == reach
    if not fits or any(s * d != t for s, d, t in zip(start, a.dilation, a.padding[:2], strict=True)):
        return False
    rows = np.arange(filters)
    copies = (kernel[rows, rows % inputs, start[0], start[1]] == 1).all()
    return bool(copies and np.count_nonzero(kernel) == filters)


def _mean(x: Term, k: Constant, a: Any) -> Term | None:
    height, width = (k.array.shape[i] for i in spatial(a.kernel_layout))
    output, inner = (k.array.shape[a.kernel_layout.index(letter)] for letter in "OI")
    uniform = k.fill is not None and k.fill == k.array.dtype.type(1 / (height * width))
    if not uniform or inner != 1 or output != a.groups:
        return None
    window = {name: getattr(a, name) for name in ("strides", "padding", "dilation")}
    return op.avg_pool2d(x, pool_size=(height, width), **window, count_include_pad=True, layout=a.data_layout)


def _by_channel(x: Term, k: Constant, a: Any) -> Term | None:
    """Every channel meets its own part of the kernel alone, if no part mixes channels."""
    output, inner = (a.kernel_layout.index(letter) for letter in "OI")
    filters, inputs = k.array.shape[output], k.array.shape[inner]
    if a.groups != 1 or filters != inputs or filters == 1:
        return None
    matrices = np.moveaxis(k.array, (output, inner), (-2, -1))
    diagonal = np.diagonal(matrices, axis1=-2, axis2=-1)
    if np.count_nonzero(matrices) != np.count_nonzero(diagonal):
        return None
    own = np.expand_dims(np.moveaxis(diagonal, -1, output - (output > inner)), inner)
    return op.conv2d(x, np.ascontiguousarray(own), attrs=a._replace(groups=filters))


def _is_identity(k: Constant) -> bool:
    shape = k.array.shape
    return len(shape) == 2 and shape[0] == shape[1] and bool((k.array == np.eye(shape[0])).all())


def _array(x: Term) -> np.ndarray | None:
    """The value of a constant."""
    egraph = x.builder.egraph
    found = [egraph.attrs[n[0]][0].array for n in egraph.nodes(x.cls) if egraph.ops[n[0]] == "constant"]
    return found[0] if found else None


def _turned_constant(x: Term, p: tuple[int, ...]) -> Term | None:
    array = _array(x)
    if array is None:
        return None
    value = Constant(np.ascontiguousarray(array.transpose(p)), x.dtype)
    return x.builder.add("constant", op.constant.record.make_attrs(value=value), [])


def _dirac(rng: np.random.Generator, x: Any) -> Constant:
    """A kernel that copies its data, for the generated tests."""
    channels, height, width = x.shape[1], *(int(v) for v in rng.choice([1, 3, 5], 2))
    kernel = np.zeros((channels, channels, height, width))
    kernel[np.arange(channels), np.arange(channels), height // 2, width // 2] = 1
    return Constant(kernel)


def _ones(rng: np.random.Generator, channels: int) -> Constant:
    """Data with a one in the middle of each image, for the generated tests."""
    height, width = (int(v) for v in rng.choice([3, 5], 2))
    data = np.zeros((channels, channels, height, width))
    data[np.arange(channels), np.arange(channels), height // 2, width // 2] = 1
    return Constant(data)


def _around(rng: np.random.Generator, x: Any, w: Any) -> Any:
    """The padding that keeps the size."""
    height, width = w.shape[2] // 2, w.shape[3] // 2
    return conv_attrs(padding=(height, width, height, width))


def _uniform(rng: np.random.Generator, x: Any) -> Constant:
    """A kernel that takes means, for the generated tests."""
    height, width = (int(v) for v in rng.integers(1, 4, 2))
    return Constant(np.full((x.shape[1], 1, height, width), 1 / (height * width)))


def _diagonal(rng: np.random.Generator) -> Constant:
    """A kernel that keeps channels apart, for the generated tests."""
    kernel = np.zeros((4, 4, 3, 2))
    kernel[np.arange(4), np.arange(4)] = rng.integers(-5, 6, (4, 3, 2))
    return Constant(kernel)


def _middle(k: Constant) -> tuple[int, int] | None:
    """Where the one stands, in data whose n-th image has a single one, in channel n, all at the same place."""
    images, channels = k.array.shape[:2]
    places = np.argwhere(k.array != 0)
    single = images == channels == len(places) and bool((k.array[tuple(places.T)] == 1).all())
    if not single or any((n, c) != (i, i) for i, (n, c) in enumerate(places[:, :2])):
        return None
    return (int(places[0, 2]), int(places[0, 3])) if (places[:, 2:] == places[0, 2:]).all() else None


def _slides(a: Any) -> bool:
    """Whether a convolution moves in steps of one, over all channels at once, in the usual layout."""
    steps = tuple(a.strides) == tuple(a.dilation) == (1, 1)
    return steps and a.groups == 1 and (a.data_layout, a.kernel_layout) == ("NCHW", "OIHW")


def _turned_twice(k: Constant, j: Constant, w: Term, a: Any, b: Any) -> Term | None:
    """Along each axis, element q of the result is element q + shift of w, as far as the outer window reaches it."""
    if not (_slides(a) and _slides(b)):
        return None
    outer, inner = _middle(k), _middle(j)
    if outer is None or inner is None:
        return None
    width = [0] * 4
    for i in (0, 1):
        length = w.shape[2 + i]
        between = j.array.shape[2 + i] + a.padding[i] + a.padding[2 + i] - length + 1
        out = k.array.shape[2 + i] + b.padding[i] + b.padding[2 + i] - between + 1
        shift = inner[i] + a.padding[i] - outer[i] - b.padding[i]
        reached = [outer[i] + b.padding[i] - q for q in (-shift, length - 1 - shift)]
        if min(-shift, out - length + shift, *reached) < 0 or max(reached) >= between:
            return None
        width += [-shift, out - length + shift]
    return op.pad(w, pad_width=tuple(width)) if any(width) else w


def _relu_of_turned(k: Constant, w: Term, a: Any) -> Term | None:
    """Every element of the convolution is an element of w, or zero."""
    if not _slides(a) or _middle(k) is None:
        return None
    return op.relu(op.conv2d(k.array, w, attrs=a))


def _neutral() -> Iterator[Rule]:
    yield Rule(
        name="matmul-identity-right",
        law="x · I = x",
        lhs=op.matmul(x, op.constant(value=k)),
        rhs=lambda x, k: x if _is_identity(k) else None,
        simplifies=True,
        source="TASO axioms: Imatmul",
        shapes=("x:.ab",),
        attrs={"k": lambda rng, x: Constant(np.eye(x.shape[-1]))},
    )
    yield Rule(
        name="matmul-identity-left",
        law="I · x = x",
        lhs=op.matmul(op.constant(value=k), x),
        rhs=lambda x, k: x if _is_identity(k) else None,
        simplifies=True,
        source="TASO axioms: Imatmul",
        shapes=("x:.ab",),
        attrs={"k": lambda rng, x: Constant(np.eye(x.shape[-2]))},
    )
    yield Rule(
        name="conv-identity",
        law="conv(x, w) = x where w has a one in the middle, from each channel to itself, and zeros around it",
        lhs=op.conv2d(x, op.constant(value=k), attrs=a),
        rhs=lambda x, k, a: x if _is_dirac(k, a) else None,
        simplifies=True,
        source="TASO axioms: Iconv",
        shapes=("x:nchw",),
        attrs={"k": _dirac, "a": lambda rng, *xs: _around(rng, *xs)},
    )
    yield Rule(
        name="conv-by-channel",
        law="conv(x, w) = conv of each channel by itself where w has only zeros from one channel to another",
        lhs=op.conv2d(x, op.constant(value=k), attrs=a),
        rhs=_by_channel,
        reassociates=True,
        shapes=("x:n4hw",),
        attrs={"k": lambda rng, x: _diagonal(rng), "a": lambda rng, *_: conv_attrs()},
    )
    yield Rule(
        name="conv-mean",
        law="conv(x, w) of each channel by itself = avg_pool(x) where w holds 1 / its size everywhere",
        lhs=op.conv2d(x, op.constant(value=k), attrs=a),
        rhs=_mean,
        reassociates=True,
        source="TASO axioms: Cpool",
        shapes=("x:nchw",),
        attrs={
            "k": _uniform,
            "a": lambda rng, x: conv_attrs(groups=x.shape[1], strides=tuple(int(s) for s in rng.integers(1, 3, 2))),
        },
    )
    yield Rule(
        name="conv-of-ones-twice",
        law="conv(D, conv(D, w)) = w among zeros, for data D with a single one in each image, which turns kernels",
        lhs=op.conv2d(op.constant(value=k), op.conv2d(op.constant(value=j), w, attrs=a), attrs=b),
        rhs=_turned_twice,
        source="Iconv as data",
        shapes=("w:o433", "w:o413", "w:o431"),
        attrs={
            "k": lambda rng, w: _ones(rng, w.shape[0]),
            "j": lambda rng, w: _ones(rng, w.shape[1]),
            "a": lambda rng, *xs: _around(rng, *xs),
            "b": lambda rng, *xs: _around(rng, *xs),
        },
    )
    yield Rule(
        name="conv-of-ones-relu",
        law="conv(D, relu(w)) = relu(conv(D, w)) for data D with a single one in each image",
        lhs=op.conv2d(op.constant(value=k), op.relu(w), attrs=a),
        rhs=_relu_of_turned,
        source="Iconv as data",
        shapes=("w:o433", "w:o413"),
        attrs={
            "k": lambda rng, w: _ones(rng, w.shape[1]),
            "a": lambda rng, *_: conv_attrs(padding=tuple(int(n) for n in rng.integers(0, 3, 4))),
        },
    )
    yield Rule(
        name="permute-of-constant",
        law="permute(c, p) for a constant c = the constant that it is",
        lhs=op.permute_dims(x, axes=p),
        rhs=_turned_constant,
        simplifies=True,
        shapes=("x!:.ab",),
    )


NEUTRAL = RuleSet(_neutral())
