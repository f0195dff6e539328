"""Dimensions as numbers with several digits, and how the elements along them are split into boxes.

A reshape that interleaves, such as space-to-batch, maps an index to a quotient and a remainder: the map is affine in
the *digits* of the index (most significant first, like hours and minutes), not in the index. Boxes are therefore
products of intervals of digits; an operator that needs a dimension as one line (a convolution) merges its digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from math import prod
from typing import NamedTuple

#: How the indices of the inputs move when a digit grows by one: (input, its dimension, step), sorted, steps not zero.
#: Programs are multilinear, so an input occurs at most once in a product of inputs, and this names the step fully.
Steps = tuple[tuple[int, int, int], ...]


class Digit(NamedTuple):
    """One digit of a dimension, of any base.

    Attributes
    ----------
    size : int
        The base: values are 0 to size - 1. Never 1: a dimension of one element has no digits.
    splits : tuple of int
        The values at which a box begins, without 0; ascending.
    steps : tuple of Steps
        For each term of the tensor (see :mod:`~tvm_eqsat.partial.boxes`), how its inputs' indices move.
    """

    size: int
    splits: tuple[int, ...]
    steps: tuple[Steps, ...]


Digits = tuple[Digit, ...]


def scaled(steps: Sequence[Steps], factor: int) -> tuple[Steps, ...]:
    """Steps for moving by ``factor``."""
    return tuple(tuple((leaf, axis, k * factor) for leaf, axis, k in step) for step in steps)


def interior(splits: set[int], size: int) -> tuple[int, ...]:
    """Those of ``splits`` that lie inside a line of this size, ascending."""
    return tuple(sorted(t for t in splits if 0 < t < size))


def length(digits: Sequence[Digit]) -> int:
    """Number of values of a number with these digits."""
    return prod(d.size for d in digits)


def split(digit: Digit, base: int) -> Digits:
    """One digit as two, the second of this base, which divides its own.

    A box that begins at ``q * base + r`` begins in the middle of the row ``q``: this row gets boxes of its own.
    """
    if base in (1, digit.size):
        return (digit,)
    outer, inner = set[int](), set[int]()
    for t in digit.splits:
        q, r = divmod(t, base)
        outer.add(q)
        if r:
            outer.add(q + 1)
            inner.add(r)
    rows = digit.size // base
    row = Digit(rows, interior(outer, rows), scaled(digit.steps, base))
    return row, Digit(base, interior(inner, base), digit.steps)


def merge(digits: Sequence[Digit], terms: int) -> Digit:
    """Digits as one line (of size 1 if there are none).

    Where the second digit wraps around, the line goes on seamlessly if one step of the first digit is as long as the
    whole second digit, in every term; otherwise a box begins there.
    """
    if not digits:
        return Digit(1, (), ((),) * terms)
    line = digits[-1]
    for outer in reversed(digits[:-1]):
        base, size = line.size, line.size * outer.size
        splits = {t * base for t in outer.splits}
        if line.splits or scaled(line.steps, base) != outer.steps:
            splits.update(range(base, size, base))
        splits.update(row + t for row in range(0, size, base) for t in line.splits)
        line = Digit(size, interior(splits, size), line.steps)
    return line


def regroup(digits: Sequence[Digit], sizes: Sequence[int], terms: int) -> list[Digits]:
    """Digits divided among dimensions of these sizes, whose product is theirs."""
    rest, groups = list(digits), list[Digits]()
    for size in reversed(sizes[1:]):
        group, left = list[Digit](), size
        while left > 1:
            digit = rest.pop()
            if left % digit.size == 0:
                group.insert(0, digit)
                left //= digit.size
            elif digit.size % left == 0:
                outer, inner = split(digit, left)
                rest.append(outer)
                group.insert(0, inner)
                left = 1
            else:  # the dimensions have no common digits: one line has them all
                rest, group, left = [merge([*rest, digit, *group], terms)], [], size
        groups.insert(0, tuple(group))
    return [tuple(rest), *groups] if sizes else []


def refine(x: Sequence[Digit], y: Sequence[Digit], terms: tuple[int, int]) -> list[tuple[Digit, Digit]]:
    """The same number written with common digits, for two tensors of ``terms`` terms each."""
    xs, ys, pairs = list(x), list(y), list[tuple[Digit, Digit]]()
    while xs:
        a, b = xs.pop(), ys.pop()
        if a.size == b.size:
            pairs.insert(0, (a, b))
        elif a.size % b.size == 0:
            xs += split(a, b.size)
            ys.append(b)
        elif b.size % a.size == 0:
            xs.append(a)
            ys += split(b, a.size)
        else:
            x_line = merge([*xs, a, *(p for p, _ in pairs)], terms[0])
            return [(x_line, merge([*ys, b, *(q for _, q in pairs)], terms[1]))]
    return pairs


def sums_over(digits: Sequence[Digit]) -> frozenset[tuple[int, Steps]]:
    """What :attr:`Boxes.sums` gains where a dimension with these digits is summed over."""
    return frozenset((d.size, d.steps[0]) for d in digits if not d.splits and len(set(d.steps)) == 1)


@lru_cache(4096)
def dimension_groups(x: tuple[int, ...], y: tuple[int, ...]) -> tuple[tuple[range, range], ...]:
    """The smallest runs of dimensions with equal products that a reshape from ``x`` to ``y`` consists of.

    Dimensions of one element go with what is before them.
    """
    groups = list[tuple[range, range]]()
    i = j = 0
    while i < len(x) or j < len(y):
        a, b = i, j
        left, right = prod(x[i : i + 1]), prod(y[j : j + 1])
        i, j = min(i + 1, len(x)), min(j + 1, len(y))
        while left != right:
            if left < right:
                left *= x[i]
                i += 1
            else:
                right *= y[j]
                j += 1
        while i < len(x) and x[i] == 1 and not (j < len(y) and y[j] == 1):
            i += 1
        while j < len(y) and y[j] == 1 and not (i < len(x) and x[i] == 1):
            j += 1
        groups.append((range(a, i), range(b, j)))
    return tuple(groups)


def runs(values: Sequence[object]) -> list[int]:
    """Where runs of equal values end: ascending, the last is ``len(values)``."""
    ends, end = list[int](), 0
    for _, group in groupby(values):
        end += sum(1 for _ in group)
        ends.append(end)
    return ends


class Boxes(NamedTuple):
    """How the elements of a tensor are divided into boxes.

    Attributes
    ----------
    dims : tuple of Digits
        The digits of each dimension; boxes are the products of their intervals.
    terms : int
        Number of linear parts.
    leaves : frozenset of int
        The inputs that the tensor depends on.
    sums : frozenset of (int, Steps)
        Digits, as their size and steps, that every term has been summed over, wholly and in the same way.
    """

    dims: tuple[Digits, ...]
    terms: int
    leaves: frozenset[int]
    sums: frozenset[tuple[int, Steps]] = frozenset()

    def lines(self) -> list[Digit]:
        """Each dimension as one line."""
        return [merge(digits, self.terms) for digits in self.dims]

    def normal(self) -> Boxes:
        """Equal terms joined; no steps where every box has a single element."""
        digits = [d for dim in self.dims for d in dim]
        nowhere = ((),) * self.terms
        columns = [nowhere if len(d.splits) == d.size - 1 else d.steps for d in digits]
        terms = list(dict.fromkeys(zip(*columns, strict=True))) if digits else [()]
        joined = iter([d._replace(steps=tuple(term[i] for term in terms)) for i, d in enumerate(digits)])
        return self._replace(dims=tuple(tuple(next(joined) for _ in dim) for dim in self.dims), terms=len(terms))
