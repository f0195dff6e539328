"""Two-dimensional convolution: layouts, and constants moved into the weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dsl import Term, attributes, op, tensors
from .lib import along, channel, is_scalar, only_varies_along, permuted, spatial
from .rule import Rule, RuleSet

x, w, c = tensors("x w c")
a, k = attributes("a k")

NCHW_TO_NHWC, NHWC_TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
OIHW_TO_HWIO = (2, 3, 1, 0)


def output_axis(a: Any) -> int:
    """Axis of the output channels in the weight."""
    return int(a.kernel_layout.index("O"))


def input_axis(a: Any) -> int:
    """Axis of the input channels in the weight."""
    return int(a.kernel_layout.index("I"))


def kernel_size(w: Term, a: Any) -> tuple[Any, ...]:
    """Height and width of the kernel."""
    return tuple(w.shape[i] for i in spatial(a.kernel_layout))


def conv(x: Term, w: Term, a: Any) -> Term:
    """The convolution with these attributes."""
    return op.conv2d(x, w, attrs=a)


# -- constants into the weights ----------------------------------------------------------------------------------


def _scaled(w: Term, c: Term, axis: int) -> Term:
    """The weight with its slices along ``axis`` scaled by ``c``, which has one element for each, or one for all."""
    count = [d for d in c.shape if d != 1]
    return op.multiply(w, along(op.reshape(c, shape=tuple(count)), axis, w.rank) if count else op.reshape(c, shape=()))


def _scale_input(x: Term, w: Term, c: Term, a: Any) -> Term:
    if a.groups == 1 or is_scalar(c):
        return conv(x, _scaled(w, c, input_axis(a)), a)
    # Every filter sees the channels of its group alone.
    filters, inputs = w.shape[output_axis(a)], w.shape[input_axis(a)]
    table = op.broadcast_to(op.reshape(c, shape=(a.groups, 1, inputs)), shape=(a.groups, filters // a.groups, inputs))
    axes = sorted((output_axis(a), input_axis(a)), key=lambda i: i != output_axis(a))
    flat = op.reshape(table, shape=(filters, inputs))
    if axes[0] > axes[1]:
        flat = op.permute_dims(flat, axes=(1, 0))
    return conv(x, op.multiply(w, op.reshape(flat, shape=[d if i in axes else 1 for i, d in enumerate(w.shape)])), a)


def _per_channel(c: Term, a: Any) -> bool:
    return only_varies_along(c, channel(a.data_layout), 4)


def _dirac(w: Term, a: Any) -> np.ndarray | None:
    """The kernel of the identity convolution, or None where no kernel of this size is one."""
    height, width = kernel_size(w, a)
    out, inner = w.shape[output_axis(a)], w.shape[input_axis(a)]
    fits = a.groups == 1 and out == inner and height % 2 == 1 and width % 2 == 1 and tuple(a.strides) == (1, 1)
    reach = [(height - 1) * a.dilation[0] // 2, (width - 1) * a.dilation[1] // 2]
    if not fits or list(a.padding) != reach * 2:
        return None
    kernel = np.zeros((out, inner, height, width), w.dtype)
    kernel[np.arange(out), np.arange(out), height // 2, width // 2] = 1
    return np.ascontiguousarray(kernel.transpose(["OIHW".index(axis) for axis in a.kernel_layout]))


def _absorb_residual(x: Term, w: Term, a: Any) -> Term | None:
    identity = _dirac(w, a)
    return None if identity is None else conv(x, op.add(w, identity), a)


def _absorb_padding(x: Term, w: Term, a: Any, k: tuple[int, ...]) -> Term | None:
    """``k`` lists (before, after) for each axis; only the spatial ones may be padded."""
    axes = spatial(a.data_layout)
    if any(k[2 * i] or k[2 * i + 1] for i in range(x.rank) if i not in axes) or min(k) < 0:
        return None
    h, v = axes
    top, left, bottom, right = a.padding
    padding = (top + k[2 * h], left + k[2 * v], bottom + k[2 * h + 1], right + k[2 * v + 1])
    return conv(x, w, a._replace(padding=padding))


# -- layouts -----------------------------------------------------------------------------------------------------


def _nhwc(x: Term, w: Term, a: Any) -> Term:
    turned = op.conv2d(
        permuted(x, NCHW_TO_NHWC),
        permuted(w, OIHW_TO_HWIO),
        attrs=a._replace(data_layout="NHWC", kernel_layout="HWIO"),
    )
    return permuted(turned, NHWC_TO_NCHW)


# -- attributes for the generated tests --------------------------------------------------------------------------


def sampled(rng: Any, x: Any, w: Any) -> Any:
    """What the operator's own sampler draws."""
    sample = op.conv2d.record.sample
    assert sample is not None
    return sample(rng, [x, w])


