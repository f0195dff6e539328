"""MetaSchedule's tuning loop, for kernels that come and go: one pool of workers, any number of rounds.

MetaSchedule's own loop takes all kernels at once, overshoots its budget, drops its state when it returns, and runs
callbacks inside C++, where an exception may end the process. This one is a plain loop over the same parts: search
strategies propose, a builder and a runner measure, a database keeps, a cost model learns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from math import inf
from statistics import fmean
from types import TracebackType
from typing import Any, NamedTuple

from tvm import tirx
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.database import TuningRecord
from tvm.s_tir.meta_schedule.runner import EvaluatorConfig, RunnerResult
from tvm.target import Target

from ..engine import IN_PROGRAM, engine
from ..intrinsics import load_intrinsics
from ..lower import Kernel
from ..roofline import Kind
from ..space.squares import ROWS
from ..store import KernelStore, Settings
from ..store.format import FAILED
from ..threads import available_cores
from .outlook import Outlook
from .search import KernelSearch
from .trials import run_trials

log = logging.getLogger("tvm_eqsat.cost.tuning")

# MetaSchedule's learned model guesses at random until it has seen this many trials, but is trained after every batch.
_LEARNING_STARTS = 100
# A kernel with fewer trials than this is measured before there is anything to learn from.
_LEARNING_TRIALS = 16


class Batch(NamedTuple):
    """What became of some trials of a kernel.

    Attributes
    ----------
    kernel : Kernel
        The kernel.
    trials, failed : int
        Schedules that were tried, and those of them that couldn't be built or run.
    best : float
        The best latency among them, in seconds; infinite if none succeeded.
    """

    kernel: Kernel
    trials: int
    failed: int
    best: float


OnBatch = Callable[[Batch], None]


def never() -> bool:
    """The answer of whoever can't be stopped."""
    return False


#: Trials of a kernel's first batch, where register tiles are searched: most kernels are near their best after these.
_FIRST = 4
#: All schedules that there are, for CPUs, of kernels that only move data: MetaSchedule's, and squares that turn it.
_FEW = {Kind.STREAM: 1, Kind.SHUFFLE: 1 + len(ROWS)}


