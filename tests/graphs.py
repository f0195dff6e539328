"""Writing small ``TensorGraph`` programs, for tests."""

from __future__ import annotations

from typing import Any

from tvm_eqsat.graph.ops import OPERATORS
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.graph.types import TensorType


def apply(graph: TensorGraph, op: str, *inputs: int, **attrs: Any) -> int:
    """Add an operator, its attributes by name."""
    return graph.add(op, inputs, OPERATORS[op].make_attrs(**attrs))


def tensor(graph: TensorGraph, *shape: Any) -> int:
    """Add an input, the next one."""
    index = sum(node.op == "input" for node in graph.nodes)
    return apply(graph, "input", index=index, type=TensorType(shape, "float64"))
