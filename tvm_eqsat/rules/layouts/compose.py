"""Conversions that compose: with each other, and with reshapes, permutations and padding beside them."""

from __future__ import annotations

from math import prod

from ...layout.index_map import IndexMap
from ..dsl import attributes, op, tensors
from ..rule import Rule, RuleSet
from .maps import SOURCE, padded, reshaped, stored, then

x = tensors("x")
a, m, p, q, s = attributes("a m p q s")

COMPOSE = RuleSet(
    [
        Rule(
            name="layout-layout",
            law="layout(layout(x, p), q) = layout(x, p then q), where one map does both",
            lhs=op.layout_transform(op.layout_transform(x, map=p), map=q),
            rhs=lambda x, p, q: stored(x, then(p, q)),
            simplifies=True,
            source=SOURCE,
            shapes=("x:.ab",),
            attrs={"p": lambda rng, x: IndexMap.reorder(x.shape, [int(i) for i in rng.permutation(x.rank)])},
        ),
        Rule(
            name="layout-same",
            law="layout(x, identity) = x",
            lhs=op.layout_transform(x, map=m),
            rhs=x,
            when=lambda m: m.is_identity,
            simplifies=True,
            source=SOURCE,
            shapes=("x:.abc",),
            attrs={"m": lambda rng, x: IndexMap.identity(x.shape)},
            counterexample="x:234",
        ),
        Rule(
            name="layout-view",
            law="layout(x, m) = reshape(x) where m keeps the order of the elements",
            lhs=op.layout_transform(x, map=m),
            rhs=lambda x, m: op.reshape(x, shape=m.shape),
            when=lambda m: m.is_view,
            simplifies=True,
            source=SOURCE,
            shapes=("x:.abc",),
            attrs={"m": lambda rng, x: IndexMap.fuse(x.shape, 0, int(rng.integers(1, x.rank + 1)))},
            counterexample="x:234",
        ),
        Rule(
            name="layout-of-permute",
            law="layout(permute(x, p), m) = layout(x, p then m)",
            lhs=op.layout_transform(op.permute_dims(x, axes=p), map=m),
            rhs=lambda x, p, m: stored(x, then(IndexMap.reorder(x.shape, p), m)),
            simplifies=True,
            source=SOURCE,
            shapes=("x:.abc",),
        ),
        Rule(
            name="permute-of-layout",
            law="permute(layout(x, m), p) = layout(x, m then p)",
            lhs=op.permute_dims(op.layout_transform(x, map=m), axes=p),
            rhs=lambda x, p, m: stored(x, then(m, IndexMap.reorder(m.shape, p))),
            simplifies=True,
            source=SOURCE,
            shapes=("x:.abc",),
        ),
        Rule(
            name="layout-of-reshape",
            law="layout(reshape(x, s), m) = layout(x, s then m), where s splits and joins digits of m",
            lhs=op.layout_transform(op.reshape(x, shape=s), map=m),
            rhs=lambda x, s, m: stored(x, first and then(first, m)) if (first := reshaped(x.shape, s)) else None,
            source=SOURCE,
            shapes=("x:.abc", "x:abcd"),
            attrs={"s": lambda rng, x: (*x.shape[:-2], prod(x.shape[-2:]))},
        ),
        Rule(
            name="layout-of-pad",
            law="layout(pad(x), m) = layout(x, pad then m)",
            lhs=op.layout_transform(op.pad(x, attrs=a), map=m),
            rhs=lambda x, a, m: stored(x, first and then(first, m)) if (first := padded(x.shape, a)) else None,
            simplifies=True,
            source=SOURCE,
            shapes=("x:.bcd",),
            attrs={
                "a": lambda rng, x: op.pad.record.make_attrs(
                    pad_width=tuple(int(i) for i in rng.integers(0, 3, 2 * x.rank))
                ),
                "m": lambda rng, *ts: IndexMap.reorder(ts[0].shape, [int(i) for i in rng.permutation(ts[0].rank)]),
            },
        ),
    ]
)
