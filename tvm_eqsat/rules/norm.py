"""Normalisations at inference: affine maps that fold into their neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dsl import Term, attributes, op, tensors
from .lib import along
from .rule import Rule, RuleSet

x, gamma, beta, mean, variance = tensors("x gamma beta mean variance")
a = attributes("a")


def _affine(x: Term, gamma: Term, beta: Term, mean: Term, variance: Term, a: Any) -> Term:
    scale = op.divide(np.ones((), x.dtype), op.sqrt(op.add(variance, np.asarray(a.epsilon, x.dtype))))
    if a.scale:
        scale = op.multiply(gamma, scale)
    shift = op.negative(op.multiply(mean, scale))
    if a.center:
        shift = op.add(beta, shift)
    return op.add(op.multiply(x, along(scale, a.axis, x.rank)), along(shift, a.axis, x.rank))


NORM = RuleSet(
    [
        Rule(
            name="batch-norm-affine",
            law="batch_norm(x) = x * (γ / sqrt(v + ε)) + (β - m * γ / sqrt(v + ε))",
            lhs=op.batch_norm(x, gamma, beta, mean, variance, attrs=a),
            rhs=_affine,
            when=lambda gamma, beta, mean, variance: gamma.const and beta.const and mean.const and variance.const,
            reassociates=True,
            source="batch-norm folding",
            shapes=("x:nchw gamma!:c beta!:c mean!:c variance+!:c",),
            attrs={"a": lambda rng, *_: op.batch_norm.record.make_attrs(axis=1, epsilon=1e-3)},
            counterexample="x:nchw gamma:c beta:c mean:c variance+:c",
        ),
    ]
)
