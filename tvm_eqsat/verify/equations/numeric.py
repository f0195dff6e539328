"""Is an equation true? Both sides evaluated exactly, at random points.

Values are integers modulo a prime, so that sums, products and averages are exact, and two different polynomials agree
at a random point only by a chance of one in millions. Functions that aren't polynomial are first taken for *unknown*
ones, whose values are random: what holds for them holds for any function in their place. An equation that needs to
know the function is then evaluated in fractions, where there is an order for ``relu`` and the maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from hashlib import blake2b
from typing import Any

import numpy as np

from ...errors import IllTyped
from ...graph.ops import OPERATORS
from ...graph.tensor_graph import Node, TensorGraph
from ..field import PRIME, random_leaves

Array = np.ndarray[Any, Any]
_BILINEAR = ("multiply", "matmul", "conv2d")
_LINEAR = ("add", "concat", "slice", "permute_dims", "pad")


def holds(graph: TensorGraph, seed: int = 0) -> bool:
    """Whether the two outputs of a graph are equal for random inputs.

    Raises
    ------
    IllTyped
        It has an operator that no equation has.
    """
    if len(set(graph.outputs)) == 1:
        return True
    leaves = random_leaves(graph, seed)
    if _agree(graph, _InField(leaves)):
        return True
    ordered = {"relu", "max_pool2d"} & {graph.nodes[i].op for i in graph.live()}
    if not ordered:
        return False
    return all(_agree(graph, _InFractions(draw)) for draw in _small_leaves(leaves, seed))


def _small_leaves(leaves: Mapping[int, Array], seed: int) -> Iterator[dict[int, Array]]:
    """Small integers: of either sign, negative, positive, then each input by chance. Some laws need a sign."""
    rng = np.random.default_rng(seed)
    ranges = ((-9, 9), (-9, -1), (1, 9))
    for draw in range(8):
        found = {}
        for index, values in sorted(leaves.items()):
            low, high = ranges[draw if draw < 3 else rng.integers(3)]
            found[index] = np.asarray(rng.integers(low, high + 1, values.shape))
        yield found


def _agree(graph: TensorGraph, arithmetic: _InField) -> bool:
    values: dict[int, Array] = {}
    for i in graph.live():
        node = graph.nodes[i]
        values[i] = arithmetic.value(node, [values[c] for c in node.inputs])
    lhs, rhs = (values[i] for i in graph.outputs)
    return bool(np.array_equal(lhs, rhs))


class _InField:
    """Arithmetic modulo :data:`PRIME`, in 64-bit integers."""

    def __init__(self, leaves: Mapping[int, Array]) -> None:
        self.leaves = leaves

    def value(self, node: Node, operands: list[Array]) -> Array:
        """The value of a node, from those of its operands."""
        op = node.op
        if op == "input":
            return self.leaves[node.attrs[0]]
        if op == "constant":
            return self.numbers(node.attrs[0].array)
        if op == "avg_pool2d":
            return self.average(operands[0], node.attrs)
        if op == "max_pool2d":
            return self.maximum(operands[0], node.attrs)
        evaluate: Callable[..., Array] = OPERATORS[op].numpy
        if op in _LINEAR:
            return self.reduce(evaluate(operands, node.attrs))
        if op in _BILINEAR:
            return self.product(lambda x, y: evaluate([x, y], node.attrs), *operands)
        if len(operands) != 1:
            raise IllTyped(f"{op} can't be evaluated exactly")
        return self.function(op, operands[0])

    def numbers(self, values: Array) -> Array:
        """A constant, taken for the simple fractions that its elements are nearest to."""
        fractions = [Fraction(float(v)).limit_denominator(10_000) for v in values.reshape(-1)]
        residues = [f.numerator * pow(f.denominator, -1, PRIME) % PRIME for f in fractions]
        return np.array(residues, np.int64).reshape(values.shape)

    def reduce(self, values: Array) -> Array:
        """Sums of a few elements, brought back into the field."""
        return values % PRIME

    def product(self, times: Callable[[Array, Array], Array], x: Array, y: Array) -> Array:
        """A bilinear operator: one operand is cut in two, so that sums of less than 2^16 products fit 64 bits."""
        high, low = times(x >> 16, y) % PRIME, times(x & 0xFFFF, y) % PRIME
        return (high * 65_536 + low) % PRIME

    def function(self, name: str, x: Array) -> Array:
        """A random function of single elements, the same for the same name."""
        found, where = np.unique(x, return_inverse=True)
        digests = (blake2b(f"{name} {v}".encode(), digest_size=8).digest() for v in found)
        table = np.array([int.from_bytes(d, "little") % PRIME for d in digests], np.int64)
        return table[where].reshape(x.shape)

    def average(self, x: Array, attrs: Any) -> Array:
        """An average that counts the padding is the convolution with a uniform kernel."""
        height, width = attrs.pool_size
        kernel = self.numbers(np.full((x.shape[1], 1, height, width), 1 / (height * width)))
        conv = OPERATORS["conv2d"]
        same = conv.make_attrs(strides=attrs.strides, padding=attrs.padding, groups=x.shape[1])
        return self.product(lambda u, v: conv.numpy([u, v], same), x, kernel)

    def maximum(self, x: Array, attrs: Any) -> Array:
        """The maximum in the order of the elements' representatives."""
        found, ranks = np.unique(x, return_inverse=True)
        return np.asarray(found[OPERATORS["max_pool2d"].numpy([ranks.reshape(x.shape)], attrs)])


class _InFractions(_InField):
    """Rational arithmetic: slow, but it has an order."""

    def value(self, node: Node, operands: list[Array]) -> Array:
        return super().value(node, operands).astype(object)

    def numbers(self, values: Array) -> Array:
        exact = np.frompyfunc(lambda v: Fraction(float(v)).limit_denominator(10_000), 1, 1)
        return np.asarray(exact(values), dtype=object)

    def reduce(self, values: Array) -> Array:
        return values

    def product(self, times: Callable[[Array, Array], Array], x: Array, y: Array) -> Array:
        return times(x, y)

    def function(self, name: str, x: Array) -> Array:
        return np.maximum(x, 0) if name == "relu" else super().function(name, x)
