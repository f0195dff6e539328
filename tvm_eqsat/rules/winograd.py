"""Winograd's algorithm for 3×3 convolutions: fewer multiplications, larger rounding errors.

It adds before it multiplies, and what is added may cancel. :data:`ERROR_GROWTH` says how much larger the errors get at
normally distributed data; for any data the bounds are 7 times (2×2) and 97 times (4×4): the largest entry of
|A| |G| |B|, squared, over 9. ``numerics="strict"`` leaves these rules out, and so does ``exclude_rules`` by name.
"""

from __future__ import annotations

from typing import Any

from ..graph.ops.winograd import tile_counts
from .conv import conv_attrs
from .dsl import Term, attributes, op, tensors
from .rule import Rule, RuleSet

x, w = tensors("x w")
a = attributes("a")

#: Root mean square of the rounding errors in float32, relative to those of the convolution itself: what was measured
#: with 16 to 512 channels (0.7 to 1.6, and 2.9 to 6.3), rounded up.
ERROR_GROWTH = {2: 2, 4: 8}
# Transforms move a channel's data; what they save grows with the channels on the other side of the matmul.
_CHANNELS = 16


def _plain(w: Term, a: Any) -> bool:
    """A dense 3×3 convolution of stride 1 that is computed in the data's own type, channels last."""
    return (
        (a.data_layout, a.kernel_layout, a.groups, a.out_dtype) == ("NHWC", "HWIO", 1, "")
        and tuple(a.strides) == tuple(a.dilation) == (1, 1)
        and tuple(w.shape[:2]) == (3, 3)
    )


def _results(x: Term, a: Any) -> tuple[Any, Any]:
    """Rows and columns of the convolution's result."""
    top, left, bottom, right = a.padding
    return x.shape[1] + top + bottom - 2, x.shape[2] + left + right - 2


def _winograd(x: Term, w: Term, a: Any, tile: int) -> Term:
    data = op.winograd_input(x, tile=tile, padding=a.padding)
    products = op.matmul(data, op.winograd_weight(w, tile=tile))
    return op.winograd_output(products, tile=tile, shape=(x.shape[0], *_results(x, a)))


def _pays(x: Term, w: Term, a: Any, tile: int) -> bool:
    """Fewer multiplications, also where the last tiles are partly empty, and channels enough for the transforms."""
    if not w.const or min(w.shape[2:]) < _CHANNELS:
        return False
    rows, columns = _results(x, a)
    down, across = tile_counts(rows, columns, tile)
    return bool(down * across * (tile + 2) ** 2 * 1.5 < rows * columns * 9)


def _rule(tile: int) -> Rule:
    return Rule(
        name=f"conv-winograd-{tile}x{tile}",
        law=f"conv(x, w) = F({tile}×{tile}, 3×3): tiles are transformed, multiplied point by point, transformed back; "
        f"rounding errors grow up to {ERROR_GROWTH[tile]} times",
        lhs=op.conv2d(x, w, attrs=a),
        rhs=lambda x, w, a: _winograd(x, w, a, tile),
        when=lambda w, a: _plain(w, a),
        pays=lambda x, w, a: _pays(x, w, a, tile),
        reassociates=True,
        source="Lavin and Gray, CVPR'16",
        shapes=("x:nhwi w!:33io", "x:n55i w!:33io", "x:n98i w!:33io"),
        attrs={
            **dict.fromkeys("io", lambda rng: rng.choice((3, 16, 20))),
            "a": lambda rng: conv_attrs(
                data_layout="NHWC", kernel_layout="HWIO", padding=tuple(rng.integers(1, 3, 4).tolist())
            ),
        },
        counterexample="x:n55i w:33io",
    )


WINOGRAD = RuleSet([_rule(2), _rule(4)])
