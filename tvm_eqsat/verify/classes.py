"""Is every e-class really a class? Evaluate all its members and compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..egraph.egraph import EGraph
from ..errors import VerificationError
from ..graph.operator import OPERATORS


@dataclass(frozen=True)
class ClassCheck:
    """How many e-nodes were compared, and the largest relative difference within a class."""

    compared: int
    largest_difference: float


def check_classes(
    egraph: EGraph, values: Mapping[int, np.ndarray], *, exact: bool = False, tolerance: float = 1e-9
) -> ClassCheck:
    """Evaluate every e-node from given inputs and compare the members of each e-class.

    Parameters
    ----------
    egraph : EGraph
        Congruence must hold.
    values : mapping of int to numpy.ndarray
        The value of each ``input``, by index. With float64 values rounding differences stay near 1e-15, so a wrong
        rule stands out by many orders of magnitude.
    exact : bool
        Compute in integers, and demand equality. Values and constants must be integral; only for operators that are
        polynomial (``Operator.linear_in``), others raise.
    tolerance : float
        Largest accepted difference relative to the class's largest magnitude.

    Raises
    ------
    VerificationError
        Two members of a class differ; the message names the operators and the rules that made them.
    """
    computed: dict[int, np.ndarray] = {}
    waiting: list[tuple[int, Any]] = [(c, n) for c in egraph.classes() for n in egraph.nodes(c)]
    compared, worst = 0, 0.0
    while waiting:
        left = []
        for cls, node in waiting:
            children = [egraph.find(c) for c in node[1:]]
            if not all(c in computed for c in children):
                left.append((cls, node))
                continue
            value = _evaluate(egraph, node, [computed[c] for c in children], values, exact)
            if cls not in computed:
                computed[cls] = value
                continue
            compared += 1
            difference = _difference(computed[cls], value, exact)
            worst = max(worst, difference)
            if difference > (0 if exact else tolerance):
                raise VerificationError(
                    f"an e-class of type {egraph.data(cls).type} holds different values: a member {egraph.ops[node[0]]}"
                    f" (made by {egraph.reason(node) or 'the original program'}) differs by {difference:.3g}"
                )
        if len(left) == len(waiting):
            break  # what remains depends on an opaque value
        waiting = left
    return ClassCheck(compared, worst)


def polynomial(egraph: EGraph) -> bool:
    """Whether every operator in the e-graph can be evaluated exactly in integers."""
    ops = {egraph.ops[n[0]] for c in egraph.classes() for n in egraph.nodes(c)}
    return all(op in ("input", "constant") or OPERATORS[op].linear_in for op in ops)


def _evaluate(
    egraph: EGraph, node: Any, children: list[np.ndarray], values: Mapping[int, np.ndarray], exact: bool
) -> np.ndarray:
    op, attrs = egraph.ops[node[0]], egraph.attrs[node[0]]
    if op == "input":
        value = values[attrs[0]]
    else:
        value = np.asarray(OPERATORS[op].numpy(children, attrs))
    return value.astype(np.int64) if exact else value


def _difference(a: np.ndarray, b: np.ndarray, exact: bool) -> float:
    if a.shape != b.shape:
        return float("inf")
    if (a == b).all():
        return 0.0
    if exact:
        return float(np.abs(a - b).max())
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    equal = (wide_a == wide_b) | (np.isnan(wide_a) & np.isnan(wide_b))
    if equal.all():
        return 0.0
    scale = max(float(np.nanmax(np.abs(np.where(np.isfinite(wide_a), wide_a, 0)))), 1e-300)
    return float(np.abs(np.where(equal, 0, wide_a - wide_b)).max() / scale)
