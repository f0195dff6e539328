"""Index maps out of TVM's, which say where an element goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tvm import tirx
from tvm.error import InternalError

from ..errors import OptionError
from .digits import Digit, Group
from .index_map import IndexMap


def from_tvm(index_map: tirx.IndexMap, shape: Sequence[int], fill: float = 0.0) -> IndexMap | None:
    """The same layout as an :class:`IndexMap`.

    Parameters
    ----------
    index_map : tvm.tirx.IndexMap
        As ``relax.layout_transform`` has it.
    shape : sequence of int
        Shape of the operand.
    fill : float
        Value of elements that nothing is mapped to.

    Returns
    -------
    IndexMap or None
        None if TVM can't invert it, or the inverse isn't made of digits.
    """
    try:
        inverse, _ = index_map.non_surjective_inverse(list(shape))
        sizes = [int(d) for d in index_map.map_shape(list(shape))]
        offset = [0] * len(shape)
        digits: dict[Any, list[tuple[int, int | None, int, int]]] = {v: [] for v in inverse.initial_indices}
        for dim, place in enumerate(inverse.final_indices):
            for term in _terms(place):
                if term.var is None:
                    offset[dim] += term.factor
                else:
                    digits[term.var].append((term.below, term.extent, dim, term.factor))
        groups = [_group(size, digits[v]) for size, v in zip(sizes, inverse.initial_indices, strict=True)]
        return IndexMap(tuple(shape), tuple(groups), tuple(offset), fill)
    except (InternalError, TypeError, ValueError, _NotDigits, OptionError):
        return None


class _NotDigits(Exception):
    """An index isn't a sum of digits."""


class _Term(NamedTuple):
    """``var // below % extent * factor``; just the factor without a variable."""

    var: Any
    below: int
    extent: int | None
    factor: int


def _terms(expr: Any) -> list[_Term]:
    kind = type(expr).__name__
    if isinstance(expr, tirx.Var):
        return [_Term(expr, 1, None, 1)]
    if isinstance(expr, tirx.IntImm):
        return [_Term(None, 1, None, int(expr))] if int(expr) else []
    if kind in ("Add", "Sub"):
        sign = 1 if kind == "Add" else -1
        return _terms(expr.a) + [t._replace(factor=sign * t.factor) for t in _terms(expr.b)]
    if not isinstance(getattr(expr, "b", None), tirx.IntImm):
        raise _NotDigits
    terms, number = _terms(expr.a), int(expr.b)
    if kind == "Mul":
        return [t._replace(factor=t.factor * number) for t in terms]
    if len(terms) != 1 or terms[0].var is None or terms[0].factor != 1 or kind not in ("FloorDiv", "FloorMod"):
        raise _NotDigits
    (term,) = terms
    if term.extent is not None and term.extent % number:
        raise _NotDigits
    if kind == "FloorMod":
        return [term._replace(extent=number)]
    extent = None if term.extent is None else term.extent // number
    return [term._replace(below=term.below * number, extent=extent)]


def _group(size: int, digits: list[tuple[int, int | None, int, int]]) -> Group:
    below, found = 1, list[Digit]()
    for start, extent, dim, stride in sorted(digits):
        if start != below:
            raise _NotDigits
        extent = -(-size // start) if extent is None else extent
        found.append(Digit(extent, dim, stride))
        below *= extent
    return Group(size, tuple(reversed(found)))
