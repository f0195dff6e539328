"""The learned pricer: how far from the roofline a tuned kernel ends up.

On an AMD EPYC (Zen 3), one thread of a machine that was busy with other work, 200 kernels of ten models before and
after rewriting, best of up to 16 random schedules each, 1,120 in all; every model predicted from the others
(``examples/benchmarks/predictor.py --collect --minutes 8``):

=====================================  =========  ========
figure                                 predictor  roofline
=====================================  =========  ========
rank correlation (Spearman)            0.968      0.927
median absolute relative error         22 %       44 %
within two standard deviations         91 %
=====================================  =========  ========

Two halves of a kernel's own trials disagree by 18 % in their best (median), so much of the error is in the data. Some
models are priced worse, far from all others in the data: NasRNN (37 %), VGG-19 (35 %). Shallower trees are no
better; the mean of the trees and of a Gaussian process gains too little for a second model.

Labels decide. Of records from nine tunings at different times of a busy machine, each model's kernels are off by a
factor of its own, 0.5 to 2, and the error is 30 to 40 %, whatever the trees. The same kernels measured again in one
quiet run (two threads; 397 kernels, sums of products as they were tuned best, the others after up to four trials):
24 % (the roofline's: 36 %), rank correlation 0.949. Worst are what no other model has: grouped convolutions of
ShuffleNet (41 %) and the products of vectors of NasRNN (44 %).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from math import inf
from pathlib import Path

import numpy as np
from tvm.target import Target

from ...errors import FormatError, OptionError
from ...files import write_atomically
from ..database import Database, index_of
from ..features import FEATURES, features
from ..lower import Kernel
from ..machine import Machine
from ..pricer import Price, RooflinePricer
from ..roofline import Kind
from ..roofline import seconds as roofline_seconds
from .ensemble import Ensemble
from .records import Records, Sample

logger = logging.getLogger("tvm_eqsat.cost.predict")

_FORMAT = 1
#: Kernels below which the roofline is as good a guess as anything that could be learned.
MINIMUM = 24
#: New trials over old ones from which on learning again pays.
_GROWTH = 1.1
_COLUMNS = (*FEATURES, "log2_trials")
#: Seconds below which the time of a kernel is that of calling it.
_FLOOR = 2e-7
#: Sums of products that reuse what they read: the tile decides how fast they are.
_TILED = (Kind.DENSE, Kind.SLIDING, Kind.STRIDED, Kind.TRANSPOSED, Kind.GROUPED)


class Predictor:
    """Prices kernels by what was learned from others on the same machine.

    It learns the logarithm of measured latency over roofline time. Until it has learned from enough kernels, its prices
    are the roofline's, and say so.

    Parameters
    ----------
    machine : Machine
        The figures of the target that kernels were measured on.
    trials : int
        Prices are for kernels tuned with so many trials, or as many as the most that was learned from, if that is less.
    """

    def __init__(self, machine: Machine, *, trials: int = 64) -> None:
        if trials < 1:
            raise OptionError(f"prices for {trials} trials were asked for; the least is 1")
        self.machine = machine
        self.trials = trials
        self._kernels = 0
        self._ensemble: Ensemble | None = None
        self._records: Records | None = None
        self._seed = 0
        self._learned = -1  # trials of the records at the last training; -1 if they changed since
        self._roofline = RooflinePricer(machine)
        self._answers: dict[tuple[int, int], tuple[float, float]] = {}

    @classmethod
    def from_records(
        cls, database: Database, target: Target, machine: Machine, *, trials: int = 64, seed: int = 0
    ) -> Predictor:
        """A predictor that learns from all records of a target, as soon as it is first asked for a price.

        Parameters
        ----------
        database : str, pathlib.Path, KernelStore or Index
            The directory of a MetaSchedule database, an open store, or the index of either.
        target : tvm.target.Target
            Records of other targets are left out.
        machine : Machine
            The figures of that target.
        trials : int
            As for the class.
        seed : int
            Of the training.

        Raises
        ------
        OptionError
            There is no database in that directory.
        """
        predictor = cls(machine, trials=trials)
        predictor._records = Records(index_of(database, target))
        predictor._seed = seed
        return predictor

    def refresh(self) -> None:
        """Learn anew when next asked, if there are a tenth more trials than there were the last time."""
        if self._records is not None:
            self._records.refresh()
            if self._records.trials >= _GROWTH * self._learned:
                self._learned = -1

    @property
    def source(self) -> str:
        """``"predicted"``, or ``"roofline"`` until enough is learned."""
        return "predicted" if self._trained() is not None else self._roofline.source

    @property
    def kernels(self) -> int:
        """How many kernels it has learned from."""
        self._trained()
        return self._kernels

    def price(self, kernel: Kernel) -> Price:
        """The price of one call; the roofline's for a call of something that isn't TIR."""
        ensemble = self._trained()
        if ensemble is None or kernel.mod is None:
            return self._roofline.price(kernel)
        return Price(self._answer(ensemble, kernel)[0] + self.machine.added(kernel.work.carried), "predicted")

    def uncertainty(self, kernel: Kernel) -> float:
        """Standard deviation of the measured latency around the price, relative to it.

        Three things add up: what measurements of known kernels leave unexplained, how much the trees disagree, and how
        far the kernel is from everything that was learned.
        """
        ensemble = self._trained()
        if ensemble is None or kernel.mod is None:
            return self._roofline.uncertainty(kernel)
        return self._answer(ensemble, kernel)[1]

    def fit(
        self, kernels: Sequence[Kernel], seconds: Sequence[float], trials: Sequence[int] | None = None, *, seed: int = 0
    ) -> None:
        """Learn, and forget what was learned before.

        Parameters
        ----------
        kernels : sequence of Kernel
            Kernels that have a ``mod``. A kernel may come several times, with several numbers of trials.
        seconds : sequence of float
            The best latency of each, without the overhead of the call.
        trials : sequence of int, optional
            The number of trials of which that was the best; :attr:`trials` if not given.
        seed : int
            Of the resampling: equal data and seeds give equal predictions.

        Raises
        ------
        OptionError
            The sequences have different lengths, a latency isn't a positive number, or a number of trials isn't.
        """
        tried = [self.trials] * len(kernels) if trials is None else list(trials)
        if not len(kernels) == len(seconds) == len(tried):
            raise OptionError(f"{len(kernels)} kernels, {len(seconds)} latencies and {len(tried)} numbers of trials")
        if not all(0 < s < float("inf") for s in seconds) or not all(n >= 1 for n in tried):
            raise OptionError("latencies must be positive numbers, and numbers of trials 1 or more")
        hashes = np.array([k.hash for k in kernels], np.uint64)
        distinct, counts = np.unique(hashes, return_counts=True)
        self._answers.clear()
        self._ensemble, self._kernels = None, len(distinct)
        if self._kernels < MINIMUM:
            logger.info("%d kernels are too few to learn from: prices are the roofline's", self._kernels)
            return
        rows = np.array([self._row(k, n) for k, n in zip(kernels, tried, strict=True)])
        ratios = np.log([s / self._base(k) for k, s in zip(kernels, seconds, strict=True)])
        weights = 1 / counts[np.searchsorted(distinct, hashes)]
        self._ensemble = Ensemble.fit(rows, ratios, hashes, weights, falling=len(FEATURES), seed=seed)

    def fit_samples(self, samples: Sequence[Sample], *, seed: int = 0) -> None:
        """Learn what all trials of each kernel find, and what half of them find, and a quarter."""
        kernels, seconds, trials = [], [], []
        for sample in samples:
            succeeded = sum(t < inf for t in sample.trials)
            for count in {succeeded, succeeded // 2, succeeded // 4} - {0}:
                kernels.append(sample.kernel)
                seconds.append(sample.expected(count))
                trials.append(max(1, round(count * len(sample.trials) / succeeded)))
        self.fit(kernels, seconds, trials, seed=seed)

    @property
    def importance(self) -> dict[str, float]:
        """Each feature's share in what was learned, the greatest first; empty if nothing was."""
        ensemble = self._trained()
        if ensemble is None:
            return {}
        shares = zip(_COLUMNS, ensemble.importance.tolist(), strict=True)
        return dict(sorted(shares, key=lambda item: -item[1]))

    def save(self, path: str | Path) -> None:
        """Write everything to one JSON file, atomically; each member of the ensemble is xgboost's own JSON."""
        ensemble = self._trained()
        value = {
            "format": _FORMAT,
            "features": _COLUMNS,
            "machine": asdict(self.machine),
            "trials": self.trials,
            "kernels": self._kernels,
            "ensemble": None if ensemble is None else ensemble.to_json(),
        }
        write_atomically(path, json.dumps(value))

    @classmethod
    def load(cls, path: str | Path, machine: Machine) -> Predictor:
        """Read what :meth:`save` wrote.

        Raises
        ------
        FormatError
            The file isn't a predictor, is damaged, or was written by another version of this package.
        OptionError
            There is no such file, or it holds a predictor for another machine.
        """
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as err:
            raise OptionError(f"can't read the predictor {path}: {err.strerror}") from err
        except ValueError as err:
            raise FormatError(f"{path} is not a predictor, or damaged: {err}; train it again") from err
        again = "train it again from the tuning records"
        if not isinstance(value, dict) or value.get("format") != _FORMAT or value.get("features") != list(_COLUMNS):
            raise FormatError(f"{path} is not a predictor of this version of tvm-eqsat; {again}")
        if value.get("machine") != asdict(machine):
            raise OptionError(f"{path} was learned on another machine, or with other figures of this one; {again}")
        try:
            found = cls(machine, trials=int(value["trials"]))
            found._kernels = int(value["kernels"])
            if value["ensemble"] is not None:
                found._ensemble = Ensemble.from_json(value["ensemble"], len(_COLUMNS))
        except (KeyError, TypeError, ValueError) as err:
            raise FormatError(f"{path} is damaged: {err}; {again}") from err
        return found

    def _trained(self) -> Ensemble | None:
        """What is learned by now, None if that is too little."""
        if self._records is not None and self._learned < 0:
            self._learned = self._records.trials
            self.fit_samples(self._records.samples(), seed=self._seed)
        return self._ensemble

    def _answer(self, ensemble: Ensemble, kernel: Kernel) -> tuple[float, float]:
        """Seconds, and their relative standard deviation."""
        key = kernel.hash, self.trials
        if (found := self._answers.get(key)) is None:
            mean, deviation = ensemble.predict(self._row(kernel, self.trials)[None])
            found = float(self._base(kernel) * np.exp(mean[0])), float(np.sqrt(np.expm1(deviation[0] ** 2)))
            self._answers[key] = found
        return found

    def _row(self, kernel: Kernel, trials: int) -> np.ndarray:
        return np.append(features(kernel, self.machine), np.float32(np.log2(trials)))

    def _base(self, kernel: Kernel) -> float:
        """The roofline's time, but that a sum of products computes as fast as its register tile allows: seconds."""
        work = kernel.work
        described = dict(zip(FEATURES, features(kernel, self.machine).tolist(), strict=True))
        if described["tiled"] and work.kind in _TILED:
            work = replace(work, kind=Kind.DENSE, width=0, flops=work.flops / 2 ** described["tile_speed"])
        return roofline_seconds(self.machine, work) + _FLOOR
