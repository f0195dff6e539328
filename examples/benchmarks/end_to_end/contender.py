"""One way through TVM in a comparison: its kernels are tuned with a budget, its records kept, its effort counted."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tvm.target import Target

import tvmc
from tvm_eqsat.cost.store.format import RECORDS
from tvm_eqsat.files import write_atomically
from tvm_eqsat.options import EqSatOptions

#: A budget of seconds counts as used up when less than this share of it is left.
_REST = 0.05
_CONTINUED = "+continued"

Tune = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Effort:
    """What tuning has cost so far.

    Attributes
    ----------
    trials : int
        Schedules that were measured, or failed.
    seconds : float
        Wall time from the imported module on: saturation and extraction, if any, search, builds and measurements.
    """

    trials: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Contender:
    """One way to tune and compile a model.

    Parameters
    ----------
    model : tvmc.TVMCModel
        The model, after the passes that come before tuning.
    target : tvm.target.Target
        The target.
    folder : pathlib.Path
        Of its tuning records; what it cost so far is kept beside it, so that an interrupted run goes on.
    prepack : bool
        Whether kernels choose the layout of their weights.
    eqsat : EqSatOptions, optional
        Options of the pass, which shares the budget. Without, only MetaSchedule's own schedules are tried.
    seed : int
        Of the search.
    """

    model: tvmc.TVMCModel
    target: Target
    folder: Path
    prepack: bool = False
    eqsat: EqSatOptions | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """What it is called where it is continued, too."""
        return self.folder.name.removesuffix(_CONTINUED)

    @property
    def _ledger(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.json")

    def effort(self) -> Effort:
        """What was spent so far, also by a process that was killed while it tuned."""
        if not self._ledger.is_file():
            return Effort()
        known = json.loads(self._ledger.read_text(encoding="utf-8"))
        trials, seconds, started = int(known["trials"]), float(known["seconds"]), known["started"]
        records = self.folder / RECORDS
        if started is not None and records.is_file():
            seconds += max(0.0, records.stat().st_mtime - started)
            trials = max(trials, len(records.read_bytes().splitlines()))
        return Effort(trials, seconds)

    def tune(self, trials: int, tune: Tune = tvmc.tune) -> Effort:
        """Tune until so many trials are done, all runs together.

        Raises
        ------
        KeyboardInterrupt
            It was interrupted; everything measured is kept.
        """
        before = self.effort()
        if before.trials >= trials:
            return before
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._write(before, started=time.time())
        clock = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            done = tune(
                self.model,
                self.target,
                self.folder,
                trials=trials - before.trials,
                weight_prepack=self.prepack,
                eqsat=self.eqsat,
                register_tiles=self.eqsat is not None,
                seed=self.seed + before.trials,  # not the same schedules again
            )
        after = Effort(before.trials + int(done["trials"]), before.seconds + time.perf_counter() - clock)
        self._write(after, started=None)
        if done.get("interrupted"):
            raise KeyboardInterrupt
        return after

    def continued(self) -> Contender:
        """The same with records of its own, which begin with these: further trials leave these as they are."""
        other = replace(self, folder=self.folder.with_name(self.name + _CONTINUED))
        if not other._ledger.is_file():
            shutil.copytree(self.folder, other.folder, dirs_exist_ok=True)
            other._write(self.effort(), started=None)
        return other

    def tune_until(self, seconds: float, tune: Tune = tvmc.tune) -> Effort:
        """Tune on until so many seconds are spent, all runs together, at the rate of trials so far."""
        effort = self.effort()
        while effort.trials and seconds - effort.seconds > _REST * seconds:
            more = int((seconds - effort.seconds) * effort.trials / effort.seconds)
            before, effort = effort, self.tune(effort.trials + max(1, more), tune)
            if effort.trials == before.trials:
                break  # nothing is left to try
        return effort

    def compile(self, library: Path) -> dict[str, Any]:
        """Compile with the best schedules so far; returns what ``tvmc compile`` knows of the library."""
        with contextlib.redirect_stdout(sys.stderr):
            package = tvmc.compile(
                self.model,
                self.target,
                tuning_records=self.folder,
                weight_prepack=self.prepack,
                eqsat=self.eqsat,
                package_path=library,
            )
        return dict(package.metadata)

    def _write(self, effort: Effort, *, started: float | None) -> None:
        write_atomically(self._ledger, json.dumps({**asdict(effort), "started": started}))
