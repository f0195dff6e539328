"""Upper confidence bounds for trees, with progressive widening.

L. Kocsis and C. Szepesvári, "Bandit based Monte-Carlo planning" (ECML 2006); A. Couëtoux, J.-B. Hoock, N. Sokolovska,
O. Teytaud and N. Bonnard, "Continuous upper confidence trees" (LION 2011) for the widening.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import TypeVar

_EXPLORATION = 0.7  # of UCB1's bonus, for gains between 0 and 1


@dataclass
class Statistics:
    """What simulations through a node of the tree gained.

    Attributes
    ----------
    visits : int
        Simulations.
    total, best : float
        Sum and maximum of what they gained.
    exhausted : bool
        Whether nothing is left to try below.
    """

    visits: int = 0
    total: float = 0.0
    best: float = 0.0
    exhausted: bool = False

    def add(self, gain: float) -> None:
        """Note one more simulation."""
        self.visits += 1
        self.total += gain
        self.best = max(self.best, gain)

    def width(self, power: float) -> int:
        """How many children it may have by now: progressive widening with this power of the visits."""
        return ceil((self.visits + 1) ** power)

    def promise(self, parent: Statistics, scale: float) -> float:
        """Upper confidence bound: half the mean and half the best gain, in units of ``scale``, and a bonus."""
        if not self.visits:
            return float("inf")
        value = (self.total / self.visits + self.best) / (2 * scale) if scale else 0.0
        return value + _EXPLORATION * sqrt(2 * log(parent.visits + 1) / self.visits)


_S = TypeVar("_S", bound=Statistics)


def most_promising(children: Iterable[_S], parent: Statistics, scale: float) -> _S | None:
    """The child to descend to: the first with the highest bound among those that aren't exhausted."""
    open_ = [child for child in children if not child.exhausted]
    return max(open_, key=lambda child: child.promise(parent, scale), default=None)
