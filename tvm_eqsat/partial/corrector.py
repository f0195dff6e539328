"""Where a mutant differs from its program: exactly which elements, decided at a few (PET, OSDI'21, section 5)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from math import ceil, log, prod
from typing import Any, NamedTuple

import numpy as np

from ..errors import IllTyped
from ..graph.operator import OPERATORS
from ..graph.tensor_graph import TensorGraph
from ..graph.types import TensorType
from ..verify.field import PRIME
from .boxes import Box, boxes
from .digits import Digit, Steps, refine
from .modular import Array
from .points import Points

#: Most elements that are compared: where digits don't help, boxes are single elements.
LIMIT = 1 << 22


@dataclass(frozen=True)
class Difference:
    """The elements of the output in which a mutant differs from its program.

    Attributes
    ----------
    edges : tuple of tuple of int
        Per dimension, the bounds of intervals, from 0 to the dimension's length.
    cells : numpy.ndarray of bool
        For each product of these intervals, whether its elements differ. Neighbouring intervals aren't alike.
    """

    edges: tuple[tuple[int, ...], ...]
    cells: Array

    @property
    def equal(self) -> bool:
        """Whether the mutant is equivalent."""
        return not self.cells.any()

    @property
    def fraction(self) -> float:
        """Share of the output's elements that differ."""
        weights = self.cells.astype(np.float64)
        for edges in reversed(self.edges):
            weights = weights @ (np.diff(edges) / edges[-1])
        return float(weights)

    @cached_property
    def wrong(self) -> list[Box]:
        """The elements that differ, as few disjoint boxes: each grown from its first cell, last dimension first."""
        left = self.cells.copy()
        found = []
        while left.any():
            begin = [int(i) for i in np.unravel_index(np.argmax(left), left.shape)]
            end = [i + 1 for i in begin]
            for axis in reversed(range(left.ndim)):
                while end[axis] < left.shape[axis]:
                    region: Any = tuple(slice(b, e) for b, e in zip(begin, end, strict=True))
                    next_one = (*region[:axis], slice(end[axis], end[axis] + 1), *region[axis + 1 :])
                    if not left[next_one].all():
                        break
                    end[axis] += 1
            cell: Any = tuple(slice(b, e) for b, e in zip(begin, end, strict=True))
            left[cell] = False
            found.append(tuple((at[b], at[e]) for at, b, e in zip(self.edges, begin, end, strict=True)))
        return found


def difference(
    program: TensorGraph, mutant: TensorGraph, *, error: float = 1e-9, seed: int = 0, most: float = 1.0
) -> Difference:
    """The elements in which a mutant differs from its program.

    Elements found to differ do. That an element is taken for equal though it isn't has a probability of at most
    ``error`` for the whole output: a nonzero multilinear polynomial of degree n is zero at a random point of the field
    with a probability of at most n/p (Schwartz–Zippel; PET, theorem 2), its coefficients being counts below p. A box is
    equal if its corner is (the lemma in :mod:`~tvm_eqsat.partial.boxes`). If it isn't, some of its elements may still
    be, but only along digits in which the two programs' inputs move differently: there every element is compared.

    Parameters
    ----------
    program, mutant : TensorGraph
        Multilinear programs with one output of the same type; inputs of equal index are the same. Static shapes.
    error : float
        Bound on the probability of overlooking a difference.
    seed : int
        Of the random tests.
    most : float
        If boxes with a difference have more than this share of the elements, all of their elements are reported.

    Raises
    ------
    IllTyped
        The programs can't be compared, aren't multilinear, have an operator whose boxes aren't known, or differ in a
        way that would need more than :data:`LIMIT` elements compared.
    """
    _check(program, mutant)
    left, right = boxes(program), boxes(mutant)
    common = [refine(x, y, (left.terms, right.terms)) for x, y in zip(left.dims, right.dims, strict=True)]
    grid = [[_Intervals.of(x, y) for x, y in dim] for dim in common]
    count = prod(len(digit.begins) for dim in grid for digit in dim)
    degree = max(1, len(left.leaves | right.leaves))
    tests = max(1, ceil(log(error / count) / log(degree / PRIME)))
    flat = _summed(program, left.sums & right.sums)
    pair, seeds = (Points(program, flat), Points(mutant, flat)), range(seed, seed + tests)
    cells = _unequal(pair, seeds, grid)
    found = _coarsest(cells, grid)
    if found.equal or found.fraction > most:
        return found
    finer = _opened(grid, cells)
    return found if finer == grid else _coarsest(_unequal(pair, seeds, finer), finer)


