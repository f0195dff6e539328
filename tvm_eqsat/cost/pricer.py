"""Pricers: what one call of a kernel costs.

A pricer answers, or says that it doesn't know; :class:`Chain` asks several in turn. That is the seam: measured
latencies first, a learned predictor next, the roofline last.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .lower import Kernel
from .machine import Machine
from .roofline import seconds

#: Relative standard deviation of measured latencies around the roofline's prices, for 218 kernels of 13 models
#: (``examples/benchmarks/predictor.py``).
ROOFLINE_UNCERTAINTY = 0.9


class Price(NamedTuple):
    """What one call of a kernel costs.

    Attributes
    ----------
    seconds : float
        Latency, with the overhead of the call.
    source : str
        Where the figure comes from: ``"measured"``, ``"roofline"``, …
    """

    seconds: float
    source: str


class KernelPricer(Protocol):
    """Anything that can price kernels for one target.

    Attributes
    ----------
    source : str
        Where its prices come from, for reports.
    """

    @property
    def source(self) -> str:
        """Where its prices come from, for reports."""

    def price(self, kernel: Kernel) -> Price | None:
        """The price of one call, or None if this pricer doesn't know."""

    def uncertainty(self, kernel: Kernel) -> float | None:
        """Standard deviation of the measured latency around the price, relative to it; None with :meth:`price`."""

    def refresh(self) -> None:
        """Take in what was measured since, if prices depend on that."""


class RooflinePricer:
    """Prices from arithmetic and traffic alone; knows every kernel.

    Parameters
    ----------
    machine : Machine
        Figures of the target.
    """

    source = "roofline"

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def price(self, kernel: Kernel) -> Price:
        """Roofline time, plus the overhead of a call."""
        return Price(seconds(self.machine, kernel.work) + self.machine.overhead, self.source)

    def uncertainty(self, kernel: Kernel) -> float:
        """:data:`ROOFLINE_UNCERTAINTY`."""
        return ROOFLINE_UNCERTAINTY

    def refresh(self) -> None:
        """Nothing: the roofline doesn't learn."""


class Chain:
    """The first pricer that knows a kernel answers.

    Parameters
    ----------
    pricers : KernelPricer
        Best first.
    """

    def __init__(self, *pricers: KernelPricer) -> None:
        self.pricers = pricers

    @property
    def source(self) -> str:
        """The sources in the order in which they are asked."""
        return ", else ".join(dict.fromkeys(p.source for p in self.pricers))

    def price(self, kernel: Kernel) -> Price | None:
        """The first answer."""
        for pricer in self.pricers:
            found = pricer.price(kernel)
            if found is not None:
                return found
        return None

    def uncertainty(self, kernel: Kernel) -> float | None:
        """The doubt of the pricer that answers."""
        for pricer in self.pricers:
            found = pricer.uncertainty(kernel)
            if found is not None:
                return found
        return None

    def refresh(self) -> None:
        """Let each pricer take in what was measured since."""
        for pricer in self.pricers:
            pricer.refresh()
