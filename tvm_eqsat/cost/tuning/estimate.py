"""What kernels are expected to take once they are tuned, and how far that is in doubt."""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, sqrt
from typing import NamedTuple

from ...errors import MeasurementError
from ..calibration import Calibration
from ..lower import Kernel
from ..machine import Machine
from ..pricer import KernelPricer, RooflinePricer
from ..roofline import Kind, Work
from ..store import KernelStore

#: Of n schedules the best takes ``exp(c / sqrt(n))`` times as long as the limit, where c is the first of these for
#: kernels that sum something up, the second for all others. (SqueezeNet and ResNet-50, register tiles among them: 0.4
#: from 4 to 8 trials of all kernels, 1.2 from 4 to 16 of those that were thought worth it. Of random schedules alone it
#: is 1.6: means over all choices of 1 to 6 of 8 to 12 trials of 212 kernels of 13 models.)
HEADROOM = 0.8, 0.2
#: Standard deviation of c between kernels of a kind, relative to it (from the same data, 0.3 to 0.7).
SPREAD = 0.5


class Estimate(NamedTuple):
    """The latency that a kernel is expected to have once it is tuned.

    Attributes
    ----------
    seconds : float
        Of one call.
    deviation : float
        Its standard deviation, in seconds.
    measured : bool
        Whether the kernel has been measured at all.
    """

    seconds: float
    deviation: float
    measured: bool = True


class Estimates:
    """What kernels will take after some number of trials: measured ones with fewer are expected to improve.

    Otherwise a program would win because its kernels have had more trials. For the same reason roofline times, which
    nothing reaches, are scaled as measured kernels of this kind and size suggest.

    Parameters
    ----------
    store : KernelStore
        What was measured.
    pricer : KernelPricer
        Knows every kernel, measured or not.
    machine : Machine
        The figures of the target.
    trials : int
        The number of trials.
    """

    def __init__(self, store: KernelStore, pricer: KernelPricer, machine: Machine, trials: int) -> None:
        self.store = store
        self.pricer = pricer
        self.machine = machine
        self.trials = trials
        self._measured: dict[int, tuple[Work, float]] = {}
        self._calibration = Calibration(())

    def __call__(self, kernel: Kernel) -> Estimate:
        """The estimate for one call of a kernel."""
        price, uncertainty = self.pricer.price(kernel), self.pricer.uncertainty(kernel)
        if price is None or uncertainty is None:
            raise MeasurementError(f"no pricer knows the kernel {kernel.name}: end the Chain with a RooflinePricer")
        known = self.store.best(kernel.hash) if kernel.mod is not None else None
        overhead = self.machine.overhead
        if known is None:
            seconds = price.seconds
            if price.source == RooflinePricer.source:
                seconds = overhead + (seconds - overhead) * self._calibration.factor(kernel.work, self.machine)
            return Estimate(seconds, seconds * uncertainty, measured=False)
        seconds = price.seconds / gain(kernel.work, known.trials, self.trials)
        return Estimate(seconds, seconds * (uncertainty + doubt(kernel.work, known.trials, self.trials)))

    def learn(self, kernels: Iterable[Kernel]) -> None:
        """Take in what was measured of some kernels; until then, estimates of others don't depend on it."""
        for kernel in kernels:
            if kernel.mod is not None and self.store.best(kernel.hash) is not None:
                self._measured[kernel.hash] = (
                    kernel.work,
                    self(kernel).seconds - self.machine.added(kernel.work.carried),
                )
        self._calibration = Calibration(self._measured.values())


def gain(work: Work, trials: int, more: int) -> float:
    """How many times faster a kernel's best is expected to be after ``more`` trials than after ``trials``; 1 at least.

    Parameters
    ----------
    work : Work
        What the kernel does.
    trials : int
        Trials that it has had, 1 or more.
    more : int
        Trials that it will have had.
    """
    return exp(_exponent(work, trials, more))


def doubt(work: Work, trials: int, more: int) -> float:
    """The relative standard deviation of :func:`gain`."""
    return SPREAD * _exponent(work, trials, more)


def _exponent(work: Work, trials: int, more: int) -> float:
    headroom = HEADROOM[work.kind in (Kind.STREAM, Kind.SHUFFLE)]
    return headroom * max(0.0, 1 / sqrt(max(1, trials)) - 1 / sqrt(max(1, more)))