def batch_size(trials: int, kernels: int) -> int:
    """Trials measured at a time: at most half of a kernel's share, so that results steer the other half.

    A batch of less than 8 spends more time on searching than on measuring.
    """
    share = trials // max(1, kernels)
    return max(1, min(32, share, max(8, share // 2)))


def is_tunable(kernel: Kernel) -> bool:
    """Whether MetaSchedule can tune it: it is TIR, and all shapes are static."""
    if kernel.mod is None:
        return False
    types = [p.ty for f in kernel.mod.functions.values() for p in f.params]
    shapes = [ty.shape for ty in types if isinstance(ty, tirx.BufferType)]
    return all(isinstance(dim, tirx.IntImm) for shape in shapes for dim in shape)


class KernelTuner:
    """Tunes kernels into a store, round after round. Use it as a context manager: its workers end with the block.

    Parameters
    ----------
    store : KernelStore
        Where records go, and where earlier ones are found.
    seed : int
        Of the search.
    workers : int, optional
        Kernels that are built at a time; as the engine does by default.
    timeout : float
        Seconds that building, or running, a trial may take.
    builder, runner : optional
        Who builds and runs; by default this package's engine, which measures as the store's settings say.
    tiles : bool
        Whether register tiles (:mod:`..space`) are searched beside MetaSchedule's own schedules.

    Attributes
    ----------
    trials, failed : int
        Trials so far, and those of them that couldn't be built or run.
    batch, first : int
        Trials measured at a time, and the first time where there is something to choose; :meth:`plan` sets them.
    """

    def __init__(
        self,
        store: KernelStore,
        *,
        seed: int = 0,
        workers: int | None = None,
        timeout: float = 30.0,
        builder: Any = None,
        runner: Any = None,
        tiles: bool = True,
    ) -> None:
        self.store = store
        self._tiles = tiles
        self.target: Target = store.target
        self.seed = seed
        self.trials = self.failed = 0
        self._set_batch(8)
        self._workers, self._timeout = workers, timeout
        self._builder, self._runner = builder, runner
        self._learning = False
        self._model: Any = None
        self._learned = 0
        self._searches: dict[int, KernelSearch] = {}
        self._failures: dict[int, int] = {}

    def __enter__(self) -> KernelTuner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for tool in (self._builder, self._runner):
            if hasattr(tool, "close"):
                tool.close()
        self._builder = self._runner = None
        self._searches.clear()

    def plan(self, trials: int, kernels: int) -> None:
        """Prepare for a budget: batches of the right size, and a learned model where there is enough to learn from."""
        self._set_batch(batch_size(trials, kernels))
        self._learning = trials > max(_LEARNING_STARTS, _LEARNING_TRIALS * kernels)

    def _set_batch(self, size: int) -> None:
        self.batch = size
        self.first = min(size, _FIRST) if self._tiles else size

    def first_batch(self, kernel: Kernel) -> int:
        """How many trials a kernel should get the first time."""
        if str(self.target.kind.name) != "llvm":
            return self.first
        return min(self.first, _FEW.get(kernel.work.kind, self.first))

    def next_batch(self, kernel: Kernel) -> int:
        """How many trials a kernel should get at a time now."""
        return self.first_batch(kernel) if self.store.best(kernel.hash) is None else self.batch

    def exhausted(self, kernel: Kernel) -> bool:
        """Whether more trials are of no use: there is nothing new to try, or nothing has ever run."""
        search = self._searches.get(kernel.hash)
        hopeless = self._failures.get(kernel.hash, 0) >= self.batch and self.store.best(kernel.hash) is None
        return hopeless or (search is not None and search.exhausted) or not is_tunable(kernel)

    def measure(self, kernel: Kernel, trials: int) -> Batch:
        """Try so many new schedules of a kernel; fewer, if there are no more.

        Raises
        ------
        MeasurementError
            A record can't be written, or the engine is broken.
        """
        with self.target:
            search = self._search(kernel)
            candidates = search.propose(trials)
            results = self._run(candidates) if candidates else []
            arguments = zip(candidates, results, strict=True)
            for candidate, result in arguments:
                seconds = [float(s) for s in result.run_secs] if result.run_secs else [FAILED]
                self.store.commit_tuning_record(
                    TuningRecord(candidate.sch.trace, search.workload, seconds, self.target, candidate.args_info)
                )
            search.learn(candidates, results)
        self._learned += len(results) if self._model is not None else 0
        return self._account(kernel, results)

    def tune(
        self,
        kernels: Sequence[Kernel],
        trials: int,
        *,
        on_batch: OnBatch = lambda batch: None,
        stopping: Callable[[], bool] = never,
    ) -> Outlook:
        """Spend a budget where it promises most: a batch for each kernel first, then by weight and headroom.

        Kernels that have records aren't started from scratch: what they promise is what is left to gain.

        Parameters
        ----------
        kernels : sequence of Kernel
            Distinct kernels; how often the program calls each is its weight.
        trials : int
            The budget, which is never exceeded.
        on_batch : callable
            Called after each batch.
        stopping : callable
            Asked between batches whether to stop.

        Returns
        -------
        Outlook
            For each kernel, its best times.
        """
        sizes = [kernel.count * (kernel.flops + kernel.nbytes) for kernel in kernels]
        outlook = Outlook([kernel.count for kernel in kernels], sizes)
        for i, kernel in enumerate(kernels):
            known = self.store.best(kernel.hash)
            if known is not None:
                outlook.known(i, known.seconds, known.trials // self.batch)
            if not is_tunable(kernel):
                outlook.close(i)
        if trials < sum(outlook.promise(i) == inf for i in range(len(kernels))):
            log.warning("%d trials are too few for %d kernels: some stay untuned", trials, len(kernels))
        while trials > 0 and not stopping() and (i := outlook.next()) >= 0:
            batch = self.measure(kernels[i], min(self.next_batch(kernels[i]), trials))
            trials -= batch.trials
            if min(batch.best, outlook.time(i)) < inf:  # or it gets another first batch, until it is given up
                outlook.add(i, batch.best)
            if self.exhausted(kernels[i]):
                outlook.close(i)
            on_batch(batch)
        return outlook

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _search(self, kernel: Kernel) -> KernelSearch:
        search = self._searches.get(kernel.hash)
        if search is None:
            load_intrinsics()
            if self._learning and self._model is None:
                # One thread: for some thousand trials, several of them mostly wait for each other.
                self._model = ms.cost_model.CostModel.create("xgb", num_tuning_cores=1)
            search = self._searches[kernel.hash] = KernelSearch(
                kernel,
                self.target,
                self.store,
                batch=self.batch,
                seed=self.seed,
                threads=available_cores(),
                model=self._model,
                tiles=self._tiles,
            )
        if self._learned >= _LEARNING_STARTS:
            search.evolve()
        return search

    def _run(self, candidates: Sequence[Any]) -> list[RunnerResult]:
        self._start()
        return run_trials(candidates, self.target, self._builder, self._runner)

    def _start(self) -> None:
        if self._builder is not None:
            return
        settings = self.store.provenance.settings or Settings.of(IN_PROGRAM, available_cores())
        self._builder, self._runner = engine(
            settings.threads,
            workers=self._workers,
            build_timeout=self._timeout,
            run_timeout=self._timeout,
            config=EvaluatorConfig(settings.number, settings.repeat, settings.min_repeat_ms, settings.cache_flush),
        )

    def _account(self, kernel: Kernel, results: Sequence[RunnerResult]) -> Batch:
        failed = 0
        best = inf
        for result in results:
            if result.run_secs:
                best = min(best, fmean(map(float, result.run_secs)))
            else:
                failed += 1
                log.debug("%s: %s", kernel.name, result.error_msg)
        self.trials += len(results)
        self.failed += failed
        self._failures[kernel.hash] = self._failures.get(kernel.hash, 0) + failed
        return Batch(kernel, len(results), failed, best)
