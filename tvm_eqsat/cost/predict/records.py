"""What there is to learn from: a MetaSchedule database, with every trial of every kernel."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log

import tvm

from ..kernel_work import work_of
from ..lower import Kernel
from ..store import Index
from ..store.load import load_workload


@dataclass(frozen=True)
class Sample:
    """A kernel and what its trials measured.

    Attributes
    ----------
    kernel : Kernel
        It is called ``kernel_`` and its hash: a database stores no names.
    trials : tuple of float
        Seconds, in the order of measurement; infinite for a trial that failed.
    """

    kernel: Kernel
    trials: tuple[float, ...]

    def best(self) -> float:
        """The best latency: seconds, infinite if no trial succeeded."""
        return min(self.trials, default=inf)

    def expected(self, trials: int) -> float:
        """The best latency that so many of the successful trials find: seconds.

        The geometric mean over all choices of ``trials`` out of them, which varies far less than the best of any one
        choice. Of n latencies in rising order, the j-th (from 0) is the best in C(n-j-1, k-1) of C(n, k) choices.

        Parameters
        ----------
        trials : int
            From 1 to the number of trials that succeeded.
        """
        logs = [log(t) for t in sorted(self.trials) if t < inf]
        n, share, total = len(logs), trials / len(logs), 0.0
        for j, value in enumerate(logs[: n - trials + 1]):
            total += share * value
            share *= (n - trials - j) / (n - j - 1) if j + 1 < n else 0.0
        return exp(total)


class Records:
    """All trials of every kernel of a database, which may grow: each kernel is loaded once.

    Parameters
    ----------
    index : Index
        What the database says, from :func:`~tvm_eqsat.cost.database.index_of`.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._generation = index.generation
        self._kernels: dict[int, Kernel | None] = {}

    @property
    def trials(self) -> int:
        """How many trials there are."""
        return self._index.records_of_target

    def refresh(self) -> None:
        """Take in what was added to the database."""
        self._index.refresh()

    def samples(self) -> list[Sample]:
        """Every kernel that was measured successfully at least once, in the order of the database."""
        if self._generation != self._index.generation:
            self._generation = self._index.generation
            self._kernels.clear()
        found = []
        for position in self._index.all_positions():
            entries = sorted((e for e in self._index.entries(position) if e.counts), key=lambda e: e.offset)
            trials = tuple(entry.seconds for entry in entries)
            if min(trials, default=inf) < inf:
                kernel = self._kernel(position)
                if kernel is not None:
                    found.append(Sample(kernel, trials))
        return found

    def _kernel(self, position: int) -> Kernel | None:
        if position not in self._kernels:
            line = self._index.workload(position)
            workload = load_workload(line)
            self._kernels[position] = None if workload is None else _kernel(workload.mod, int(line[0]))
        return self._kernels[position]


def _kernel(mod: tvm.IRModule, shash: int) -> Kernel:
    return Kernel(f"kernel_{shash:016x}", 1, work_of(mod["main"]), mod, shash)
