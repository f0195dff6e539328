"""Zeros around a tensor, brought out of elementwise operators and taken off kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..dsl import Term, attributes, op, tensors
from ..lib import spatial
from ..rule import Rule, RuleSet
from ._samples import conv_attrs, zero_padding, zero_widths

x, y, w = tensors("x y w")
a, j, k = attributes("a j k")


def keeps_zero(a: Any) -> bool:
    """Whether padding with these attributes adds zeros, or repeats what is there."""
    return bool(a.mode != "constant" or a.value == 0)


def _shrunk_kernel(x: Term, w: Term, a: Any, k: tuple[int, ...]) -> Term | None:
    """The zeros around a kernel see data, or padding, that then isn't needed."""
    axes = spatial(a.kernel_layout)
    if any(k[2 * i] or k[2 * i + 1] for i in range(w.rank) if i not in axes):
        return None
    reach = [k[2 * axis + after] * d for after in (0, 1) for axis, d in zip(axes, a.dilation, strict=True)]
    padding = tuple(old - r for old, r in zip(a.padding, reach, strict=True))
    return op.conv2d(x, w, attrs=a._replace(padding=padding)) if min(padding) >= 0 else None


def _padding() -> Iterator[Rule]:
    yield Rule(
        name="conv-of-enlarged-kernel",
        law="conv(x, w with zeros around it) = conv(x, w) with as much less padding",
        lhs=op.conv2d(x, op.pad(w, pad_width=k), attrs=a),
        rhs=_shrunk_kernel,
        reassociates=True,
        source="TASO axioms: enlarge of a kernel",
        shapes=("x:n4hw w:6411", "x:n4hw w:6413"),
        attrs={
            "k": lambda rng, w: (0, 0, 0, 0, 1, 1, *((1, 1) if w.shape[3] == 1 else (0, 0))),
            "a": lambda rng, *_: conv_attrs(padding=(2, 1, 1, 1)),
        },
    )
    for name in ("add", "multiply"):
        f = getattr(op, name)
        yield Rule(
            name=f"pad-of-{name}",
            law=f"pad({name}(x, y)) = {name}(pad(x), pad(y)) with zeros",
            lhs=op.pad(f(x, y), attrs=a),
            rhs=f(op.pad(x, attrs=a), op.pad(y, attrs=a)),
            when=lambda x, y, a: x.shape == y.shape and keeps_zero(a),
            source="TASO axioms: enlarge and ewadd/ewmul",
            shapes=("x:mn y:mn",),
            attrs={"a": zero_padding},
            counterexample="x:mn y:mn",
        )
    for name in ("relu", "tanh"):
        f = getattr(op, name)
        yield Rule(
            name=f"pad-of-{name}",
            law=f"pad({name}(x)) = {name}(pad(x)) with zeros",
            lhs=op.pad(f(x), attrs=a),
            rhs=f(op.pad(x, attrs=a)),
            when=lambda a: keeps_zero(a),
            shapes=("x:mn",),
            attrs={"a": zero_padding},
            counterexample="x:mn",
        )
    yield Rule(
        name="pad-pad",
        law="pad(pad(x, k), j) = pad(x, k + j) with zeros",
        lhs=op.pad(op.pad(x, pad_width=k), pad_width=j),
        rhs=lambda x, k, j: op.pad(x, pad_width=tuple(m + n for m, n in zip(k, j, strict=True))),
        simplifies=True,
        source="TASO axioms: enlarge of enlarge",
        shapes=("x:.mn",),
        attrs={"k": zero_widths, "j": zero_widths},
    )
    yield Rule(
        name="pad-nothing",
        law="pad(x) by nothing = x",
        lhs=op.pad(x, attrs=a),
        rhs=x,
        when=lambda a: not any(a.pad_width),
        simplifies=True,
        shapes=("x:.mn",),
        attrs={"a": lambda rng, x: op.pad.record.make_attrs(pad_width=(0, 0) * len(x.shape))},
        counterexample="x:mn",
    )


PADDING = RuleSet(_padding())
