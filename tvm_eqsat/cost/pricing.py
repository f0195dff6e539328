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

__all__ = ["KernelPricer", "ModulePrice", "Price", "Row", "price_kernels", "price_module", "pricer_for"]


def pricer_for(target: Target, database: str | Path = "") -> KernelPricer:
    """The best pricer that there is for a target.

    Parameters
    ----------
    target : tvm.target.Target
        The target.
    database : str or pathlib.Path
        A MetaSchedule database directory, asked first; empty for none.

    Returns
    -------
    KernelPricer
        It knows every kernel.

    Raises
    ------
    OptionError
        There is no database in that directory.
    """
    machine = machine_for(target)
    roofline = RooflinePricer(machine)
    return Chain(DatabasePricer(database, target, machine), roofline) if str(database) else roofline


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
    rows = []
    for kernel in found:
        price = pricer.price(kernel)
        if price is None:
            raise MeasurementError(
                f"no pricer knows the kernel {kernel.name}: put a RooflinePricer at the end of the Chain"
            )
        rows.append(Row(kernel, price))
    return ModulePrice(tuple(rows))
