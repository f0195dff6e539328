"""What the search is told from outside: prices, extraction, and how long it may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from ..grow import Grown, Program
from ..sequential import Price


@dataclass(frozen=True)
class Judge:
    """How programs are judged.

    Parameters
    ----------
    price : callable
        Price of one operator.
    best : callable
        Extracts a program from an e-graph; its cost is the sum of its operators' prices.
    reward : callable, optional
        A quick estimate of that cost: ``best`` is only asked where it promises something. By default ``best`` itself.
    """

    price: Price
    best: Callable[[Grown], Program]
    reward: Callable[[Grown], float] | None = None


@dataclass
class Budget:
    """How long a search may go on; the clock starts when this is made.

    Parameters
    ----------
    simulations : int
        The most simulations.
    seconds : float
        Wall-clock time. A search that it ends isn't reproducible.
    stopping : callable, optional
        Whether to end before that.
    progress : callable, optional
        Told now and then how many simulations are done, and what the best program of all costs.
    """

    simulations: int
    seconds: float = inf
    stopping: Callable[[], bool] = lambda: False
    progress: Callable[[int, float], None] = lambda simulations, cost: None

    def __post_init__(self) -> None:
        self._deadline = time.monotonic() + self.seconds

    @property
    def seconds_left(self) -> float:
        """Never negative."""
        return max(0.0, self._deadline - time.monotonic())

    def over(self, simulations: int) -> bool:
        """Whether so many simulations were enough."""
        return simulations >= self.simulations or self.seconds_left <= 0 or self.stopping()
