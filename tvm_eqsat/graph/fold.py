"""Constant folding: what constants alone decide is computed once, with the operators' NumPy meaning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .operator import OPERATORS
from .tensor_graph import Constant, Node, TensorGraph

_UNKNOWN = frozenset({"input", "opaque"})


def fold_constants(graph: TensorGraph, limit: int) -> dict[int, Constant]:
    """Values of the nodes that depend on constants only.

    Parameters
    ----------
    graph : TensorGraph
        Any graph; only nodes that its outputs depend on are looked at.
    limit : int
        The most bytes that a folded value may have. A larger one stays an operator, and so do its users.

    Returns
    -------
    dict of int to Constant
        Only the values that are needed once everything foldable is folded: those of outputs, and of operands of
        what can't be folded.
    """
    live = graph.live()
    waiting = [len(users) for users in graph.users(live)]
    for output in graph.outputs:
        waiting[output] += 1
    values: dict[int, np.ndarray] = {}
    folded: set[int] = set()
    for i in live:
        node = graph.nodes[i]
        if node.op == "constant":
            values[i] = node.attrs.value.array  # type: ignore[attr-defined]
            continue
        if node.op in _UNKNOWN or any(child not in values for child in node.inputs):
            continue
        value = _evaluate(node, [values[child] for child in node.inputs], limit)
        if value is None:
            continue
        values[i] = value
        folded.add(i)
        for child in node.inputs:
            waiting[child] -= 1
            if not waiting[child]:
                folded.discard(child)
                del values[child]
    return {i: Constant(values[i], graph.nodes[i].type.dtype) for i in sorted(folded)}  # type: ignore[union-attr]


def _evaluate(node: Node, operands: Sequence[np.ndarray], limit: int) -> np.ndarray | None:
    """The node's value; None if it has none in NumPy, or too large a one."""
    if not node.type.static or node.type.bytes() > limit:  # type: ignore[union-attr]
        return None
    try:
        with np.errstate(all="ignore"):
            value = np.asarray(OPERATORS[node.op].numpy(operands, node.attrs))
    except (TypeError, ValueError, ArithmeticError, IndexError):  # no meaning (IllTyped), or not for these operands
        return None
    agrees = value.shape == node.type.shape and str(value.dtype) == node.type.dtype  # type: ignore[union-attr]
    return value if agrees else None
