"""Pooling and softmax: moved past transposes, concatenations, activations and scales."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import IllTyped
from .conv import NCHW_TO_NHWC, NHWC_TO_NCHW
from .dsl import attributes, op, rest, tensors
from .lib import constant_along, inverse, is_scalar, permuted, spatial
from .rule import Rule, RuleSet

x, c = tensors("x c")
a, k, p, t = attributes("a k p t")


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
            shapes=("x:nchw",),
            attrs={"a": lambda rng, x, pool=pool: _nchw(pool, rng, x)},
            counterexample="x:n66c",
        )
        yield Rule(
            name=f"{name}-of-concat",
            law=f"{name}(concat(x, y)) = concat({name}(x), {name}(y)) along the batch or the channels",
            lhs=pool(op.concat(rest("xs"), axis=k), attrs=a),
            rhs=lambda xs, a, k, pool=pool: op.concat(*[pool(t, attrs=a) for t in xs], axis=k),
            when=lambda a, k: k not in spatial(a.layout),
            source="TASO axioms: concat and pool",
            shapes=("xs*:a~cd", "xs*:abc~", "xs*:~bcd"),
            counterexample="xs*:a~66",
        )


def _nchw(pool: Any, rng: Any, x: Any) -> Any:
    """Random attributes in the layout that the rule is about, for the generated tests."""
    for _ in range(20):
        found = pool.record.sample(rng, [x])
        if found.layout == "NCHW":
            return found
    raise IllTyped("the sampler prefers another layout")


def _homogeneous() -> Iterator[Rule]:
    for name in ("relu", "abs", "leaky_relu", "max_pool2d"):
        g = getattr(op, name)
        keep: dict[str, Any] = {"attrs": a} if g.record.schema else {}
        yield Rule(
            name=f"scale-past-{name}",
            law=f"{name}(x) * c = {name}(x * c) for a known number c > 0",
            lhs=op.multiply(g(x, **keep), c),
            rhs=g(op.multiply(x, c), **keep),
            when=lambda c: c.fill is not None and c.fill > 0 and is_scalar(c),
            reassociates=True,
            source="TASO axioms: smul and relu",
            shapes=("x:abcd c=2:", "x:abcd c=0.5:1"),
            counterexample="x:abcd c=-1:",
        )
    for name in ("avg_pool2d", "adaptive_avg_pool2d"):
        g = getattr(op, name)
        yield Rule(
            name=f"scale-past-{name}",
            law=f"{name}(x) * c = {name}(x * c) for a constant c that is the same at every place",
            lhs=op.multiply(g(x, attrs=a), c),
            rhs=lambda x, a, c, g=g: g(op.multiply(x, c), attrs=a),
            when=lambda a, c: c.rank <= 4 and constant_along(c, spatial(a.layout), 4),
            pays=lambda c: c.const,
            reassociates=True,
            source="TASO axioms: smul and pool",
            shapes=("x:abcd c!:b11", "x:abcd c!:Ab11", "x:abcd c!:d", "x:abcd c!:A11d", "x:abcd c!:"),
            counterexample="x:ab33 c:31",
        )


POOL = RuleSet(
    [
        *_pooling(),
        *_homogeneous(),
        Rule(
            name="relu-of-max-pool",
            law="relu(max_pool(x)) = max_pool(relu(x)): both are monotone",
            lhs=op.relu(op.max_pool2d(x, attrs=a)),
            rhs=op.max_pool2d(op.relu(x), attrs=a),
            shapes=("x:abcd",),
        ),
        Rule(
            name="max-pool-of-relu",
            law="max_pool(relu(x)) = relu(max_pool(x)): both are monotone",
            lhs=op.max_pool2d(op.relu(x), attrs=a),
            rhs=op.relu(op.max_pool2d(x, attrs=a)),
            shapes=("x:abcd",),
        ),
        Rule(
            name="permute-past-softmax",
            law="permute(softmax(x; k), p) = softmax(permute(x, p); p^-1[k])",
            lhs=op.permute_dims(op.softmax(x, axis=k), axes=p),
            rhs=lambda x, k, p: op.softmax(op.permute_dims(x, axes=p), axis=inverse(p)[k]),
            shapes=("x:.abc",),
        ),
    ]
)
