"""Which kernel gets the next trials."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

#: Weight of what the last batch gained, against what a kernel could gain at most (the gradient of Ansor, OSDI'20,
#: section 6.2). Ansor's 0.2 prefers a kernel that has stopped improving to one that still improves.
ALPHA = 0.5


class Outlook:
    """The best time of every kernel so far, and which of them promises the greatest gain.

    Parameters
    ----------
    weights : sequence of float
        How often the program runs each kernel.
    size : sequence of float, optional
        Kernels that were never tried have their turn by size, the largest first.

    Attributes
    ----------
    best : list of list of float
        For each kernel, its best time after each of its batches, in seconds; infinite until a trial succeeds.
    """

    def __init__(self, weights: Sequence[float], size: Sequence[float] | None = None) -> None:
        self.weights = list(weights)
        self.size = [1.0] * len(weights) if size is None else list(size)
        self.best: list[list[float]] = [[] for _ in weights]
        self._closed: set[int] = set()

    def known(self, i: int, seconds: float, batches: int) -> None:
        """Kernel ``i`` was tuned before: ``seconds`` is its best after so many batches, of which no more is known."""
        self.best[i] = [seconds] * max(1, batches)

    def add(self, i: int, seconds: float) -> None:
        """Take in a batch of kernel ``i``: its best time, infinite if no trial succeeded."""
        self.best[i].append(min(seconds, self.time(i)))

    def close(self, i: int) -> None:
        """There is nothing left to try for kernel ``i``."""
        self._closed.add(i)

    def time(self, i: int) -> float:
        """The best time of a kernel, in seconds."""
        return self.best[i][-1] if self.best[i] else inf

    def total(self) -> float:
        """The time of all kernels, as often as the program runs them, in seconds; infinite while one is unmeasured."""
        return sum(weight * self.time(i) for i, weight in enumerate(self.weights))

    def promise(self, i: int) -> float:
        """The seconds that another batch may save: infinite for the first, 0 if none of the trials ran."""
        history = self.best[i]
        if i in self._closed:
            return 0.0
        if not history:
            return inf
        if self.time(i) == inf:
            return 0.0
        # The first batch counts as having gained all that is left.
        gained = history[-2] - history[-1] if len(history) > 1 and history[-2] != inf else history[-1]
        return self.weights[i] * (ALPHA * gained + (1 - ALPHA) * history[-1] / len(history))

    def next(self) -> int:
        """The kernel of the next batch; -1 if none promises anything."""
        promising = [i for i in range(len(self.weights)) if self.promise(i) > 0]
        return max(promising, key=lambda i: (self.promise(i), self.size[i]), default=-1)