def _same_size(rng: Any, x: Any, w: Any) -> Any:
    """Attributes of a convolution that keeps height and width."""
    a = sampled(rng, x, w)
    kernel = [w.shape[i] for i in spatial(a.kernel_layout)]
    dilation = tuple(rng.integers(1, 3, 2).tolist())
    reach = tuple((size - 1) * d // 2 for size, d in zip(kernel, dilation, strict=True))
    return a._replace(strides=(1, 1), dilation=dilation, padding=reach * 2)


def _spatial_padding(rng: Any, x: Any, w: Any) -> tuple[int, ...]:
    """Widths of padding around height and width, in the layout that the operands agree with."""
    width = [0] * 8
    first = 2 if x.shape[1] in (6, w.shape[1]) else 1
    for i in range(2 * first, 2 * first + 4):
        width[i] = int(rng.integers(3))
    return tuple(width)


CONV = RuleSet(
    [
        Rule(
            name="conv-scale-output",
            law="conv(x, w) * c = conv(x, w * c) for a constant c per output channel",
            lhs=op.multiply(op.conv2d(x, w, attrs=a), c),
            rhs=lambda x, w, c, a: conv(x, _scaled(w, c, output_axis(a)), a),
            when=lambda c, a: _per_channel(c, a),
            pays=lambda w, c: w.const and c.const,
            reassociates=True,
            source="batch-norm folding",
            shapes=(
                "x:n4hw w!:6433 c!:611",
                "x:n455 w!:6433 c!:",
                "x:n655 w!:6322 c!:1611",
                "x:n55i w!:33io c!:o",
                "x:n55i w!:o33i c!:O",
                "x:n556 w!:2236 c!:116",
            ),
            counterexample="x:n444 w:4433 c:4",
        ),
        Rule(
            name="conv-scale-input",
            law="conv(x * c, w) = conv(x, w * c) for a constant c per input channel",
            lhs=op.conv2d(op.multiply(x, c), w, attrs=a),
            rhs=_scale_input,
            when=lambda c, a: _per_channel(c, a),
            pays=lambda w, c: w.const and c.const,
            reassociates=True,
            source="TASO axioms: conv is bilinear",
            shapes=(
                "x:ni55 w!:oi33 c!:i11",
                "x:ni55 w!:oi33 c!:",
                "x:n655 w!:6322 c!:1611",
                "x:n55i w!:33io c!:i",
                "x:n55i w!:o33i c!:I",
                "x:n556 w!:2236 c!:116",
                "x:n655 w!:6133 c!:611",
            ),
            counterexample="x:n444 w:4433 c:4",
        ),
        Rule(
            name="conv-absorb-residual",
            law="conv(x, w) + x = conv(x, w + identity kernel)",
            lhs=op.add(op.conv2d(x, w, attrs=a), x),
            rhs=_absorb_residual,
            pays=lambda w: w.const,
            reassociates=True,
            source="RepVGG (Ding et al., CVPR'21, §3.3)",
            shapes=("x:nchw w!:cc33", "x:nhwc w!:15cc", "x:nhwc w!:c31c"),
            attrs={"a": lambda rng, x, w: _same_size(rng, x, w)},
        ),
        Rule(
            name="conv-absorb-padding",
            law="conv(pad(x, p), w) = conv(x, w) with p added to its own padding",
            lhs=op.conv2d(op.pad(x, pad_width=k), w, attrs=a),
            rhs=_absorb_padding,
            shapes=("x:nihw w:oi33", "x:n6hw w:6222", "x:nhwi w:33io", "x:nhwi w:o23i"),
            attrs={"k": lambda rng, x, w: _spatial_padding(rng, x, w)},
        ),
        Rule(
            name="conv-nhwc",
            law="conv in NCHW = the same convolution in NHWC between two transposes",
            lhs=op.conv2d(x, w, attrs=a),
            rhs=_nhwc,
            when=lambda a: a.data_layout == "NCHW" and a.kernel_layout == "OIHW",
            source="ALT: layouts as equivalences",
            shapes=("x:ni55 w:oi33", "x:n655 w:6322"),
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
