"""Two-dimensional convolution: merging, splitting, layouts, and constants moved into the weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dsl import Term, attributes, op, rest, tensors
from .lib import channel, only_varies_along, permuted, slices, spatial, total
from .rule import Rule, RuleSet

x, y, z, w, c = tensors("x y z w c")
a, b, k = attributes("a b k")

NCHW_TO_NHWC, NHWC_TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
OIHW_TO_HWIO = (2, 3, 1, 0)


def _output(a: Any) -> int:
    """Axis of the output channels in the weight."""
    return int(a.kernel_layout.index("O"))


def _input(a: Any) -> int:
    """Axis of the input channels in the weight."""
    return int(a.kernel_layout.index("I"))


def _kernel(w: Term, a: Any) -> tuple[Any, ...]:
    """Height and width of the kernel."""
    return tuple(w.shape[i] for i in spatial(a.kernel_layout))


def _conv(x: Term, w: Term, a: Any) -> Term:
    return op.conv2d(x, w, attrs=a)


# -- constants into the weights ----------------------------------------------------------------------------------


def _channel_vector(c: Term, axis: int, rank: int) -> Term:
    """The per-channel constant ``c`` as a vector, or as a scalar where all channels share it."""
    count = [d for d in c.shape if d != 1]
    return op.reshape(c, shape=tuple(count))


def _scaled(w: Term, c: Term, axis: int, data_axis: int) -> Term:
    vector = _channel_vector(c, data_axis, 4)
    shape = [1] * w.rank
    if vector.rank:
        shape[axis] = vector.shape[0]
    return op.multiply(w, op.reshape(vector, shape=tuple(shape)))


def _per_channel(c: Term, a: Any) -> bool:
    return c.const and only_varies_along(c, channel(a.data_layout), 4)


def _dirac(w: Term, a: Any) -> np.ndarray | None:
    """The kernel of the identity convolution, or None where no kernel of this size is one."""
    height, width = _kernel(w, a)
    out, inner = w.shape[_output(a)], w.shape[_input(a)]
    fits = a.groups == 1 and out == inner and height % 2 == 1 and width % 2 == 1 and tuple(a.strides) == (1, 1)
    reach = [(height - 1) * a.dilation[0] // 2, (width - 1) * a.dilation[1] // 2]
    if not fits or list(a.padding) != reach * 2:
        return None
    kernel = np.zeros((out, inner, height, width), w.dtype)
    kernel[np.arange(out), np.arange(out), height // 2, width // 2] = 1
    return np.ascontiguousarray(kernel.transpose(["OIHW".index(axis) for axis in a.kernel_layout]))


def _absorb_residual(x: Term, w: Term, a: Any) -> Term | None:
    identity = _dirac(w, a)
    return None if identity is None else _conv(x, op.add(w, identity), a)


def _absorb_padding(x: Term, w: Term, a: Any, k: tuple[int, ...]) -> Term | None:
    """``k`` lists (before, after) for each axis; only the spatial ones may be padded."""
    axes = spatial(a.data_layout)
    if any(k[2 * i] or k[2 * i + 1] for i in range(x.rank) if i not in axes) or min(k) < 0:
        return None
    h, v = axes
    top, left, bottom, right = a.padding
    padding = (top + k[2 * h], left + k[2 * v], bottom + k[2 * h + 1], right + k[2 * v + 1])
    return _conv(x, w, a._replace(padding=padding))


# -- merging and splitting ---------------------------------------------------------------------------------------


def _share_input(x: Term, w: tuple[Term, ...], a: Any) -> list[Term]:
    merged = _conv(x, op.concat(*w, axis=_output(a[0])), a[0])
    return slices(merged, channel(a[0].data_layout), [t.shape[_output(a[0])] for t in w])


def _enlarged_key(x: Term, w: Term, a: Any) -> Any:
    """Convolutions whose kernels become equal when zeros are put around the smaller ones.

    Such a kernel sees the same input at the same place if the padding differs by just the zeros' reach.
    """
    if a.groups != 1 or not w.const:
        return None
    height, width = _kernel(w, a)
    if height % 2 == 0 or width % 2 == 0:
        return None
    top, left, bottom, right = a.padding
    offset = (
        top - height // 2 * a.dilation[0],
        left - width // 2 * a.dilation[1],
        bottom - height // 2 * a.dilation[0],
        right - width // 2 * a.dilation[1],
    )
    return a._replace(padding=offset)


def _share_input_enlarged(x: Term, w: tuple[Term, ...], a: Any) -> list[Term] | None:
    kernels = [_kernel(t, b) for t, b in zip(w, a, strict=True)]
    largest = max(range(len(w)), key=lambda i: kernels[i])
    if any(kernels[i][j] > kernels[largest][j] for i in range(len(w)) for j in (0, 1)) or len(set(kernels)) == 1:
        return None
    grown = []
    for t, kernel in zip(w, kernels, strict=True):
        width = [0] * 8
        for j, axis in enumerate(spatial(a[0].kernel_layout)):
            width[2 * axis] = width[2 * axis + 1] = (kernels[largest][j] - kernel[j]) // 2
        grown.append(op.pad(t, pad_width=tuple(width)) if any(width) else t)
    return _share_input(x, tuple(grown), (a[largest],) * len(w))


def _share_weight(x: tuple[Term, ...], w: Term, a: Any) -> list[Term]:
    axis = a[0].data_layout.index("N")
    merged = _conv(op.concat(*x, axis=axis), w, a[0])
    return slices(merged, axis, [t.shape[axis] for t in x])


def _split_channels(xs: tuple[Term, ...], w: Term, a: Any, k: int) -> Term | None:
    if a.groups != 1 or k != channel(a.data_layout):
        return None
    parts = slices(w, _input(a), [t.shape[k] for t in xs])
    return total([_conv(t, part, a) for t, part in zip(xs, parts, strict=True)])


def _join_channels(x: Term, y: Term, z: Term, w: Term, a: Any) -> Term:
    return _conv(op.concat(x, z, axis=channel(a.data_layout)), op.concat(y, w, axis=_input(a)), a)


# -- layouts -----------------------------------------------------------------------------------------------------


def _nhwc(x: Term, w: Term, a: Any) -> Term:
    turned = op.conv2d(
        permuted(x, NCHW_TO_NHWC),
        permuted(w, OIHW_TO_HWIO),
        attrs=a._replace(data_layout="NHWC", kernel_layout="HWIO"),
    )
    return permuted(turned, NHWC_TO_NCHW)


CONV = RuleSet(
    [
        Rule(
            name="conv-scale-output",
            law="conv(x, w) * c = conv(x, w * c) for a constant c per output channel",
            lhs=op.multiply(op.conv2d(x, w, attrs=a), c),
            rhs=lambda x, w, c, a: _conv(x, _scaled(w, c, _output(a), channel(a.data_layout)), a),
            when=lambda w, c, a: w.const and _per_channel(c, a),
            reassociates=True,
            source="batch-norm folding",
            shapes=("x:n4hw w!:6433 c!:611", "x:n4hw w!:6433 c!:"),
            attrs={"a": lambda rng, *_: conv_attrs()},
            counterexample="x:n4hw w:6433 c!:611",
        ),
        Rule(
            name="conv-scale-input",
            law="conv(x * c, w) = conv(x, w * c) for a constant c per input channel",
            lhs=op.conv2d(op.multiply(x, c), w, attrs=a),
            rhs=lambda x, w, c, a: _conv(x, _scaled(w, c, _input(a), channel(a.data_layout)), a),
            when=lambda w, c, a: a.groups == 1 and w.const and _per_channel(c, a),
            reassociates=True,
            source="TASO axioms: conv is bilinear",
            shapes=("x:n4hw w!:6433 c!:411", "x:n4hw w!:6433 c!:"),
            attrs={"a": lambda rng, *_: conv_attrs()},
            counterexample="x:n4hw w:6433 c!:411",
        ),
        Rule(
            name="conv-absorb-residual",
            law="conv(x, w) + x = conv(x, w + identity kernel)",
            lhs=op.add(op.conv2d(x, w, attrs=a), x),
            rhs=_absorb_residual,
            when=lambda w: w.const,
            reassociates=True,
            source="RepVGG (Ding et al., CVPR'21, §3.3)",
            shapes=("x:n4hw w!:4433",),
            attrs={"a": lambda rng, *_: conv_attrs(padding=(1, 1, 1, 1))},
            counterexample="x:n4hw w:4433",
        ),
        Rule(
            name="conv-absorb-padding",
            law="conv(pad(x, p), w) = conv(x, w) with p added to its own padding",
            lhs=op.conv2d(op.pad(x, pad_width=k), w, attrs=a),
            rhs=_absorb_padding,
            shapes=("x:n4hw w:6433",),
            attrs={
                "a": lambda rng, *_: conv_attrs(),
                "k": lambda rng, x: (0, 0, 0, 0, *(int(v) for v in rng.integers(0, 3, 4))),
            },
        ),
        Rule(
            name="conv-share-input",
            law="conv(x, w_1), conv(x, w_2), … = slices of conv(x, [w_1; w_2; …])",
            lhs=op.conv2d(x, w, attrs=a),
            shared=(x,),
            key=lambda w, a: (a, _kernel(w, a)) if a.groups == 1 and w.const else None,
            rhs=_share_input,
            source="TENSAT multi-pattern rules 11 and 12",
            shapes=("x=:n4hw w!:~433",),
            attrs={"a": lambda rng, *_: conv_attrs()},
        ),
        Rule(
            name="conv-share-input-enlarged",
            law="conv(x, w_1), conv(x, w_2), … = slices of one convolution, smaller kernels enlarged with zeros",
            lhs=op.conv2d(x, w, attrs=a),
            shared=(x,),
            key=_enlarged_key,
            rhs=_share_input_enlarged,
            reassociates=True,
            source="TENSAT multi-pattern rules 13 and 14",
            shapes=("x=:n4hw w!:~4oo",),
            attrs={
                "o": lambda rng, i: 2 * i + 1,
                "a": lambda rng, x, w: conv_attrs(padding=(w.shape[2] // 2,) * 4),
            },
        ),
        Rule(
            name="conv-share-weight",
            law="conv(x_1, w), conv(x_2, w), … = slices of conv([x_1; x_2; …], w) along the batch",
            lhs=op.conv2d(x, w, attrs=a),
            shared=(w,),
            key=lambda x, a: (a, x.shape[1:]) if a.data_layout == "NCHW" else None,
            rhs=_share_weight,
            source="TENSAT multi-pattern rules 8 and 9",
            shapes=("x:~4hw w=!:6433",),
            attrs={"a": lambda rng, *_: conv_attrs()},
        ),
        Rule(
            name="conv-of-concat",
            law="conv([x | y], w) = conv(x, first input channels of w) + conv(y, the others)",
            lhs=op.conv2d(op.concat(rest("xs"), axis=k), w, attrs=a),
            rhs=_split_channels,
            when=lambda w: w.const,
            reassociates=True,
            source="TASO axioms: concat and conv",
            shapes=("xs*:n2hw w!:6433",),
            attrs={"a": lambda rng, *_: conv_attrs(), "k": lambda rng, *_: 1, "count": lambda rng: 2},
            counterexample="xs*:n2hw w:6433",
        ),
        Rule(
            name="conv-sum-of-products",
            law="conv(x, w_1) + conv(y, w_2) = conv([x | y], [w_1 | w_2]) along the input channels",
            lhs=op.add(op.conv2d(x, y, attrs=a), op.conv2d(z, w, attrs=a)),
            rhs=_join_channels,
            when=lambda y, w, a: a.groups == 1 and y.const and w.const,
            reassociates=True,
            source="TENSAT: concatenation along the reduced axis",
            shapes=("x:n4hw y!:6433 z:n3hw w!:6333",),
            attrs={"a": lambda rng, *_: conv_attrs()},
            counterexample="x:n4hw y:6433 z:n3hw w:6333",
        ),
        Rule(
            name="conv-factor-input",
            law="conv(x, w) + conv(x, v) = conv(x, w + v)",
            lhs=op.add(op.conv2d(x, w, attrs=a), op.conv2d(x, z, attrs=a)),
            rhs=lambda x, w, z, a: _conv(x, op.add(w, z), a),
            reassociates=True,
            source="TASO axioms: conv is bilinear",
            shapes=("x:n4hw w:6433 z:6433",),
            attrs={"a": lambda rng, *_: conv_attrs()},
        ),
        Rule(
            name="conv-factor-weight",
            law="conv(x, w) + conv(y, w) = conv(x + y, w)",
            lhs=op.add(op.conv2d(x, w, attrs=a), op.conv2d(y, w, attrs=a)),
            rhs=lambda x, y, w, a: _conv(op.add(x, y), w, a),
            reassociates=True,
            source="TASO axioms: conv is bilinear",
            shapes=("x:n4hw y:n4hw w:6433",),
            attrs={"a": lambda rng, *_: conv_attrs()},
        ),
        Rule(
            name="conv-nhwc",
            law="conv in NCHW = the same convolution in NHWC between two transposes",
            lhs=op.conv2d(x, w, attrs=a),
            rhs=_nhwc,
            when=lambda a: a.data_layout == "NCHW" and a.kernel_layout == "OIHW",
            source="ALT: layouts as equivalences",
            shapes=("x:n4hw w:6433",),
            attrs={"a": lambda rng, *_: conv_attrs()},
            counterexample="x:nhw4 w:3346",
        ),
    ]
)


def conv_attrs(**changes: Any) -> Any:
    """Attributes of a plain 3×3 convolution, for the generated tests."""
    plain = {
        "strides": (1, 1), "padding": (1, 0, 1, 1), "dilation": (1, 1), "groups": 1, "data_layout": "NCHW",
        "kernel_layout": "OIHW",
    }  # fmt: skip
    return op.conv2d.record.make_attrs(**{**plain, **changes})
