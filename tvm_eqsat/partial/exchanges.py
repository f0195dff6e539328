"""Which exchanges of digits are worth looking at: depth-first over moves, with positions compared on one channel.

A move is tried alone first. Its mutant is evaluated in exact integers with one channel and one filter, where a
convolution is only its geometry; a move that leaves too little right, with any dilation that could fit it, isn't
extended by another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from ..errors import IllTyped
from ..graph.tensor_graph import TensorGraph
from ..verify.field import evaluate, random_leaves
from .exchange import Convolution, Exchange, Move, exchanged

_WASTE = 1.25  # at most so many elements for each one, where an axis is enlarged to a multiple of the factor
_POWERS = (2, 4, 8)  # factors that are tried although they may not divide
_LARGE = 4096  # pixels of the result, above which positions are compared on fewer factors


class Found(NamedTuple):
    """An exchange, and the share of the result that it leaves right."""

    exchange: Exchange
    right: float


def exchanges(conv: Convolution, least: float) -> list[Found]:
    """Exchanges of one convolution that leave enough of the result right.

    Parameters
    ----------
    conv : Convolution
        The convolution.
    least : float
        Share of the result that has to be right.
    """
    compare = _Comparison(conv.thin())
    alone: list[Found] = []
    for move in _moves(conv):
        for halo in (False, True):
            tried = (Exchange((move,), d, b, halo) for d, b in _geometries(conv, move))
            alone += compare.best(tried, least)
    found = list(alone)
    for first, second in product(alone, alone):
        one, two = first.exchange, second.exchange
        if one.halo == two.halo and _pairs(one.moves[0], two.moves[0]):
            found += compare.best([_both(conv, one, two)], least)
    return found


class _Comparison:
    """Evaluates exchanges of a convolution with one channel; remembers what it has seen."""

    def __init__(self, thin: Convolution) -> None:
        self.thin = thin
        # small whole numbers: sums of their products are exact
        self.leaves = {i: 1.0 + value % 9973 for i, value in random_leaves(thin.program, 1).items()}
        (self.wanted,) = evaluate(thin.program, self.leaves)
        self._seen: set[tuple[object, ...]] = set()

    def best(self, exchanges: Iterator[Exchange] | Sequence[Exchange], least: float) -> list[Found]:
        """The exchange that leaves most right, if that is enough and it isn't known already."""
        best: list[Found] = []
        for exchange in exchanges:
            try:
                graph = exchanged(self.thin, exchange)
            except IllTyped:
                continue
            identity = _identity(graph)
            if identity in self._seen:
                continue
            self._seen.add(identity)
            (value,) = evaluate(graph, self.leaves)
            right = float(np.mean(value == self.wanted))
            if right >= (1.0 if exchange.halo else least) and (not best or right > best[0].right):
                best = [Found(exchange, right)]
        return best


def _identity(graph: TensorGraph) -> tuple[object, ...]:
    return tuple(graph.nodes[i][:2] for i in graph.live())


def _moves(conv: Convolution) -> Iterator[Move]:
    """Every move of one digit, in canonical form: among images of a batch the order doesn't matter."""
    dilation = dict(zip("HW", conv.attrs.dilation, strict=True))
    stride = dict(zip("HW", conv.attrs.strides, strict=True))
    sizes = dict(zip("NCHW", conv.out, strict=True))
    for source in "NHW":
        for factor in _factors(sizes[source], source != "N", sizes["H"] * sizes["W"] > _LARGE):
            for phase in (False, True) if source != "N" else (False,):
                if phase and (
                    stride[source] > 1 or (dilation[source] % factor and conv.weight["NCHW".index(source)] > 1)
                ):
                    continue  # phases meet in one window
                if source != "N":
                    yield Move(source, factor, phase, "N", True)
                if phase:
                    yield Move(source, factor, phase, source, True)
                for target in "HW":
                    if target != source:
                        yield Move(source, factor, phase, target, True)
                        if stride[target] == 1:
                            yield Move(source, factor, phase, target, False)


def _factors(size: int, enlarge: bool, large: bool) -> list[int]:
    """All divisors but one, and powers of two that waste little."""
    divisors = {f for f in range(2, size + 1) if size % f == 0}
    if enlarge:
        divisors |= {f for f in _POWERS if f < size and -(-size // f) * f <= _WASTE * size}
    return sorted(f for f in divisors if not large or f in _POWERS)


def _geometries(conv: Convolution, move: Move) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Dilations and paddings in front that may fit a move: those of the axes that it touches change with it."""
    choices = []
    for i, axis in enumerate("HW"):
        d, p = conv.attrs.dilation[i], conv.attrs.padding[i]
        axis_choices = [(d, p)]
        if axis == move.source and move.phase:
            axis_choices = [(d // move.factor or d, p // move.factor if p % move.factor == 0 else 0)]
        elif axis == move.source:
            axis_choices = [(d, p), (d, 0)]  # tiles that overlap have their padding inside
        if axis == move.target and axis != move.source and not move.major:
            axis_choices = [(d * move.factor, p * move.factor)]
        choices.append(axis_choices)
    for (dh, ph), (dv, pv) in product(*choices):
        yield (dh, dv), (ph, pv)


def _pairs(one: Move, two: Move) -> bool:
    """Whether a second move may follow: another axis, in the order of the axes, that goes the same way."""
    if "NHW".index(one.source) >= "NHW".index(two.source) or one.phase != two.phase:
        return False
    both_stay = one.source == one.target and two.source == two.target
    return both_stay or one.target == two.target == "N" or (one.source == "N" and two.target == one.target)


def _both(conv: Convolution, one: Exchange, two: Exchange) -> Exchange:
    """Two moves with what each changes of the geometry."""

    def changed(own: int, first: int, second: int) -> int:
        return first if first != own else second

    a = conv.attrs
    dilation = [changed(*v) for v in zip(a.dilation, one.dilation, two.dilation, strict=True)]
    before = [changed(*v) for v in zip(a.padding[:2], one.before, two.before, strict=True)]
    return Exchange(one.moves + two.moves, (dilation[0], dilation[1]), (before[0], before[1]), one.halo)
