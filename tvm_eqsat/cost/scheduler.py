"""Which kernel gets the next trials.

MetaSchedule's own scheduler keeps the first results of every kernel back until all kernels had their turn, and can't be
stopped between two batches: an exception inside it may end the process. This one records each batch as soon as it is
measured, so that the next one's search has learned from it, and stops when told to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir.meta_schedule.measure_callback import MeasureCallback, PyMeasureCallback
from tvm.s_tir.meta_schedule.runner import RunnerResult
from tvm.s_tir.meta_schedule.task_scheduler import PyTaskScheduler

#: Weight of what the last batch gained, against what a kernel could gain at most (the gradient of Ansor, OSDI'20,
#: section 6.2). Ansor's 0.2 prefers a kernel that has stopped improving to one that still improves.
ALPHA = 0.5


class Outlook:
    """The best time of every kernel so far, and which of them promises the greatest gain.

    Parameters
    ----------
    weights : sequence of float
        How often the program runs each kernel.

    Attributes
    ----------
    best : list of list of float
        For each kernel, its best time after each of its batches, in seconds; infinite until a trial succeeds.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        self.weights = list(weights)
        self.best: list[list[float]] = [[] for _ in weights]

    def add(self, i: int, results: Sequence[RunnerResult]) -> None:
        """Take in a batch of kernel ``i``."""
        times = [sum(map(float, r.run_secs)) / len(r.run_secs) for r in results if r.run_secs]
        self.best[i].append(min([*times, self.time(i)]))

    def time(self, i: int) -> float:
        """The best time of a kernel, in seconds."""
        return self.best[i][-1] if self.best[i] else float("inf")

    def total(self) -> float:
        """The time of all kernels, as often as the program runs them, in seconds; infinite while one is unmeasured."""
        return sum(weight * self.time(i) for i, weight in enumerate(self.weights))

    def promise(self, i: int) -> float:
        """The seconds that another batch may save: infinite for the first, 0 if none of the trials ran."""
        history = self.best[i]
        if not history:
            return float("inf")
        if self.time(i) == float("inf"):
            return 0.0
        # The first batch counts as having gained all that is left.
        gained = history[-2] - history[-1] if len(history) > 1 and history[-2] != float("inf") else history[-1]
        return self.weights[i] * (ALPHA * gained + (1 - ALPHA) * history[-1] / len(history))


@derived_object
class BatchScheduler(PyTaskScheduler):
    """One batch for every kernel in turn, then for the kernel with the greatest promise.

    Parameters
    ----------
    outlook : Outlook
        What is known of the kernels.
    stopping : callable
        Asked between batches whether to stop.
    """

    def __init__(self, outlook: Outlook, stopping: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self.outlook = outlook
        self.stopping = stopping
        self.running = -1

    def next_task_id(self) -> int:
        """The kernel of the next batch; -1 ends the tuning."""
        scheduler = self._outer()
        tasks = scheduler.tasks_
        if self.running >= 0 and not tasks[self.running].is_terminated:
            scheduler.join_running_task(self.running)  # calls the measure callbacks
        waiting = [i for i, task in enumerate(tasks) if not task.is_terminated]
        self.running = -1 if self.stopping() or not waiting else max(waiting, key=self.outlook.promise)
        return self.running


@derived_object
class _Watch(PyMeasureCallback):
    def __init__(self, outlook: Outlook, on_batch: Callable[[int, Sequence[RunnerResult]], None]) -> None:
        super().__init__()
        self.outlook = outlook
        self.on_batch = on_batch

    def apply(
        self, task_scheduler: Any, task_id: int, measure_candidates: Any, builder_results: Any, runner_results: Any
    ) -> None:
        """Called after each batch."""
        self.outlook.add(task_id, runner_results)
        self.on_batch(task_id, runner_results)


def callbacks(outlook: Outlook, on_batch: Callable[[int, Sequence[RunnerResult]], None]) -> list[MeasureCallback]:
    """The measure callbacks that :class:`BatchScheduler` needs: MetaSchedule's own, then ours.

    ``on_batch`` is called after each batch with the kernel's number and its results.
    """
    return [*MeasureCallback.create("default"), _Watch(outlook, on_batch)]
