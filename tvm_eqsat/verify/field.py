"""Programs evaluated exactly: in the field of integers modulo a prime.

Two multilinear programs that differ agree on random field elements with a probability of at most (number of inputs)/p
(Schwartz–Zippel; PET, OSDI'21, theorem 2), so one evaluation settles what floating point can only make likely.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from hashlib import blake2b
from math import isfinite
from typing import Any

import numpy as np

from ..errors import IllTyped
from ..graph.operator import OPERATORS, Fusion, Operator
from ..graph.tensor_graph import TensorGraph
from ..graph.types import TensorType, is_float

#: A Mersenne prime: the field that PET uses.
PRIME = 2**31 - 1

Array = np.ndarray[Any, Any]


def random_leaves(graph: TensorGraph, seed: int = 0, *, field: bool = True) -> dict[int, Array]:
    """Random values for the inputs of a graph; equal seeds give equal values to equal inputs of any graph.

    Parameters
    ----------
    graph : TensorGraph
        Its live inputs have static shapes.
    seed : int
        Seed.
    field : bool
        Field elements for floating-point inputs, rather than standard normal numbers.

    Returns
    -------
    dict of int to numpy.ndarray
        For each ``index`` of an input, its value. Booleans are random, other integers (often indices) 0 or 1.
    """
    values: dict[int, Array] = {}
    for i in graph.live():
        node = graph.nodes[i]
        if node.op != "input" or not isinstance(node.type, TensorType):
            continue
        index = node.attrs[OPERATORS["input"].field_index("index")]
        rng = np.random.default_rng([seed, index])
        shape = tuple(int(d) for d in node.type.shape)
        if not is_float(node.type.dtype):
            values[index] = rng.integers(0, 2, shape).astype(node.type.dtype)
        elif field:
            values[index] = rng.integers(0, PRIME, shape)
        else:
            values[index] = rng.standard_normal(shape).astype(node.type.dtype)
    return values


def evaluate(graph: TensorGraph, leaves: Mapping[int, Array], *, field: bool = False) -> list[Array]:
    """The outputs of a graph, through the reference meaning of its operators.

    Parameters
    ----------
    graph : TensorGraph
        A program without opaque operators.
    leaves : mapping of int to numpy.ndarray
        The value of each input, by its ``index``.
    field : bool
        Compute exactly modulo :data:`PRIME`. Operators that aren't linear but elementwise then become *unknown
        functions*, each a fixed random function of its operands' elements: what holds for them holds for any
        function in their place.

    Returns
    -------
    list of numpy.ndarray
        In the order of ``graph.outputs``; object arrays of integers where they were computed in the field.

    Raises
    ------
    IllTyped
        An operator is opaque, an input has no value, or (in the field) an operator is neither linear nor
        elementwise, or a constant isn't finite.
    """
    values: dict[int, Array] = {}
    for i in graph.live():
        node = graph.nodes[i]
        record = OPERATORS[node.op]
        if node.op == "input":
            index = node.attrs[record.field_index("index")]
            if index not in leaves:
                raise IllTyped(f"input {index} has no value: give one in leaves")
            values[i] = np.asarray(leaves[index])
            continue
        if node.op == "opaque":
            raise IllTyped("an opaque operator has no meaning of its own: evaluate the graph without it")
        operands = [values[c] for c in node.inputs]
        values[i] = _apply(record, operands, node.attrs) if field else record.numpy(operands, node.attrs)
    return [values[i] for i in graph.outputs]


def _apply(record: Operator, operands: list[Array], attrs: Any) -> Array:
    """One operator in the field."""
    if record.linear_in and record.linear_if(attrs):
        exact = range(len(operands)) if record.arity is None else record.linear_in
        mixed = [_elements(x) if i in exact else x for i, x in enumerate(operands)]
        return _elements(record.numpy(mixed, attrs))
    if not operands:
        return np.asarray(record.numpy((), attrs))
    if record.fusion <= Fusion.BROADCAST:
        return _unknown_function(repr((record.name, tuple(attrs))), operands)
    raise IllTyped(f"{record.name} is neither linear nor elementwise: it can't be evaluated in a finite field")


class Element(int):
    """An element of the field: an integer below :data:`PRIME` whose arithmetic stays there."""

    def __new__(cls, value: Any = 0) -> Element:
        """``value`` modulo the prime."""
        return int.__new__(cls, int(value) % PRIME)

    def __add__(self, other: Any) -> Element:
        return Element(int.__add__(self, int(other)))

    def __sub__(self, other: Any) -> Element:
        return Element(int.__sub__(self, int(other)))

    def __rsub__(self, other: Any) -> Element:
        return Element(int(other) - int(self))

    def __mul__(self, other: Any) -> Element:
        return Element(int.__mul__(self, int(other)))

    def __neg__(self) -> Element:
        return Element(int.__neg__(self))

    __radd__ = __add__
    __rmul__ = __mul__


def _element(value: Any) -> Element:
    """Any number as a field element: a float is a fraction, and so has a counterpart."""
    if isinstance(value, int | np.integer | np.bool_):
        return Element(value)
    if not isfinite(value):
        raise IllTyped(f"{value} has no counterpart in a finite field")
    fraction = Fraction(float(value))
    return Element(fraction.numerator * pow(fraction.denominator, -1, PRIME))


def _elements(values: Array) -> Array:
    return np.asarray(np.frompyfunc(_element, 1, 1)(values), dtype=object)


def _unknown_function(name: str, operands: list[Array]) -> Array:
    """A random function that depends on the name alone, of the operands' elements."""

    def value(*elements: Any) -> Element:
        digest = blake2b(repr((name, *map(int, elements))).encode(), digest_size=8)
        return Element(int.from_bytes(digest.digest(), "little"))

    return np.asarray(np.frompyfunc(value, len(operands), 1)(*map(_elements, operands)), dtype=object)
