"""Index maps: how a tensor is stored as another tensor, as values that compose, invert and compare.

A map says where each element of its *result* comes from, because that covers every way to store a tensor: elements may
move (reorder, split, fuse), be left out (crop), be stored more than once (unfold) or be nothing but padding (pad).
Primitives and their law, as in ALT (Xu et al., EuroSys'23, §4.1)::

    split    out[…, i, j, …]    = in[…, i * factor + j, …]
    fuse     out[…, i, …]       = in[…, i / size, i % size, …]
    reorder  out[i, j, k]       = in[k, i, j]
    pad      out[…, i, …]       = in[…, i - before, …], the fill value outside; a negative width crops
    unfold   out[…, t, r, …]    = in[…, t * step + r, …]
    stored   out[i, j]          = in[begin + i * columns + j]: one of several tensors in a flat storage

All are instances of one form: the index of a result axis is written in a mixed radix, and each of its digits moves the
place in one source axis by a stride. With digits of extent 1 dropped and neighbours that continue each other joined,
two maps without padding are equal if and only if their forms are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..errors import OptionError
from .digits import Digit, Group, Radix, canonical, highest


@dataclass(frozen=True)
class IndexMap:
    """Where each element of a result comes from.

    Parameters
    ----------
    source : tuple of int
        Shape of the operand.
    groups : tuple of Group
        The axes of the result.
    offset : tuple of int
        For each source axis, the place that digits of zero read.
    fill : float, optional
        Value of elements that no source element stands for; None where there are none.

    Raises
    ------
    OptionError
        The form makes no sense: an axis without elements, a digit of an axis that isn't there, padding without value.
    """

    source: tuple[int, ...]
    groups: tuple[Group, ...]
    offset: tuple[int, ...]
    fill: float | None = None

    def __post_init__(self) -> None:
        source, offset = tuple(self.source), tuple(self.offset)
        if min(source, default=1) < 1 or len(offset) != len(source):
            raise OptionError(f"an index map can't start from shape {source} with offset {offset}")
        groups = tuple([canonical(group) for group in self.groups])
        for digit in (d for g in groups for d in g.digits):
            if not 0 <= digit.dim < len(source) or digit.stride < 1:
                raise OptionError(f"{digit} doesn't move along an axis of shape {source}")
        for name, value in (("source", source), ("groups", groups), ("offset", offset)):
            object.__setattr__(self, name, value)
        inside = all(low >= 0 and high < d for (low, high), d in zip(self.reach(), source, strict=True))
        if not inside and self.fill is None:
            raise OptionError(f"an index map that reaches beyond shape {source} needs a fill value")
        object.__setattr__(self, "fill", None if inside or self.fill is None else float(self.fill))

    # ** primitives

    @staticmethod
    def identity(shape: Sequence[int]) -> IndexMap:
        """The map that leaves a tensor as it is."""
        return IndexMap.reorder(shape, range(len(shape)))

    @staticmethod
    def reorder(shape: Sequence[int], axes: Iterable[int]) -> IndexMap:
        """Axes in another order, as :func:`numpy.transpose` takes them."""
        order = list(axes)
        if sorted(order) != list(range(len(shape))):
            raise OptionError(f"{tuple(order)} isn't an order of the axes of shape {tuple(shape)}")
        return IndexMap(tuple(shape), tuple([_plain(shape[k], k) for k in order]), _zeros(shape))

    @staticmethod
    def split(shape: Sequence[int], axis: int, *factors: int, fill: float = 0.0) -> IndexMap:
        """One axis as several, of which all but the first have the lengths ``factors``; the first is padded."""
        _check_axis(shape, axis)
        groups, stride = [], prod(factors)
        groups.append(Group(-(-shape[axis] // stride), (Digit(-(-shape[axis] // stride), axis, stride),)))
        for factor in factors:
            stride //= factor
            groups.append(Group(factor, (Digit(factor, axis, stride),)))
        return _replacing(shape, axis, axis + 1, groups, fill)

    @staticmethod
    def fuse(shape: Sequence[int], begin: int, end: int) -> IndexMap:
        """The axes from ``begin`` up to ``end``, which isn't one of them, as a single one."""
        if not 0 <= begin < end <= len(shape):
            raise OptionError(f"shape {tuple(shape)} has no axes {begin} to {end}")
        digits = tuple([Digit(shape[k], k, 1) for k in range(begin, end)])
        return _replacing(shape, begin, end, [Group(prod(shape[begin:end]), digits)])

    @staticmethod
    def pad(shape: Sequence[int], widths: Sequence[tuple[int, int]], fill: float = 0.0) -> IndexMap:
        """Elements added before and after along each axis; negative widths take some away."""
        sizes = [d + before + after for d, (before, after) in zip(shape, widths, strict=True)]
        groups = tuple([_plain(size, k) for k, size in enumerate(sizes)])
        return IndexMap(tuple(shape), groups, tuple([-before for before, _ in widths]), fill)

    @staticmethod
    def unfold(shape: Sequence[int], axis: int, size: int, step: int, fill: float = 0.0) -> IndexMap:
        """One axis as tiles of ``size`` that start every ``step``, and cover it all; they may overlap."""
        _check_axis(shape, axis)
        if not 1 <= step <= size:
            raise OptionError(f"tiles of {size} every {step} don't cover an axis")
        count = max(1, -(-(shape[axis] - size) // step) + 1)
        groups = [Group(count, (Digit(count, axis, step),)), Group(size, (Digit(size, axis, 1),))]
        return _replacing(shape, axis, axis + 1, groups, fill)

    @staticmethod
    def stored(size: int, begin: int, shape: Sequence[int]) -> IndexMap:
        """A tensor out of a flat storage of ``size`` elements that holds it, in row-major order, from ``begin`` on."""
        if not 0 <= begin <= size - prod(shape):
            raise OptionError(f"{tuple(shape)} doesn't fit in a storage of {size} elements from {begin} on")
        strides = [prod(shape[k + 1 :]) for k in range(len(shape))]
        groups = tuple([Group(d, (Digit(d, 0, s),)) for d, s in zip(shape, strides, strict=True)])
        return IndexMap((size,), groups, (begin,))

    # ** what it does

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return tuple([group.size for group in self.groups])

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self == IndexMap.identity(self.source)

    @property
    def is_view(self) -> bool:
        """Whether the result has the source's elements in the same row-major order: nothing need be moved."""
        flat = IndexMap.fuse(self.source, 0, len(self.source)) if self.source else None
        if flat is None or not self.groups:
            return prod(self.source) == prod(self.shape)
        whole = self.then(IndexMap.fuse(self.shape, 0, len(self.shape)))
        return whole == flat

    def reach(self) -> list[tuple[int, int]]:
        """The lowest and the highest place that is read along each source axis; beyond it is padding."""
        return [(low, low + sum(highest(group, k) for group in self.groups)) for k, low in enumerate(self.offset)]

    def places(self, index: Sequence[Any]) -> list[Any]:
        """The place in the source that a place in the result reads; numbers or symbolic expressions alike."""
        found: list[Any] = list(self.offset)
        for at, group in zip(index, self.groups, strict=True):
            below = 1
            for number, digit in enumerate(reversed(group.digits)):
                value = at // below if below > 1 else at
                if number < len(group.digits) - 1:
                    value = value % digit.extent
                found[digit.dim] = value * digit.stride + found[digit.dim]
                below *= digit.extent
        return found

    def apply(self, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The tensor ``x``, stored this way.

        Raises
        ------
        OptionError
            ``x`` has another shape than the source.
        """
        if x.shape != self.source:
            raise OptionError(f"an index map of shape {self.source} doesn't apply to an array of shape {x.shape}")
        digits = [digit for group in self.groups for digit in group.digits]
        start = list(self.offset)
        widths = []
        for k, low in enumerate(self.offset):
            high = low + sum(d.stride * (d.extent - 1) for d in digits if d.dim == k)  # cut off digits too
            widths.append((max(0, -low), max(0, high + 1 - x.shape[k])))
            start[k] += widths[k][0]
        if any(map(any, widths)):
            fill = int(self.fill or 0) if x.dtype.kind in "iubO" and self.fill == int(self.fill or 0) else self.fill
            x = np.pad(x, widths, constant_values=0 if fill is None else fill)
        x = x[tuple([slice(begin, None) for begin in start])]
        steps = [d.stride * x.strides[d.dim] for d in digits]
        view = np.lib.stride_tricks.as_strided(x, [d.extent for d in digits], steps, writeable=False)
        whole = view.reshape([prod(d.extent for d in g.digits) for g in self.groups])
        return np.ascontiguousarray(whole[tuple([slice(g.size) for g in self.groups])]).reshape(self.shape)

    # ** algebra

    def then(self, other: IndexMap) -> IndexMap | None:
        """One map that does what this one and then ``other`` do.

        Returns
        -------
        IndexMap or None
            None where no single map does the same, such as a crop followed by padding, which overwrites elements; or
            where the other map cuts indices at places that aren't digits of this one.

        Raises
        ------
        OptionError
            The other map starts from another shape than this one makes.
        """
        if other.source != self.shape:
            raise OptionError(f"a map to shape {self.shape} can't be followed by one from {other.source}")
        if None not in (self.fill, other.fill) and self.fill != other.fill:
            return None
        offset, radices = list(self.offset), []
        for j, (group, low_high) in enumerate(zip(self.groups, other.reach(), strict=True)):
            if not self._stays_padding(group, *low_high):
                return None
            radix = Radix(group, other.offset[j], other.groups, j)
            if not radix.fits:
                return None
            for digit, value in radix.start:
                offset[digit.dim] += digit.stride * value
            radices.append(radix)
        groups = []
        for group in other.groups:
            digits: list[Digit] = []
            for number, digit in enumerate(group.digits):
                digits += radices[digit.dim].parts(digit, number == 0) or ()
            groups.append(Group(group.size, tuple(digits)))
        fill = self.fill if other.fill is None else other.fill
        return IndexMap(self.source, tuple(groups), tuple(offset), fill)

    def _stays_padding(self, group: Group, low: int, high: int) -> bool:
        """Whether places beyond an axis of the result, from ``low`` to ``high``, are beyond the source too."""
        if low >= 0 and high < group.size:
            return True
        if len(group.digits) != 1:
            return False
        ((_, k, stride),) = group.digits
        if sum(d.dim == k for g in self.groups for d in g.digits) != 1:
            return False
        start = self.offset[k]
        return (low >= 0 or start < stride) and (high < group.size or start + stride * group.size >= self.source[k])

    def inverse(self, fill: float | None = None) -> IndexMap | None:
        """A map that gives the source back: ``m.then(m.inverse())`` is the identity.

        What is stored more than once is read at its first place, padding is left out.

        Parameters
        ----------
        fill : float, optional
            Value of source elements that this map leaves out. Their own can't be had back, so that
            ``m.inverse(fill).then(m)`` is the identity then, but ``m.then(m.inverse(fill))`` isn't.

        Returns
        -------
        IndexMap or None
            None if this map leaves out elements and there is no ``fill``, or if no single map does it.
        """
        digits: list[list[tuple[int, int, int, int]]] = [[] for _ in self.source]  # stride, extent, axis, its stride
        for j, group in enumerate(self.groups):
            below = 1
            for digit in reversed(group.digits):
                digits[digit.dim].append((digit.stride, digit.extent, j, below))
                below *= digit.extent
        groups, offset = [], [0] * len(self.groups)
        for size, before, mine in zip(self.source, self.offset, digits, strict=True):
            mine.sort(reverse=True)
            found: list[Digit] = []
            above = -(-(size - before) // mine[0][0]) * mine[0][0] if mine else size - before
            if before > 0 or (mine and -before % (mine[0][0])) or (not mine and (size, before) != (1, 0)):
                return None
            for stride, extent, j, below in mine:
                if above % stride or above // stride > extent:
                    return None
                found.append(Digit(above // stride, j, below))
                above = stride
            if mine and mine[-1][0] != 1:
                return None
            if before:
                stride, _, j, below = mine[0]
                offset[j] += -before // stride * below
                found[0] = found[0]._replace(extent=found[0].extent + before // stride)
            groups.append(Group(size, tuple(found)))
        try:
            return IndexMap(self.shape, tuple(groups), tuple(offset), fill)
        except OptionError:  # it would read what was cut off
            return None


def _plain(size: int, dim: int) -> Group:
    return Group(size, (Digit(size, dim, 1),))


def _zeros(shape: Sequence[int]) -> tuple[int, ...]:
    return (0,) * len(shape)


def _check_axis(shape: Sequence[int], axis: int) -> None:
    if not 0 <= axis < len(shape):
        raise OptionError(f"shape {tuple(shape)} has no axis {axis}")


def _replacing(
    shape: Sequence[int], begin: int, end: int, middle: Sequence[Group], fill: float | None = None
) -> IndexMap:
    """The map with ``middle`` in place of some axes, all others as they are."""
    before = [_plain(shape[k], k) for k in range(begin)]
    after = [_plain(shape[k], k) for k in range(end, len(shape))]
    return IndexMap(tuple(shape), (*before, *middle, *after), _zeros(shape), fill)
