"""Sums and scalars, brought out of linear operators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..dsl import Term, attributes, op, tensors
from ..lib import is_scalar
from ..rule import Rule, RuleSet
from ._samples import zero_padding
from .padding import keeps_zero

x, y, z, w, c = tensors("x y z w c")
a, b = attributes("a b")


def _slides_freely(a: Any, b: Any) -> bool:
    """Whether a convolution and a pool move in steps of one, over nothing but data."""
    plain = not any(a.padding) and not any(b.padding) and not b.ceil_mode and a.data_layout == b.layout
    return plain and set(a.strides) == set(b.strides) == {1}


def _unpadded_pool(rng: np.random.Generator, *_: Any) -> Any:
    return op.avg_pool2d.record.make_attrs(pool_size=tuple(int(n) for n in rng.integers(1, 4, 2)))


def _sums() -> Iterator[Rule]:
    yield Rule(
        name="matmul-of-left-sum",
        law="(x + y) · w = x · w + y · w",
        lhs=op.matmul(op.add(x, y), w),
        rhs=op.add(op.matmul(x, w), op.matmul(y, w)),
        when=lambda x, y: min(x.rank, y.rank) >= 2 and x.shape[-1] == y.shape[-1],
        reassociates=True,
        source="TASO axioms: matmul is linear",
        shapes=("x:ab y:ab w:bc", "x:nab y:1b w:bc"),
        counterexample="x:ab y:b w:bc",
    )
    yield Rule(
        name="matmul-of-right-sum",
        law="x · (y + z) = x · y + x · z",
        lhs=op.matmul(x, op.add(y, z)),
        rhs=op.add(op.matmul(x, y), op.matmul(x, z)),
        when=lambda y, z: min(y.rank, z.rank) >= 2 and y.shape[-2] == z.shape[-2],
        reassociates=True,
        source="TASO axioms: matmul is linear",
        shapes=("x:ab y:bc z:bc", "x:ab y:nbc z:b1"),
        counterexample="x:ab y:bc z:c",
    )
    yield Rule(
        name="conv-of-sum",
        law="conv(x + y, w) = conv(x, w) + conv(y, w)",
        lhs=op.conv2d(op.add(x, y), w, attrs=a),
        rhs=op.add(op.conv2d(x, w, attrs=a), op.conv2d(y, w, attrs=a)),
        when=lambda x, y: x.shape == y.shape,
        reassociates=True,
        source="TASO axioms: conv is bilinear",
        shapes=("x:n4hw y:n4hw w:6433", "x:n4hw y:n4hw w:6233"),
        counterexample="x:n4hw y:4hw w:6433",
    )
    yield Rule(
        name="conv-of-weight-sum",
        law="conv(x, w + z) = conv(x, w) + conv(x, z)",
        lhs=op.conv2d(x, op.add(w, z), attrs=a),
        rhs=op.add(op.conv2d(x, w, attrs=a), op.conv2d(x, z, attrs=a)),
        when=lambda w, z: w.shape == z.shape,
        reassociates=True,
        source="TASO axioms: conv is bilinear",
        shapes=("x:n4hw w:6433 z:6433", "x:n4hw w:6233 z:6233"),
        counterexample="x:n4hw w:6433 z:33",
    )
    yield Rule(
        name="avg_pool2d-of-sum",
        law="avg_pool(x + y) = avg_pool(x) + avg_pool(y)",
        lhs=op.avg_pool2d(op.add(x, y), attrs=a),
        rhs=op.add(op.avg_pool2d(x, attrs=a), op.avg_pool2d(y, attrs=a)),
        when=lambda x, y: x.shape == y.shape,
        reassociates=True,
        shapes=("x:abcd y:abcd",),
        counterexample="x:abcd y:bcd",
    )
    yield Rule(
        name="conv-of-avg_pool2d",
        law="conv(avg_pool(x), w) = avg_pool(conv(x, w)) without padding and strides",
        lhs=op.conv2d(op.avg_pool2d(x, attrs=b), w, attrs=a),
        rhs=op.avg_pool2d(op.conv2d(x, w, attrs=a), attrs=b),
        when=_slides_freely,
        reassociates=True,
        shapes=("x:n4hw w:6422", "x:n4hw w:6213"),
        attrs={
            "a": lambda rng, x, w: op.conv2d.record.make_attrs(groups=x.shape[1] // w.shape[1]),
            "b": _unpadded_pool,
        },
        counterexample="x:n4hw w:6422",
    )


def _scalar(c: Term) -> Term:
    return c if c.rank == 0 else op.reshape(c, shape=())


#: Linear operators of one operand: an instance of it, and the size of a vector that isn't a scalar.
_SINGLE = {
    "permute_dims": ("x:.abc", "c"),
    "reshape": ("x:.abc", "c"),
    "slice": ("x:.ab", "b"),
    "pad": ("x:.mn", "n"),
    "avg_pool2d": ("x:abcd", "d"),
}
#: Bilinear ones, likewise with a vector for either operand.
_DOUBLE = {"matmul": ("x:ab w:bd", "bd"), "conv2d": ("x:n4hw w:6433", "w3")}


def _scales() -> Iterator[Rule]:
    for name, (operand, vector) in _SINGLE.items():
        f = getattr(op, name)
        yield Rule(
            name=f"{name}-of-scaled",
            law=f"{name}(x * c) = {name}(x) * c for a scalar c",
            lhs=f(op.multiply(x, c), attrs=a),
            rhs=lambda x, c, a, f=f: op.multiply(f(x, attrs=a), _scalar(c)),
            when=(lambda c, a: is_scalar(c) and keeps_zero(a)) if name == "pad" else (lambda c: is_scalar(c)),
            reassociates=name == "avg_pool2d",
            source="TASO axioms: smul commutes with linear operators",
            shapes=(f"{operand} c:", f"{operand} c:1"),
            attrs={"a": zero_padding} if name == "pad" else {},
            counterexample=f"{operand} c:{vector}",
        )
    for name, (operands, vectors) in _DOUBLE.items():
        f = getattr(op, name)
        sides = ("left", f(op.multiply(x, c), w, attrs=a)), ("right", f(x, op.multiply(w, c), attrs=a))
        for (side, lhs), vector in zip(sides, vectors, strict=True):
            yield Rule(
                name=f"{name}-of-scaled-{side}",
                law=f"{name}(x, w) with the {side} operand times a scalar c = {name}(x, w) * c",
                lhs=lhs,
                rhs=lambda x, w, c, a, f=f: op.multiply(f(x, w, attrs=a), _scalar(c)),
                when=lambda c: is_scalar(c),
                reassociates=True,
                source="TASO axioms: smul commutes with linear operators",
                shapes=(f"{operands} c:", f"{operands} c:1"),
                counterexample=f"{operands} c:{vector}",
            )


LINEAR = RuleSet([*_sums(), *_scales()])
