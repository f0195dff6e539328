"""Indices in mixed radix: the digits of an axis, in one form for each way to walk through memory."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from ..errors import OptionError


class Digit(NamedTuple):
    """A digit of a result index: its number of values, and the source axis that it moves, by which stride."""

    extent: int
    dim: int
    stride: int


class Group(NamedTuple):
    """One axis of the result: its length, and its digits, most significant first.

    The first digit may be cut off: ``size`` is at most the product of the extents.
    """

    size: int
    digits: tuple[Digit, ...]


def canonical(group: Group) -> Group:
    """Digits of extent 1 dropped, digits that continue each other joined, the first one as long as needed."""
    size, digits = group.size, list[Digit]()
    below, weight = 1, 1  # weight of the digit last kept
    for extent, dim, stride in reversed(group.digits):
        extent = min(extent, -(-size // below))
        if extent > 1:
            last = digits[-1] if digits else None
            if last is not None and last.dim == dim and stride == last.stride * last.extent:
                digits[-1] = Digit(min(last.extent * extent, -(-size // weight)), dim, last.stride)
            else:
                digits.append(Digit(extent, dim, stride))
                weight = below
        below *= extent
    if size < 1 or below < size:
        raise OptionError(f"an axis of length {size} can't have the digits {group.digits}")
    return Group(size, tuple(reversed(digits)))


def highest(group: Group, dim: int) -> int:
    """How far an axis moves along a source axis at most."""
    rest, best, fixed = group.size - 1, 0, 0
    below = prod(d.extent for d in group.digits)
    for number, digit in enumerate(group.digits):
        below //= digit.extent
        value, rest = divmod(rest, below)
        later = sum(d.stride * (d.extent - 1) for d in group.digits[number + 1 :] if d.dim == dim)
        mine = digit.stride if digit.dim == dim else 0
        if value:
            best = max(best, fixed + mine * (value - 1) + later)
        fixed += mine * value
    return max(best, fixed)


class Radix:
    """An axis between two maps: its index in the first one's digits, and what the second one adds to it."""

    def __init__(self, group: Group, offset: int, others: Sequence[Group], axis: int) -> None:
        self.levels: list[tuple[int, Digit]] = []  # weight of the digit in the index, least significant first
        below = 1
        for digit in reversed(group.digits):
            self.levels.append((below, digit))
            below *= digit.extent
        self.fits = True
        room = [digit.extent - 1 for _, digit in self.levels]
        self.start: list[tuple[Digit, int]] = []
        rest = offset
        for level in range(len(self.levels) - 1, -1, -1):
            weight, digit = self.levels[level]
            self.start.append((digit, rest // weight))
            room[level] -= rest // weight
            rest %= weight
        for members in others:
            for number, digit in enumerate(members.digits):
                if digit.dim != axis:
                    continue
                parts = self.parts(digit, number == 0)
                if parts is None:
                    self.fits = False
                    return
                for part, level in zip(parts, self._levels_of(digit), strict=True):
                    room[level] -= (part.extent - 1) * part.stride // self.levels[level][1].stride
        # The first digit can't carry into another one; where it ends is the axis's end, which is seen to elsewhere.
        self.fits = all(spare >= 0 for spare in room[:-1])

    def _levels_of(self, digit: Digit) -> list[int]:
        """The digits that one of the second map's covers, most significant first."""
        end = digit.stride * digit.extent
        return [
            level
            for level in range(len(self.levels) - 1, -1, -1)
            if self.levels[level][0] < end
            and (level == len(self.levels) - 1 or digit.stride < self.levels[level + 1][0])
        ]

    def parts(self, digit: Digit, first: bool) -> list[Digit] | None:
        """A digit of the second map in terms of the source; None if it starts or ends within one of the first's.

        The ``first`` digit of an axis ends where the axis does.
        """
        found = []
        end = digit.stride * digit.extent
        for level in self._levels_of(digit):
            weight, mine = self.levels[level]
            low = max(weight, digit.stride)
            top = level == len(self.levels) - 1
            high = end if top else min(end, weight * mine.extent)
            if low % weight or low % digit.stride or (high % low and not (first and high == end)):
                return None
            found.append(Digit(-(-high // low), mine.dim, mine.stride * (low // weight)))
        return found
