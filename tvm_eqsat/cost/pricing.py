"""Prices of whole modules: the sum over the kernels that TVM's fusion makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import tvm
from tvm.target import Target

from ..errors import MeasurementError
from .database import DatabasePricer
from .lower import Kernel, kernels
from .machine import machine_for
from .pricer import Chain, KernelPricer, Price, RooflinePricer
from .store import KernelStore

__all__ = ["KernelPricer", "ModulePrice", "Price", "Row", "price_kernel", "price_kernels", "price_module", "pricer_for"]


def pricer_for(target: Target, database: str | Path | KernelStore = "", *, trials: int = 64) -> Chain:
    """The best pricer that there is for a target: measured latencies, else learned ones, else the roofline.

    Parameters
    ----------
    target : tvm.target.Target
        The target.
    database : str, pathlib.Path or KernelStore
        A MetaSchedule database: its directory, or an open store, of which prices are always the latest; empty for none.
    trials : int
        What is learned are the latencies of kernels tuned with so many trials.

    Returns
    -------
    Chain
        It knows every kernel. After records were added, :meth:`~.pricer.Chain.refresh` takes them in.

    Raises
    ------
    OptionError
        There is no database in that directory, or the store is another target's.
    """
    machine = machine_for(target)
    roofline = RooflinePricer(machine)
    if not isinstance(database, KernelStore) and not str(database):
        return Chain(roofline)
    from .predict import Predictor  # it takes a second to load what it learns with

    measured = DatabasePricer(database, target, machine)
    return Chain(measured, Predictor.from_records(measured.index, target, machine, trials=trials), roofline)


class Row(NamedTuple):
    """One distinct kernel of a priced module."""

    kernel: Kernel
    price: Price

    @property
    def seconds(self) -> float:
        """Seconds of all its calls together."""
        return self.kernel.count * self.price.seconds


@dataclass(frozen=True)
class ModulePrice:
    """The predicted latency of a module: the sum over its kernels, which run one after the other.

    Attributes
    ----------
    rows : tuple of Row
        One for each distinct kernel.
    """

    rows: tuple[Row, ...]

    @property
    def seconds(self) -> float:
        """Predicted latency of one run."""
        return sum(row.seconds for row in self.rows)

    @property
    def calls(self) -> int:
        """Kernel calls of one run."""
        return sum(row.kernel.count for row in self.rows)

    def by_source(self) -> dict[str, float]:
        """Seconds by where their prices come from."""
        found: dict[str, float] = {}
        for row in self.rows:
            found[row.price.source] = found.get(row.price.source, 0.0) + row.seconds
        return found


def price_module(mod: tvm.IRModule, target: Target, pricer: KernelPricer) -> ModulePrice:
    """Predict the latency of a Relax module after TVM's own fusion.

    Parameters
    ----------
    mod : tvm.IRModule
        The module, not lowered.
    target : tvm.target.Target
        The target.
    pricer : KernelPricer
        Knows the price of every kernel (end a :class:`Chain` with a :class:`RooflinePricer`).

    Returns
    -------
    ModulePrice
        Total and parts.

    Raises
    ------
    MeasurementError
        The pricer doesn't know some kernel.
    """
    return price_kernels(kernels(mod, target), pricer)


def price_kernels(found: Sequence[Kernel], pricer: KernelPricer) -> ModulePrice:
    """Like :func:`price_module`, for kernels that were lowered before."""
    return ModulePrice(tuple(Row(kernel, price_kernel(kernel, pricer)) for kernel in found))


def price_kernel(kernel: Kernel, pricer: KernelPricer) -> Price:
    """The price of one call of a kernel.

    Raises
    ------
    MeasurementError
        The pricer doesn't know it.
    """
    price = pricer.price(kernel)
    if price is None:
        raise MeasurementError(
            f"no pricer knows the kernel {kernel.name}: put a RooflinePricer at the end of the Chain"
        )
    return price