class _Intervals(NamedTuple):
    """The common boxes of two programs along one digit.

    Attributes
    ----------
    size : int
        Of the digit.
    begins : tuple of int
        Where boxes begin, with 0.
    steps : int
        In how many ways the inputs' indices move: so many values of each box are its corner.
    """

    size: int
    begins: tuple[int, ...]
    steps: int

    @classmethod
    def of(cls, x: Digit, y: Digit) -> _Intervals:
        return cls(x.size, tuple(sorted({0, *x.splits, *y.splits})), len({*x.steps, *y.steps}))

    def corners(self) -> list[Array]:
        """For each interval, the values that are compared."""
        ends = (*self.begins[1:], self.size)
        return [np.arange(b, min(b + self.steps, e)) for b, e in zip(self.begins, ends, strict=True)]

    def interval_of(self) -> Array:
        """For each value of the digit, the number of its interval."""
        return np.searchsorted(self.begins, np.arange(self.size), side="right") - 1


Grid = list[list[_Intervals]]  # for each dimension, its digits


def _unequal(pair: tuple[Points, Points], seeds: range, grid: Grid) -> Array:
    """Whether two programs differ in the corner of each box; one dimension per digit."""
    digits = [digit for dim in grid for digit in dim]
    corners = [digit.corners() for digit in digits]
    counts = [sum(map(len, corner)) for corner in corners]
    if prod(counts) > LIMIT:
        raise IllTyped(f"more than {LIMIT} elements would have to be compared: the boxes are too small")
    values = iter(corners)
    index = [_numbers([(digit.size, np.concatenate(next(values))) for digit in dim]) for dim in grid]
    unequal = np.zeros([at.size for at in index], bool)
    for seed in seeds:
        unequal |= pair[0].output(index, seed) != pair[1].output(index, seed)
    cells = unequal.reshape(counts)
    for axis, corner in enumerate(corners):
        cells = np.logical_or.reduceat(cells, np.cumsum([0, *map(len, corner[:-1])]), axis)
    return cells


def _opened(grid: Grid, cells: Array) -> Grid:
    """Boxes with a difference as single elements, along the digits where equality may change inside of a box."""
    finer, axis = list[list[_Intervals]](), 0
    for dim in grid:
        finer.append([])
        for digit in dim:
            others = tuple(i for i in range(cells.ndim) if i != axis)
            failing = np.asarray(cells.any(others))
            begins = set(digit.begins)
            if digit.steps > 1:
                ends = (*digit.begins[1:], digit.size)
                for begin, end, fails in zip(digit.begins, ends, failing, strict=True):
                    begins.update(range(begin, end) if fails else ())
            finer[-1].append(digit._replace(begins=tuple(sorted(begins))))
            axis += 1
    return finer


def _numbers(digits: list[tuple[int, Array]]) -> Array:
    """All numbers whose digits (given as base and values) have these values."""
    numbers = np.zeros(1, np.int64)
    for base, values in digits:
        numbers = (numbers[:, None] * base + values).reshape(-1)
    return numbers


def _coarsest(cells: Array, grid: Grid) -> Difference:
    """Products of intervals of digits as the fewest intervals of each dimension."""
    numbers = [_numbers([(len(digit.begins), digit.interval_of()) for digit in dim]) for dim in grid]
    cells = cells.reshape([prod(len(digit.begins) for digit in dim) for dim in grid])
    edges = []
    for axis, number in enumerate(numbers):
        rows = np.moveaxis(cells, axis, 0).reshape(cells.shape[axis], -1)
        kind = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)[number]
        begins = np.flatnonzero(np.diff(kind, prepend=-1))
        cells = np.take(cells, number[begins], axis)
        edges.append((*map(int, begins), len(number)))
    return Difference(tuple(edges), cells)


def _summed(program: TensorGraph, sums: Collection[tuple[int, Steps]]) -> set[tuple[int, int]]:
    """Inputs with a dimension, of which it suffices to keep one element: sums over all of it that both programs have.

    Each such sum, over a digit of n values that moves the indices by one step z, is a factor 1 + z + ... + z**(n-1) of
    the transforms in the lemma's proof. Both programs have it, and may lose it: as they do if the sum has one value.
    """
    shapes = {node.attrs[0]: node.attrs[1].shape for node in program.nodes if node.op == "input"}
    return {
        (leaf, axis) for size, steps in sums for leaf, axis, k in steps[:1] if k == 1 and shapes[leaf][axis] == size
    }


def _check(program: TensorGraph, mutant: TensorGraph) -> None:
    """Raise :class:`IllTyped` unless two programs read the same inputs and have outputs of one type."""
    if len(program.outputs) != 1 or len(mutant.outputs) != 1:
        raise IllTyped("programs with one output can be compared, not with several")
    mine, theirs = (g.nodes[g.outputs[0]].type for g in (program, mutant))
    if mine != theirs:
        raise IllTyped(f"the mutant's output is {theirs}, not {mine}")
    index, kind = (OPERATORS["input"].field_index(name) for name in ("index", "type"))
    known: dict[int, TensorType] = {}
    for graph in (program, mutant):
        for i in graph.live():
            node = graph.nodes[i]
            if node.op == "input" and known.setdefault(node.attrs[index], node.attrs[kind]) != node.attrs[kind]:
                raise IllTyped(f"input {node.attrs[index]} is {known[node.attrs[index]]} here and {node.type} there")
