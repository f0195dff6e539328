"""Programs of one operator or of parallel ones, and their values in exact arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np

from tvm_eqsat.graph.ops import OPERATORS
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.graph.types import TensorType
from tvm_eqsat.verify.field import evaluate

Shape = tuple[int, ...]


def leaf(graph: TensorGraph, index: int, shape: Shape, *, weight: bool = False) -> int:
    """Add an input."""
    attrs = OPERATORS["input"].make_attrs(index=index, type=TensorType(shape, "float32"), weight=weight)
    return graph.add("input", (), attrs)


def single(op: str, data: Shape, weight: Shape, **attrs: Any) -> TensorGraph:
    """One operator of data and a weight."""
    graph = TensorGraph()
    leaves = [leaf(graph, 0, data), leaf(graph, 1, weight, weight=True)]
    graph.outputs = [graph.add(op, leaves, OPERATORS[op].make_attrs(**attrs))]
    return graph


def conv(data: Shape, weight: Shape, **attrs: Any) -> TensorGraph:
    """One convolution."""
    return single("conv2d", data, weight, **attrs)


def branches(op: str, *operands: tuple[int, Shape, Shape], **attrs: Any) -> TensorGraph:
    """Parallel operators: of each the number of its data, the data's shape and the weight's."""
    graph = TensorGraph()
    data: dict[int, int] = {}
    for number, shape, _ in operands:
        data.setdefault(number, leaf(graph, number, shape))
    for k, (number, _, shape) in enumerate(operands):
        w = leaf(graph, len(data) + k, shape, weight=True)
        graph.outputs.append(graph.add(op, [data[number], w], OPERATORS[op].make_attrs(**attrs)))
    return graph


def values(graph: TensorGraph, seed: int = 0) -> list[np.ndarray[Any, Any]]:
    """The outputs for random whole numbers."""
    leaves = {}
    for i in graph.live():
        node = graph.nodes[i]
        if node.op == "input":
            rng = np.random.default_rng([seed, node.attrs[0]])
            leaves[node.attrs[0]] = rng.integers(-999, 1000, node.attrs[1].shape)
    return evaluate(graph, leaves)


def right(program: TensorGraph, mutant: TensorGraph) -> float:
    """The share of the result that is equal, element by element."""
    pairs = zip(values(program), values(mutant), strict=True)
    equal = [(x == y).ravel() for x, y in pairs]
    return float(np.mean(np.concatenate(equal)))
