"""Normalisations at inference and softmax: affine maps that fold into their neighbours, and shifts that vanish."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .dsl import Term, attributes, op, tensors
from .lib import along, constant_along, is_scalar
from .rule import Rule, RuleSet

x, c, gamma, beta, mean, variance = tensors("x c gamma beta mean variance")
a, k, r = attributes("a k r")


def _affine(x: Term, gamma: Term, beta: Term, mean: Term, variance: Term, a: Any) -> Term:
    scale = op.divide(np.ones((), x.dtype), op.sqrt(op.add(variance, np.asarray(a.epsilon, x.dtype))))
    if a.scale:
        scale = op.multiply(gamma, scale)
    shift = op.negative(op.multiply(mean, scale))
    if a.center:
        shift = op.add(beta, shift)
    return op.add(op.multiply(x, along(scale, a.axis, x.rank)), along(shift, a.axis, x.rank))


def _shift_invariant() -> Iterator[Rule]:
    for combine in ("add", "subtract"):
        h = getattr(op, combine)
        for name in ("softmax", "log_softmax"):
            g = getattr(op, name)
            yield Rule(
                name=f"{name}-of-{combine}",
                law=f"{name}({combine}(x, c); k) = {name}(x; k) where c doesn't vary along k",
                lhs=g(h(x, c), axis=k),
                rhs=g(x, axis=k),
                when=lambda x, c, k: constant_along(c, [k], x.rank),
                reassociates=True,
                simplifies=True,
                source="the explicit maximum of a stable softmax; the bias of attention's keys",
                shapes=("x:.abc c:.AB1", "x:.abc c:1", "x:.abc c:b1"),
                attrs={"k": lambda rng, *ts: len(ts[0].shape) - 1},
                counterexample="x:abc c:c",
            )
        yield Rule(
            name=f"layer-norm-of-{combine}",
            law=f"layer_norm({combine}(x, c)) = layer_norm(x) where c doesn't vary along the normalised axes",
            lhs=op.layer_norm(h(x, c), gamma, beta, attrs=a),
            rhs=op.layer_norm(x, gamma, beta, attrs=a),
            when=lambda x, c, a: constant_along(c, a.axes, x.rank),
            reassociates=True,
            simplifies=True,
            shapes=("x:.abc c:.AB1 gamma!:c beta!:c", "x:.abc c:1 gamma!:bc beta!:bc"),
            counterexample="x:abc c:c gamma!:c beta!:c",
        )


def _unscaled(a: Any, c: Term) -> Any:
    return a._replace(epsilon=a.epsilon / float(c.fill) ** 2)


def _spread(c: Term, a: Any, rank: int) -> Term:
    """A norm's parameter, laid along the normalised axes."""
    dims = iter(c.shape)
    return op.reshape(c, shape=[next(dims) if i in a.axes else 1 for i in range(rank)])


def _one_norm(x: Term, gamma: tuple[Term, ...], beta: tuple[Term, ...], a: Any) -> list[Term]:
    shape = gamma[0].shape
    plain = op.layer_norm(x, np.ones(shape, x.dtype), np.zeros(shape, x.dtype), attrs=a[0])
    return [
        op.add(op.multiply(plain, _spread(g, a[0], x.rank)), _spread(h, a[0], x.rank))
        for g, h in zip(gamma, beta, strict=True)
    ]


NORM = RuleSet(
    [
        Rule(
            name="batch-norm-affine",
            law="batch_norm(x) = x * (γ / sqrt(v + ε)) + (β - m * γ / sqrt(v + ε))",
            lhs=op.batch_norm(x, gamma, beta, mean, variance, attrs=a),
            rhs=_affine,
            pays=lambda gamma, beta, mean, variance: gamma.const and beta.const and mean.const and variance.const,
            reassociates=True,
            source="batch-norm folding",
            shapes=("x:.ac gamma!:c beta!:c mean!:c variance+!:c", "x:nchw gamma!:c beta!:c mean!:c variance+!:c"),
        ),
        *_shift_invariant(),
        Rule(
            name="softmax-of-parts",
            law="exp(x) / sum(exp(x)) = softmax(x)",
            lhs=op.divide(op.exp(x), op.sum(op.exp(x), axes=r, keepdims=True)),
            rhs=lambda x, r: op.softmax(x, axis=r[0]),
            when=lambda r: len(r) == 1,
            reassociates=True,
            shapes=("x:.ab",),
            attrs={"r": lambda rng, *ts: (int(rng.integers(len(ts[0].shape))),)},
            counterexample="x:abc",
        ),
        Rule(
            name="layer-norm-of-scaled",
            law="layer_norm(x * c; ε) = layer_norm(x; ε / c²) for a known number c > 0",
            lhs=op.layer_norm(op.multiply(x, c), gamma, beta, attrs=a),
            rhs=lambda x, c, gamma, beta, a: op.layer_norm(x, gamma, beta, attrs=_unscaled(a, c)),
            when=lambda c: c.fill is not None and c.fill > 0 and is_scalar(c),
            reassociates=True,
            shapes=("x:.abc c=3: gamma!:c beta!:c", "x:abc c=0.5:1 gamma!:bc beta!:bc"),
            counterexample="x:abc c=-2: gamma!:c beta!:c",
        ),
        Rule(
            name="rms-norm-of-scaled",
            law="rms_norm(x * c; ε) = rms_norm(x; ε / c²) for a known number c > 0",
            lhs=op.rms_norm(op.multiply(x, c), gamma, attrs=a),
            rhs=lambda x, c, gamma, a: op.rms_norm(x, gamma, attrs=_unscaled(a, c)),
            when=lambda c: c.fill is not None and c.fill > 0 and is_scalar(c),
            reassociates=True,
            shapes=("x:.abc c=3: gamma!:c", "x:abc c=0.5:1 gamma!:bc"),
            counterexample="x:abc c=-2: gamma!:c",
        ),
        Rule(
            name="layer-norm-share-input",
            law="layer_norm(x; γ_1, β_1), layer_norm(x; γ_2, β_2), … = γ_i * layer_norm(x; 1, 0) + β_i",
            lhs=op.layer_norm(x, gamma, beta, attrs=a),
            shared=(x,),
            key=lambda gamma, beta, a: None if gamma.fill == 1 and beta.fill == 0 else a,
            rhs=_one_norm,
            pays=lambda gamma, beta: gamma.const and beta.const,
            reassociates=True,
            source="parallel blocks with a norm each (GPT-NeoX)",
            shapes=("x=:.ab gamma!:b beta!:b", "x=:abc gamma!:bc beta!:bc"),
        ),
        Rule(
            name="rms-norm-share-input",
            law="rms_norm(x; γ_1), rms_norm(x; γ_2), … = γ_i * rms_norm(x; 1)",
            lhs=op.rms_norm(x, gamma, attrs=a),
            shared=(x,),
            key=lambda gamma, a: None if gamma.fill == 1 else a,
            rhs=lambda x, gamma, a: [
                op.multiply(op.rms_norm(x, np.ones(t.shape, x.dtype), attrs=a[0]), _spread(t, a[0], x.rank))
                for t in gamma
            ],
            pays=lambda gamma: gamma.const,
            reassociates=True,
            source="parallel blocks with a norm each",
            shapes=("x=:.ab gamma!:b", "x=:abc gamma!:bc"),
        ),
    ]
)
