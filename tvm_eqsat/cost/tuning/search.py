"""The search for schedules of one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, inf
from statistics import fmean
from typing import Any

import numpy as np
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.search_strategy import MeasureCandidate
from tvm.target import Target

from ..lower import Kernel
from ..roofline import Kind
from ..space import SquareProposals, TileProposals, tiled_space
from ..store import KernelStore

# Proposals in a row that hold nothing new before a kernel counts as tried out.
_PATIENCE = 3
# The search never counts its trials: whoever asks for proposals does.
_ENDLESS = 1 << 30
# Records whose schedules are known not to be tried again.
_REMEMBERED = 1 << 20
# Share of the trials of the design space that holds the best schedule so far, or of register tiles if none is known.
_LEADING = 0.75


class KernelSearch:
    """Proposes schedules of a kernel that were not measured before, in this run or an earlier one.

    They come from two design spaces: MetaSchedule's own, and register tiles (:mod:`..space`), which come first; for
    kernels that turn data, squares. Whichever holds the best schedule so far gets most of the trials.

    Parameters
    ----------
    kernel : Kernel
        The kernel, with its ``mod``.
    target : tvm.target.Target
        What is tuned for.
    store : KernelStore
        Its records of the kernel seed the evolution, and none of them is proposed again.
    batch : int
        Schedules that are proposed at a time.
    seed : int
        Of the search. Another run with the same seed and other records draws other schedules.
    threads : int
        Threads of MetaSchedule's search.
    model : ms.cost_model.CostModel, optional
        What proposals are chosen by, once :meth:`evolve` was called; random schedules until then.
    tiles : bool
        Whether register tiles are searched, too.
    """

    def __init__(
        self,
        kernel: Kernel,
        target: Target,
        store: KernelStore,
        *,
        batch: int,
        seed: int,
        threads: int,
        model: ms.cost_model.CostModel | None = None,
        tiles: bool = True,
    ) -> None:
        self.kernel = kernel
        self.target = target
        self.store = store
        self.batch = batch
        self.threads = threads
        self.model = model
        self.exhausted = False
        self.workload = store.commit_workload(kernel.mod)
        known = store.get_top_k(self.workload, _REMEMBERED)
        self._seen = {str(record.trace) for record in known}
        self._random = np.random.RandomState([seed, kernel.hash & 0xFFFFFFFF, len(known)])
        self._evolving = False
        self._tiles = self._own_space() if tiles else None
        self._best = {True: inf, False: inf}  # of register tiles, and of MetaSchedule's schedules
        self._context = self._start(ms.search_strategy.ReplayTrace(), "post-order-apply")

    def evolve(self) -> None:
        """From now on, evolve the best schedules, with the model as judge."""
        if self._evolving or self.model is None:
            return
        self._evolving = True
        # Its population (512 in MetaSchedule) is in proportion to what is measured, or it costs more than that.
        population = max(32, min(512, 8 * self.batch))
        self._context = self._start(
            ms.search_strategy.EvolutionarySearch(population_size=population, genetic_num_iters=3), self._both()
        )

    def _own_space(self) -> TileProposals | SquareProposals:
        threads = int(self.target.attrs.get("num-cores", self.threads))
        if self.kernel.work.kind is Kind.SHUFFLE:
            return SquareProposals(self.kernel.mod, self.target, threads)
        return TileProposals(self.kernel.mod, self.target, threads, self._random)

    def _both(self) -> Any:
        """Both design spaces."""
        if not isinstance(self._tiles, TileProposals) or self._tiles.exhausted:
            return "post-order-apply"
        stock = ms.space_generator.PostOrderApply()
        return ms.space_generator.SpaceGeneratorUnion([tiled_space(self.target), stock])

    def _start(self, strategy: ms.search_strategy.SearchStrategy, space: Any) -> ms.TuneContext:
        context = ms.TuneContext(
            mod=self.kernel.mod,
            target=self.target,
            space_generator=space,
            search_strategy=strategy,
            task_name=self.kernel.name,
            rand_state=int(self._random.randint(1, 2**30)),
            num_threads=self.threads,
        )
        context.pre_tuning(_ENDLESS, self.batch, database=self.store, cost_model=self.model)
        return context

    def propose(self, count: int) -> list[MeasureCandidate]:
        """New schedules, at most ``count``, and fewer only where the search finds no more. ``exhausted`` tells then."""
        leading = self._best[True] <= self._best[False] and not self._evolving
        found = self._new_tiles(ceil(count * (_LEADING if leading else 1 - _LEADING)))
        idle = 0
        while len(found) < count and idle < _PATIENCE:
            before = len(found)
            for candidate in self._context.generate_measure_candidates() or []:
                if len(found) < count and self._is_new(candidate):
                    found.append(candidate)
            idle = idle + 1 if len(found) == before else 0
        found += self._new_tiles(count - len(found))
        self.exhausted = len(found) < count
        return found

    def _new_tiles(self, count: int) -> list[MeasureCandidate]:
        """Register tiles, at most so many."""
        found: list[MeasureCandidate] = []
        while self._tiles is not None and len(found) < count and (candidate := self._tiles.next()) is not None:
            if self._is_new(candidate):
                found.append(candidate)
        return found

    def _is_new(self, candidate: MeasureCandidate) -> bool:
        """Whether a schedule was never seen; it has been, from now on."""
        text = str(candidate.sch.trace)
        new = text not in self._seen
        self._seen.add(text)
        return new

    def learn(self, candidates: Sequence[MeasureCandidate], results: Sequence[ms.runner.RunnerResult]) -> None:
        """Take in what was measured of the proposals; the next ones depend on it, and the model learns from it."""
        for candidate, result in zip(candidates, results, strict=True):
            seconds = fmean(map(float, result.run_secs)) if result.run_secs else inf
            tiled = self._tiles is not None and self._tiles.learn(candidate, seconds)
            self._best[tiled] = min(self._best[tiled], seconds)
        self._context.notify_runner_results(list(candidates), list(results))
        if self.model is not None and candidates:
            self.model.update(self._context, list(candidates), list(results))
