"""Convolutions that TVM doesn't have: with channels in blocks, and depthwise ones in NHWC."""

from __future__ import annotations

from typing import Any

from ...graph.types import TensorType
from ...layout.blocks import block_of, blocked, blocked_depthwise_weight, blocked_weight
from ..dsl import Term, attributes, op, tensors
from ..rule import Rule, RuleSet
from .maps import SOURCE, inverse, stored
from .polymorphic import POLYMORPHIC

x, w = tensors("x w")
a = attributes("a")


def _channels_last(x: Term, w: Term, a: Any) -> Term:
    return op.depthwise_conv2d(x, op.reshape(w, shape=(*w.shape[:2], w.shape[3])), **_window(a))


def _depthwise_attrs(rng: Any, x: Any, w: Any) -> Any:
    """For the generated tests: the sampler's, with one filter for each channel."""
    sample = op.conv2d.record.sample
    assert sample is not None
    found: Any = sample(rng, [TensorType((*x.shape[:3], 1), x.dtype), TensorType((*w.shape[:2], 1, 1), w.dtype)])
    return found._replace(groups=x.shape[3], data_layout="NHWC", kernel_layout="HWIO", out_dtype="")


DEPTHWISE = RuleSet(
    [
        Rule(
            name="depthwise-conv",
            law="conv in NHWC with one filter for each channel = depthwise conv, which sums over the window alone",
            lhs=op.conv2d(x, w, attrs=a),
            rhs=_channels_last,
            when=lambda x, w, a: (
                (a.data_layout, a.kernel_layout, a.out_dtype) == ("NHWC", "HWIO", "")
                and a.groups == x.shape[3] == w.shape[3]
            ),
            pays=lambda x: x.shape[3] > 1,
            source=SOURCE,
            shapes=("x:n559 w:2219", "x:n568 w:3318", "x:n66c w:hk1c"),
            attrs={"a": _depthwise_attrs},
            counterexample="x:n446 w:2236",
        )
    ]
)


#: What passes a layout on: operators that take a tensor as it is stored, and depthwise convolutions in NHWC.
PASSING = POLYMORPHIC + DEPTHWISE


def _window(a: Any) -> dict[str, Any]:
    return {"strides": a.strides, "padding": a.padding, "dilation": a.dilation}


def _blocked_conv(x: Term, w: Term, a: Any, lanes: int) -> Term | None:
    whole = a.groups == 1
    i, o = block_of(w.shape[1], lanes, pad=whole), block_of(w.shape[0] // a.groups, lanes, pad=whole)
    data, weight = stored(x, blocked(x.shape, 1, i)), op.layout_transform(w, map=blocked_weight(w.shape, i, o))
    found = op.conv2d_nchwc(data, weight, groups=a.groups, **_window(a))
    return stored(found, inverse(blocked((x.shape[0], w.shape[0], *found.shape[2:4]), 1, o)))


def _blocked_depthwise_conv(x: Term, w: Term, a: Any, lanes: int) -> Term | None:
    o = block_of(w.shape[0], lanes)
    data, weight = stored(x, blocked(x.shape, 1, o)), op.layout_transform(w, map=blocked_depthwise_weight(w.shape, o))
    found = op.depthwise_conv2d(data, weight, **_window(a))
    return stored(found, inverse(blocked((x.shape[0], w.shape[0], *found.shape[2:4]), 1, o)))


def _is_nchw(a: Any) -> bool:
    return bool(a.data_layout == "NCHW" and a.kernel_layout == "OIHW" and not a.out_dtype)


def _is_depthwise(x: Term, w: Term, a: Any) -> bool:
    return bool(a.groups == x.shape[1] == w.shape[0])


def blocked_layouts(lanes: int) -> RuleSet:
    """Convolutions in NCHW{b}c, depthwise ones in NHWC, and what brings their conversions together.

    They aren't part of :data:`~tvm_eqsat.rules.ALL`: at equal trials, on Zen 3, no shape was clearly faster than NHWC.

    Parameters
    ----------
    lanes : int
        Elements of the target's vector registers.
    """
    dense = Rule(
        name="conv-blocked",
        law="conv in NCHW = the same convolution with channels in blocks, between two conversions",
        lhs=op.conv2d(x, w, attrs=a),
        rhs=lambda x, w, a: _blocked_conv(x, w, a, lanes),
        when=lambda x, w, a: _is_nchw(a) and not _is_depthwise(x, w, a),
        pays=lambda w: w.const,
        source=SOURCE,
        shapes=("x:ni55 w!:oi33", "x:n655 w!:6322"),
        counterexample="x:nhw4 w:3346",
    )
    depthwise = Rule(
        name="depthwise-conv-blocked",
        law="depthwise conv in NCHW = the same convolution with channels in blocks, between two conversions",
        lhs=op.conv2d(x, w, attrs=a),
        rhs=lambda x, w, a: _blocked_depthwise_conv(x, w, a, lanes),
        when=lambda x, w, a: _is_nchw(a) and _is_depthwise(x, w, a),
        pays=lambda w: w.const,
        source=SOURCE,
        shapes=("x:n955 w!:9122", "x:n855 w!:8133", "x:na55 w!:a1hh"),
        counterexample="x:n644 w:6422",
    )
    return PASSING + RuleSet([dense, depthwise])
