"""Index maps as rules need them: remembered results, and maps with some axes changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import Any

from ...layout.digits import Group
from ...layout.index_map import IndexMap
from ..dsl import Term, op

SOURCE = "ALT: layouts as equivalences"


def stored(x: Term, m: IndexMap | None) -> Term | None:
    """``x`` converted by a map, if there is one; without a conversion where that does nothing."""
    if m is None:
        return None
    return x if m.is_identity else op.layout_transform(x, map=m)


@lru_cache(maxsize=8192)
def then(first: IndexMap, second: IndexMap) -> IndexMap | None:
    """One map for two, or None."""
    return first.then(second)


@lru_cache(maxsize=8192)
def inverse(m: IndexMap, fill: float | None = None) -> IndexMap | None:
    """The map back, or None."""
    return m.inverse(fill)


def reshaped(old: tuple[int, ...], new: tuple[int, ...]) -> IndexMap | None:
    """A reshape as a map, if it only splits and joins digits."""
    if not old or not new:
        return None
    return then(IndexMap.fuse(old, 0, len(old)), IndexMap.split((prod(old),), 0, *new[1:]))


def padded(shape: tuple[int, ...], a: Any) -> IndexMap | None:
    """Padding as a map, if it is with one value."""
    if a.mode != "constant":
        return None
    return IndexMap.pad(shape, list(zip(a.pad_width[::2], a.pad_width[1::2], strict=True)), a.value)


def plain(m: IndexMap, axis: int) -> int | None:
    """The source axis that an axis of the result is, whole and alone; None if it is made otherwise."""
    group = m.groups[axis]
    if len(group.digits) != 1:
        return None
    (digit,) = group.digits
    others = [d.dim for g in m.groups for d in g.digits].count(digit.dim) - 1
    whole = digit.stride == 1 and m.offset[digit.dim] == 0 and digit.extent == m.source[digit.dim]
    return digit.dim if whole and not others else None


def resized(m: IndexMap, sizes: dict[int, int]) -> IndexMap:
    """The map with other lengths of some axes that are whole axes of the source."""
    source, groups = list(m.source), list(m.groups)
    for axis, size in sizes.items():
        (digit,) = groups[axis].digits
        source[digit.dim] = size
        groups[axis] = Group(size, (digit._replace(extent=size),))
    return replace(m, source=tuple(source), groups=tuple(groups))


def without(m: IndexMap, axes: Sequence[int]) -> IndexMap:
    """The map without some axes that are whole axes of the source, and without those."""
    gone = {m.groups[axis].digits[0].dim for axis in axes}
    kept = [k for k in range(len(m.source)) if k not in gone]
    groups = [
        Group(g.size, tuple([d._replace(dim=kept.index(d.dim)) for d in g.digits]))
        for axis, g in enumerate(m.groups)
        if axis not in axes
    ]
    return IndexMap(tuple([m.source[k] for k in kept]), tuple(groups), tuple([m.offset[k] for k in kept]), m.fill)


def operand(x: Term, m: IndexMap) -> Term | None:
    """What broadcasts to the result of ``m``, stored so that it broadcasts to the source of ``m``."""
    back = inverse(m, 0.0)
    if back is None or x.rank > len(m.shape):
        return None
    shape = (1,) * (len(m.shape) - x.rank) + tuple(x.shape)
    groups = []
    for group in back.groups:
        stretched = {shape[d.dim] == 1 for d in group.digits}
        if len(stretched) > 1:
            return None
        groups.append(Group(1, ()) if stretched == {True} else group)
    offset = tuple([0 if shape[k] == 1 else n for k, n in enumerate(back.offset)])
    x = x if x.rank == len(shape) else op.reshape(x, shape=shape)
    return stored(x, IndexMap(shape, tuple(groups), offset, back.fill))
