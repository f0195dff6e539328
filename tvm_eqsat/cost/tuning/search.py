"""The search for schedules of one kernel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.search_strategy import MeasureCandidate
from tvm.target import Target

from ..lower import Kernel
from ..store import KernelStore

# Proposals in a row that hold nothing new before a kernel counts as tried out.
_PATIENCE = 3
# The search never counts its trials: whoever asks for proposals does.
_ENDLESS = 1 << 30
# Records whose schedules are known not to be tried again.
_REMEMBERED = 1 << 20


class KernelSearch:
    """Proposes schedules of a kernel that were not measured before, in this run or an earlier one.

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
        self._context = self._start(ms.search_strategy.ReplayTrace())

    def evolve(self) -> None:
        """From now on, evolve the best schedules, with the model as judge."""
        if self._evolving or self.model is None:
            return
        self._evolving = True
        # Its population (512 in MetaSchedule) is in proportion to what is measured, or it costs more than that.
        population = max(32, min(512, 8 * self.batch))
        self._context = self._start(
            ms.search_strategy.EvolutionarySearch(population_size=population, genetic_num_iters=3)
        )

    def _start(self, strategy: ms.search_strategy.SearchStrategy) -> ms.TuneContext:
        context = ms.TuneContext(
            mod=self.kernel.mod,
            target=self.target,
            space_generator="post-order-apply",
            search_strategy=strategy,
            task_name=self.kernel.name,
            rand_state=int(self._random.randint(1, 2**30)),
            num_threads=self.threads,
        )
        context.pre_tuning(_ENDLESS, self.batch, database=self.store, cost_model=self.model)
        return context

    def propose(self, count: int) -> list[MeasureCandidate]:
        """New schedules, at most ``count``, and fewer only where the search finds no more. ``exhausted`` tells then."""
        found: list[MeasureCandidate] = []
        idle = 0
        while len(found) < count and not self.exhausted:
            before = len(found)
            for candidate in self._context.generate_measure_candidates() or []:
                text = str(candidate.sch.trace)
                if text not in self._seen and len(found) < count:
                    self._seen.add(text)
                    found.append(candidate)
            idle = idle + 1 if len(found) == before else 0
            self.exhausted = idle == _PATIENCE
        return found

    def learn(self, candidates: Sequence[MeasureCandidate], results: Sequence[ms.runner.RunnerResult]) -> None:
        """Take in what was measured of the proposals; the model learns from it."""
        self._context.notify_runner_results(list(candidates), list(results))
        if self.model is not None and candidates:
            self.model.update(self._context, list(candidates), list(results))
