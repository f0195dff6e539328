"""Which parts of a program mutants are looked for: costly multilinear operators, and what few of them are together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..graph.tensor_graph import TensorGraph
from ..rules.analysis import Info
from .chains import MULTILINEAR

#: Operators of a subprogram, at most.
OPERATORS_AT_MOST = 4
_BETWEEN = ("add", "subtract", "concat", "slice", "pad", "reshape", "permute_dims")


def operators(graph: TensorGraph, facts: Mapping[int, Info]) -> Iterator[tuple[int, ...]]:
    """Single operators that mutants are known for, each with two operands that differ."""
    for i in facts:
        node = graph.nodes[i]
        if node.op in MULTILINEAR and not facts[i].const:
            x, w = node.inputs
            if x != w and not facts[x].const:
                yield (i,)


def chains(graph: TensorGraph, facts: Mapping[int, Info]) -> Iterator[tuple[int, ...]]:
    """Several of these with linear operators between, whose results nothing else uses; the last is the output."""
    alone = {i for (i,) in operators(graph, facts)}
    users = graph.users(list(facts))
    for root in facts:
        if graph.nodes[root].op not in (*MULTILINEAR, *_BETWEEN) or facts[root].const:
            continue
        found = [root]
        for i in found:  # grows
            for c in graph.nodes[i].inputs:
                linear = c in alone or (graph.nodes[c].op in _BETWEEN and not facts[c].const)
                inside = c not in found and all(user in found for user in users[c]) and c not in graph.outputs
                if linear and inside and len(found) < OPERATORS_AT_MOST:
                    found.append(c)
        if len(alone.intersection(found)) > 1:
            yield tuple(sorted(found))


def sparse(program: TensorGraph) -> bool:
    """Whether a convolution skips elements: a dilated one of its data, a transposed one by its strides."""
    nodes: list[tuple[str, Any]] = [(program.nodes[i].op, program.nodes[i].attrs) for i in program.live()]
    return any(
        (op == "conv2d" and max(attrs.dilation) > 1) or (op == "conv2d_transpose" and max(attrs.strides) > 1)
        for op, attrs in nodes
    )
