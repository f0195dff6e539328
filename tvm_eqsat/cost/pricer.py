"""Pricers: what one call of a kernel costs.

A pricer answers, or says that it doesn't know; :class:`Chain` asks several in turn. That is the seam: measured
latencies first, a learned predictor next, the roofline last.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .lower import Kernel
from .machine import Machine
from .roofline import seconds


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


class Chain:
    """The first pricer that knows a kernel answers.

    Parameters
    ----------
    pricers : KernelPricer
        Best first.
    """

    def __init__(self, *pricers: KernelPricer) -> None:
        self.pricers = pricers
        self.source = ", else ".join(p.source for p in pricers)

    def price(self, kernel: Kernel) -> Price | None:
        """The first answer."""
        for pricer in self.pricers:
            found = pricer.price(kernel)
            if found is not None:
                return found
        return None
