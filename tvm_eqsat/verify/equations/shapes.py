"""Shapes for the variables of an equation at which both sides are legal.

An equation doesn't say how large its tensors are. They are inferred: ranks by unification, sizes as linear forms that
are equated. What stays free gets small values, different from each other as far as the equation allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product

import numpy as np

from ...errors import IllTyped
from .inference import Inference
from .syntax import Equation
from .terms import TypedEquation


def typed(equation: Equation, *, equal: bool = False, count: int = 2, seed: int = 0) -> list[TypedEquation]:
    """The equation at some legal shapes.

    Parameters
    ----------
    equation : Equation
        The equation.
    equal : bool
        Give all free sizes one value, as TASO's generator does, instead of different ones.
    count : int
        How many assignments of shapes to look for.
    seed : int
        Seed.

    Raises
    ------
    IllTyped
        There is none; the message says why.
    """
    rng = np.random.default_rng(seed)
    failure: IllTyped | None = None
    found: list[TypedEquation] = []
    narrow: list[TypedEquation] = []
    for grouping in islice(_groupings(equation), 40):
        try:
            inference = Inference(equation, grouping)
        except IllTyped as error:
            failure = failure or error
            continue
        into = narrow if inference.narrow else found
        for attempt in range(12):
            try:
                into.append(inference.instance(rng, (2, 4, 3)[attempt % 3] if equal else 0))
            except IllTyped as error:
                failure = failure or error
            if len(into) >= count:
                break
        if found:
            return found
    if narrow:
        return narrow
    raise failure or IllTyped("no shapes fit")


def _groupings(equation: Equation) -> Iterator[tuple[str, ...]]:
    """How each convolution divides its channels, likely ways first."""
    ways = []
    for term in (*equation.lhs.walk(), *equation.rhs.walk()):
        if term.name == "conv2d" and len(term.args) == 2:
            pools = any(t.name == "Cpool" for t in term.args[1].walk())
            ways.append(("depthwise", "plain", "two") if pools else ("plain", "two", "depthwise"))
    ranked = sorted(product(range(3), repeat=min(len(ways), 5)), key=lambda choice: (sum(choice), choice))
    for choice in ranked:
        padded = choice + (0,) * (len(ways) - len(choice))
        yield tuple(options[i] for options, i in zip(ways, padded, strict=True))
