"""One budget for graph and kernels: first trials that decide which program to run, then trials that make it fast."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tvm import IRModule

from .cost.lower import Kernel, kernels
from .cost.tuning import Batch, KernelTuner
from .cost.tuning.estimate import Estimates
from .cost.tuning.explore import explore, leading
from .options import EqSatOptions
from .progress import Progress
from .rules.rule import RuleSet
from .run_report import TuningReport
from .selection import Selection
from .stages import Optimizer

log = logging.getLogger("tvm_eqsat")

#: Kernels are compared as they are expected to be after so many trials each. Which number that is hardly matters, as
#: long as it is the same for all.
_COMPARED_AT = 64


class JointOptimizer(Optimizer):
    """One run of the pass over one module, which tunes.

    Parameters
    ----------
    options : EqSatOptions
        The options.
    rules : RuleSet
        The rewrite rules.
    selection : Selection
        Finds candidates. Its pricer's prices come from the tuner's store, else from what is expected.
    tuner : KernelTuner
        Measures.
    trials : int
        The budget.
    stopping : callable
        Asked between batches whether to stop.
    """

    def __init__(
        self,
        options: EqSatOptions,
        rules: RuleSet,
        selection: Selection,
        tuner: KernelTuner,
        trials: int,
        stopping: Callable[[], bool],
    ) -> None:
        super().__init__(options, rules, selection)
        self.tuner = tuner
        self.trials = trials
        self.stopping = stopping
        self.estimates = Estimates(tuner.store, self.pricer, selection.machine, _COMPARED_AT)
        self.tuning = self.report.tuning = TuningReport()
        self._progress = Progress("tuning", trials, "trials", quiet=not options.progress)

    def run(self, mod: IRModule) -> IRModule:
        """Rewrite a module and tune its kernels; returns the very same one if nothing better was found."""
        self._stage("EqSatImport", self.read, mod)
        with self._progress:
            if self._layouts is not None:
                self._stage("EqSatLayouts", self.search_layouts, mod)
            self._stage("EqSatSaturate", self.saturate, mod)
            self._stage("EqSatExtract", self.extract, mod)
            self._stage("EqSatExplore", self.explore, mod)
            found = self._stage("EqSatEmit", self.emit, mod)
            found = self._stage("EqSatTune", self.tune, found)
        self.tuning.trials, self.tuning.failed = self.tuner.trials, self.tuner.failed
        stages = ("EqSatLayouts", "EqSatExplore", "EqSatTune")
        self.tuning.seconds = sum(self.report.stages.get(stage, 0.0) for stage in stages)
        self.tuning.interrupted = self.stopping()
        return found

    def search_layouts(self, mod: IRModule) -> None:
        """Spend trials on the forms of operators that ``layouts="joint"`` adds."""
        assert self._layouts is not None
        found = self._layouts.search(
            self.tuner, self.price, self.trials, on_batch=lambda batch: self._show(batch), stopping=self.stopping
        )
        self.tuning.add_forms(found.ratios)
        self.pricer.refresh()

    def explore(self, mod: IRModule) -> None:
        """Spend trials on the choice."""
        self.selection.lower(self.module.mod, self.work)
        races, trials = [work.race for work in self.work], self.trials - self.tuner.trials
        ahead = [race.programs[i] for race, i in zip(races, self._leading(trials), strict=True)]
        distinct = len({kernel.hash for program in ahead for kernel in program if kernel.mod is not None})
        self.tuner.plan(trials, distinct)
        done = explore(
            races,
            self.tuner,
            self.estimates,
            trials,
            renew=self._renew,
            on_batch=lambda batch: self._show(batch, self._expected()),
            stopping=self.stopping,
        )
        self.tuning.explored, self.tuning.rounds, self.tuning.settled = done.trials, done.rounds, done.settled

    def choose(self) -> None:
        """Decide by what the programs are expected to take once they are tuned, if there are trials left for that."""
        left = 0 if self.stopping() else self.trials - self.tuner.trials
        for work, program in zip(self.work, self._leading(left), strict=True):
            work.chosen = program
        self._remember()

    def tune(self, mod: IRModule) -> IRModule:
        """Tune the kernels of the module that was decided on; another program takes over if it measures faster."""
        found = kernels(mod, self.selection.target, prepack=self.options.prepack)
        self.tuner.tune(
            found,
            self.trials - self.tuner.trials,
            on_batch=lambda batch: self._show(batch, sum(k.count * self.price(k) for k in found)),
            stopping=self.stopping,
        )
        self.pricer.refresh()
        before = [work.chosen for work in self.work]
        for work in self.work:
            measured = self.measured(work)
            if work.chosen in measured:
                work.chosen = work.race.leader(self.price, measured)
        self._remember()
        if [work.chosen for work in self.work] == before:
            self.tell()
        else:
            mod = self.rebuilt()
            found = kernels(mod, self.selection.target, prepack=self.options.prepack)
        self.tuning.add_kernels(found, self.tuner.store)
        if self.tuning.untuned:
            log.warning("%d of %d kernels have no record: they stay untuned", self.tuning.untuned, len(found))
        return mod

    def price(self, kernel: Kernel) -> float:
        """Seconds of one call: as measured, else as expected."""
        if kernel.mod is None or self.tuner.store.best(kernel.hash) is None:
            return self.estimates(kernel).seconds
        return super().price(kernel)

    def _leading(self, left: int) -> list[int]:
        return leading([work.race for work in self.work], self.tuner, self.estimates, left)

    def _renew(self) -> bool:
        """Take in what was measured, and look for programs that are good by it."""
        self.pricer.refresh()
        new = self.selection.extend(self.work, lambda kernel: self.estimates(kernel).seconds)
        self.selection.lower(self.module.mod, self.work)
        return new

    def _remember(self) -> None:
        """Write down what was decided, for those who compile with these records."""
        if self.selection.decisions is not None:
            for work in self.work:
                self.selection.decisions.put(work.fingerprint, work.candidates[work.chosen].nodes)

    def _show(self, batch: Batch, total: float | None = None) -> None:
        best = self.tuner.store.best(batch.kernel.hash)
        latency = f"{best.seconds * 1e6:.1f} us" if best is not None else "failed"
        whole = "" if total is None else f"; end to end {total * 1e3:.3f} ms"
        self._progress.advance(batch.trials, f"{batch.kernel.name} {latency}{whole}")

    def _expected(self) -> float:
        """Seconds of the best programs, as far as is known."""
        return sum(work.race.copies * work.race.seconds(work.race.leader(self.price), self.price) for work in self.work)
