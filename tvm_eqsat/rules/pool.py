"""Pooling and reductions: moved past transposes, concatenations and activations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .conv import NCHW_TO_NHWC, NHWC_TO_NCHW
from .dsl import Term, attributes, op, rest, tensors
from .lib import channel, inverse, permuted
from .rule import Rule, RuleSet

x, y = tensors("x y")
a, k, p, r, f = attributes("a k p r f")


def _pooling() -> Iterator[Rule]:
    for name in ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"):
        pool = getattr(op, name)
        yield Rule(
            name=f"{name}-nhwc",
            law=f"{name} in NCHW = the same in NHWC between two transposes",
            lhs=pool(x, attrs=a),
            rhs=lambda x, a, pool=pool: permuted(
                pool(permuted(x, NCHW_TO_NHWC), attrs=a._replace(layout="NHWC")), NHWC_TO_NCHW
            ),
            when=lambda a: a.layout == "NCHW",
            source="ALT: layouts as equivalences",
            shapes=("x:nc66",),
            attrs={"a": lambda rng, x, pool=pool: _attrs(pool, "NCHW")},
            counterexample="x:n66c",
        )
        yield Rule(
            name=f"{name}-of-concat",
            law=f"{name}(concat(x, y)) = concat({name}(x), {name}(y)) along the channels",
            lhs=pool(op.concat(rest("xs"), axis=k), attrs=a),
            rhs=lambda xs, a, k, pool=pool: op.concat(*[pool(t, attrs=a) for t in xs], axis=k),
            when=lambda a, k: k == channel(a.layout),
            source="TASO axioms: concat and pool",
            shapes=("xs*:n~66",),
            attrs={"a": lambda rng, pool=pool: _attrs(pool, "NCHW"), "k": lambda rng, *_: 1},
            counterexample="xs*:~c66",
        )


def _attrs(pool: Any, layout: str) -> Any:
    """Attributes for the generated tests."""
    if "output_size" in pool.record.schema:
        return pool.record.make_attrs(output_size=(2, 3), layout=layout)
    return pool.record.make_attrs(pool_size=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1), layout=layout)


def _reductions() -> Iterator[Rule]:
    for name in ("sum", "mean", "max", "min"):
        reduce = getattr(op, name)
        yield Rule(
            name=f"{name}-of-permute",
            law=f"{name}(permute(x, p); axes) = {name}(x; p[axes]), what is left transposed",
            lhs=reduce(op.permute_dims(x, axes=p), axes=r, keepdims=f),
            rhs=lambda x, p, r, f, reduce=reduce: _reduce_permuted(reduce, x, p, r, f),
            reassociates=True,
            shapes=("x:abcd",),
        )


def _reduce_permuted(reduce: Any, x: Term, p: tuple[int, ...], r: tuple[int, ...], keep: bool) -> Term:
    reduced = reduce(x, axes=tuple(sorted(p[i] for i in r)), keepdims=keep)
    if keep:
        return permuted(reduced, p)
    left = [p[i] for i in range(len(p)) if i not in r]
    order = sorted(left)
    return permuted(reduced, [order.index(i) for i in left])


POOL = RuleSet(
    [
        *_pooling(),
        *_reductions(),
        Rule(
            name="relu-of-max-pool",
            law="relu(max_pool(x)) = max_pool(relu(x)): both are monotone",
            lhs=op.relu(op.max_pool2d(x, attrs=a)),
            rhs=op.max_pool2d(op.relu(x), attrs=a),
            shapes=("x:nc66",),
            attrs={"a": lambda rng, x: _attrs(op.max_pool2d, "NCHW")},
        ),
        Rule(
            name="max-pool-of-relu",
            law="max_pool(relu(x)) = relu(max_pool(x)): both are monotone",
            lhs=op.max_pool2d(op.relu(x), attrs=a),
            rhs=op.relu(op.max_pool2d(x, attrs=a)),
            shapes=("x:nc66",),
            attrs={"a": lambda rng, x: _attrs(op.max_pool2d, "NCHW")},
        ),
        Rule(
            name="permute-past-softmax",
            law="permute(softmax(x; k), p) = softmax(permute(x, p); p^-1[k])",
            lhs=op.permute_dims(op.softmax(x, axis=k), axes=p),
            rhs=lambda x, k, p: op.softmax(op.permute_dims(x, axes=p), axis=inverse(p)[k]),
            shapes=("x:abc",),
        ),
    ]
)
