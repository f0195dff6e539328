"""A program being written, in canonical form: what changes nothing isn't added, and what adds up is one operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from math import prod
from typing import Any

from ..errors import IllTyped
from ..graph.operator import OPERATORS
from ..graph.tensor_graph import TensorGraph
from ..graph.types import TensorType


class Draft:
    """Writes a program over the leaves of another one. Tensors are named by their node.

    Parameters
    ----------
    program : TensorGraph
        Its live inputs become the leaves.

    Attributes
    ----------
    graph : TensorGraph
        What is written so far.
    leaves : list of int
        The inputs, in the order of their ``index``.
    """

    def __init__(self, program: TensorGraph) -> None:
        self.graph = TensorGraph()
        self.leaves = [self.graph.add("input", (), program.nodes[i].attrs) for i in inputs_of(program)]

    def __call__(self, op: str, *operands: int, **attrs: Any) -> int:
        """Add any operator.

        Raises
        ------
        IllTyped
            It doesn't apply.
        """
        return self.graph.add(op, operands, OPERATORS[op].make_attrs(**attrs))

    def apply(self, op: str, attrs: tuple[Any, ...], *operands: int) -> int:
        """Add any operator, with canonical attributes."""
        return self.graph.add(op, operands, attrs)

    def shape(self, x: int) -> tuple[int, ...]:
        """The shape of a tensor."""
        return static_shape(self.graph, x)

    def reshape(self, x: int, shape: Sequence[int]) -> int:
        """``x`` in another shape; a reshape of a reshape is one."""
        node = self.graph.nodes[x]
        if node.op == "reshape":
            x = node.inputs[0]
        return x if self.shape(x) == tuple(shape) else self("reshape", x, shape=tuple(shape))

    def permute(self, x: int, axes: Sequence[int]) -> int:
        """``x`` with its axes in another order; a permutation of a permutation is one."""
        node = self.graph.nodes[x]
        if node.op == "permute_dims":
            x, axes = node.inputs[0], [node.attrs[0][i] for i in axes]
        if list(axes) == sorted(axes):
            return x
        moved = [i for i in axes if self.shape(x)[i] != 1]
        if moved == sorted(moved):  # it only moves axes of one element
            return self.reshape(x, [self.shape(x)[i] for i in axes])
        return self("permute_dims", x, axes=tuple(axes))

    def pad(self, x: int, axis: int, before: int, after: int) -> int:
        """``x`` with zeros around one axis; negative counts cut off."""
        shape = self.shape(x)
        x = self.slice(x, axis, max(0, -before), shape[axis] - max(0, -after))
        before, after = max(0, before), max(0, after)
        if not before and not after:
            return x
        width = [0] * (2 * len(shape))
        node = self.graph.nodes[x]
        if node.op == "pad":
            x, width = node.inputs[0], list(node.attrs[0])
        width[2 * axis] += before
        width[2 * axis + 1] += after
        return self("pad", x, pad_width=tuple(width))

    def slice(self, x: int, axis: int, begin: int, end: int, stride: int = 1) -> int:
        """``x[begin:end:stride]`` along one axis."""
        end = end - (end - begin - 1) % stride if end > begin else end
        if (begin, end, stride) == (0, self.shape(x)[axis], 1):
            return x
        return self("slice", x, axis=axis, begin=begin, end=end, stride=stride)

    def split(self, x: int, axis: int, sizes: Sequence[int]) -> list[int]:
        """``x`` cut along one axis into parts of these sizes."""
        return [self.slice(x, axis, end - size, end) for size, end in zip(sizes, accumulate(sizes), strict=True)]

    def concat(self, xs: Sequence[int], axis: int) -> int:
        """``xs`` one after the other along an axis."""
        return xs[0] if len(xs) == 1 else self("concat", *xs, axis=axis)

    def total(self, xs: Sequence[int]) -> int:
        """The sum, left to right."""
        found = xs[0]
        for x in xs[1:]:
            found = self("add", found, x)
        return found

    def flat(self, x: int, axis: int, count: int) -> int:
        """``x`` with ``count`` axes from ``axis`` on merged into one."""
        shape = self.shape(x)
        return self.reshape(x, (*shape[:axis], prod(shape[axis : axis + count]), *shape[axis + count :]))

    def done(self, *outputs: int) -> TensorGraph:
        """The finished program."""
        self.graph.outputs = list(outputs)
        return self.graph


def inputs_of(program: TensorGraph) -> list[int]:
    """The live inputs of a program, in the order of their ``index``."""
    live = [i for i in program.live() if program.nodes[i].op == "input"]
    return sorted(live, key=lambda i: int(program.nodes[i].attrs[0]))


def is_weight(graph: TensorGraph, i: int) -> bool:
    """Whether a node depends on weights and constants alone."""
    node = graph.nodes[i]
    if node.op == "input":
        return bool(node.attrs[OPERATORS["input"].field_index("weight")])
    return all(is_weight(graph, c) for c in node.inputs)


def static_shape(graph: TensorGraph, x: int) -> tuple[int, ...]:
    """The shape of a tensor.

    Raises
    ------
    IllTyped
        It isn't a tensor, or has a symbolic dimension.
    """
    type_ = graph.nodes[x].type
    if not isinstance(type_, TensorType) or not type_.static:
        raise IllTyped(f"mutants need static shapes, not {type_}")
    return tuple(int(d) for d in type_.shape)


def part_of(graph: TensorGraph, nodes: Sequence[int], weight: Callable[[int], bool]) -> TensorGraph:
    """Some nodes of a program as a program of its own, the last one its output.

    Parameters
    ----------
    graph : TensorGraph
        The program.
    nodes : sequence of int
        The nodes, operands first.
    weight : callable
        Whether an operand that isn't among them is known before the first run.

    Raises
    ------
    IllTyped
        The shape of an operand is symbolic.
    """
    part, place = TensorGraph(), dict[int, int]()
    make = OPERATORS["input"].make_attrs
    for i in nodes:
        for c in graph.nodes[i].inputs:
            if c not in place and c not in nodes:
                static_shape(graph, c)
                attrs = make(index=len(part.nodes), type=graph.nodes[c].type, weight=weight(c))
                place[c] = part.add("input", (), attrs)
    for i in nodes:
        place[i] = part.add(graph.nodes[i].op, [place[c] for c in graph.nodes[i].inputs], graph.nodes[i].attrs)
    part.outputs = [place[nodes[-1]]]
    return part
