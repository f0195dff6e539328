"""Small helpers that several rule groups share: axis arithmetic and lists of operators with a common law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import IllTyped
from .dsl import Term, op

#: Elementwise operators of one operand without attributes that real models use after other operators.
POINTWISE = (
    "relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "exp", "log", "sqrt", "rsqrt", "erf", "abs", "negative",
    "square", "sign",
)  # fmt: skip

#: The same, with attributes that don't depend on the shape.
POINTWISE_WITH_ATTRS = ("leaky_relu", "clip", "cast")

#: Elementwise operators of two operands that broadcast like NumPy.
BINARY = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "power")


#: Of these, those that the generated tests try at positive numbers.
_POSITIVE = {"log", "sqrt", "rsqrt", "divide", "power"}


def positive(name: str) -> str:
    """The flag in ``shapes`` of an operator's operands: none where negative numbers make a difference."""
    return "+" if name in _POSITIVE else ""


def inverse(perm: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes ``perm``."""
    found = [0] * len(perm)
    for i, p in enumerate(perm):
        found[p] = i
    return tuple(found)


def swap_last(rank: int) -> tuple[int, ...]:
    """The permutation that transposes the matrices in the last two axes."""
    if rank < 2:
        raise IllTyped("a transpose needs two axes")
    return (*range(rank - 2), rank - 1, rank - 2)


def to_rank(x: Term, rank: int) -> Term:
    """``x`` with unit axes put in front, as broadcasting does."""
    return x if x.rank == rank else op.reshape(x, shape=(1,) * (rank - x.rank) + tuple(x.shape))


def permuted(x: Term, perm: Sequence[int]) -> Term:
    """``permute(x, perm)``, where an operand of lower rank is broadcast first."""
    perm = tuple(perm)
    if x.rank == 0:
        return x
    x = to_rank(x, len(perm))
    return x if perm == tuple(range(len(perm))) else op.permute_dims(x, axes=perm)


def total(terms: Sequence[Term]) -> Term:
    """The sum of some terms, left to right."""
    found = terms[0]
    for term in terms[1:]:
        found = op.add(found, term)
    return found


def slices(x: Term, axis: int, sizes: Sequence[int]) -> list[Term]:
    """``x`` cut along ``axis`` into consecutive parts of the given sizes."""
    found, begin = [], 0
    for size in sizes:
        found.append(op.slice(x, axis=axis, begin=begin, end=begin + size))
        begin += size
    return found


def joined(xs: Sequence[Term], axis: int) -> Term:
    """``concat`` that leaves a single operand alone."""
    return xs[0] if len(xs) == 1 else op.concat(*xs, axis=axis)


def along(x: Term, axis: int, rank: int) -> Term:
    """A vector, laid along one axis of a tensor of the given rank."""
    return op.reshape(x, shape=[x.shape[0] if i == axis else 1 for i in range(rank)])


def only_varies_along(x: Term, axis: int, rank: int) -> bool:
    """Whether ``x``, broadcast to ``rank`` axes, is constant along all of them but ``axis``."""
    offset = rank - x.rank
    return offset >= 0 and all(d == 1 or i + offset == axis for i, d in enumerate(x.shape))


def is_scalar(x: Term) -> bool:
    """Whether ``x`` has one element."""
    return all(d == 1 for d in x.shape)


def is_float(x: Term) -> bool:
    """Whether ``x`` holds floating-point numbers."""
    return x.dtype.startswith(("float", "bfloat"))


def spatial(layout: str) -> tuple[int, ...]:
    """Axes of height, width, … in a data or kernel layout."""
    return tuple(i for i, c in enumerate(layout) if c in "DHW")


def channel(layout: str) -> int:
    """The channel axis of a data layout."""
    return layout.index("C")


def same(xs: Sequence[Any]) -> bool:
    """Whether all items are equal."""
    return all(x == xs[0] for x in xs)


def part(x: Term, s: Any, rank: int) -> Term:
    """The operand ``x`` of a broadcasting operator, cut as ``s`` (attributes of ``slice``) cuts its result."""
    axis = s.axis - rank + x.rank
    return x if axis < 0 or x.shape[axis] == 1 else op.slice(x, attrs=s._replace(axis=axis))


def blocks(a: Sequence[Any], b: Sequence[Any]) -> list[tuple[list[int], list[int]]]:
    """Smallest runs of axes of one shape and of a reshape of it that hold the same elements; axes of 1 are in none."""
    left = [i for i, d in enumerate(a) if d != 1]
    right = [i for i, d in enumerate(b) if d != 1]
    found = []
    while left:
        run = ([left.pop(0)], [right.pop(0)])
        p, q = a[run[0][0]], b[run[1][0]]
        while p != q:
            if p < q:
                run[0].append(left.pop(0))
                p *= a[run[0][-1]]
            else:
                run[1].append(right.pop(0))
                q *= b[run[1][-1]]
        found.append(run)
    return found


def constant_along(x: Term, axes: Sequence[int], rank: int) -> bool:
    """Whether ``x`` broadcasts to ``rank`` axes, and is then constant along ``axes``."""
    return x.rank <= rank and all(i < rank - x.rank or x.shape[i - rank + x.rank] == 1 for i in axes)
