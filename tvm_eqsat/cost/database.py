"""Measured prices, from a MetaSchedule database directory."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeAlias

from tvm.target import Target

from ..errors import OptionError
from .lower import Kernel
from .machine import Machine
from .pricer import Price
from .store import Index, KernelStore, Measured, Provenance, Settings, this_host, this_version
from .store.format import RECORDS, WORKLOADS

logger = logging.getLogger("tvm_eqsat.cost.database")

#: Where measured latencies are: a directory; a store that is being tuned into; what is known of either.
Database: TypeAlias = str | Path | KernelStore | Index
#: Relative standard deviation of a latency that was measured once only: it says nothing of its own spread.
_ONE_REPEAT = 0.05


def index_of(
    database: Database,
    target: Target,
    settings: Settings | None = None,
    *,
    trust_unknown_host: bool = True,
) -> Index:
    """The index of a database: a new one of a directory, or the one of a store, which grows with it.

    Parameters
    ----------
    database : str, pathlib.Path, KernelStore or Index
        Directory with ``database_workload.json`` and ``database_tuning_record.json``; or an open store. An index of
        the same target is returned as it is.
    target : tvm.target.Target
        Records of other targets are left out.
    settings : Settings, optional
        Latencies that were measured otherwise are left out; by default, all count. A store has its own.
    trust_unknown_host : bool
        Whether records count that don't tell where they were measured. A store has its own answer.

    Raises
    ------
    OptionError
        There is no such directory, or it holds no database; or the store is another target's.
    """
    if isinstance(database, Index):
        return database
    if isinstance(database, KernelStore):
        return database.index_for(target)
    folder = Path(database)
    if not all((folder / name).is_file() for name in (WORKLOADS, RECORDS)):
        raise OptionError(
            f"{folder} holds no MetaSchedule database: it needs {WORKLOADS} and {RECORDS}, "
            "which `tvmc tune` and ms.relax_integration.tune_relax write"
        )
    index = Index(folder, target, Provenance(this_host(), this_version(), settings), trust_unknown_host)
    index.report(logger)
    return index


class DatabasePricer:
    """Prices kernels by the best latency recorded for this very target, on this host, with this version of TVM.

    A directory is read once, without loading a single module: a workload's line carries its structural hash.
    (``JSONDatabase`` compares whole modules one after another, and answers with records of any target.)

    Parameters
    ----------
    database : str, pathlib.Path, KernelStore or Index
        Directory with ``database_workload.json`` and ``database_tuning_record.json``; or a store that is being tuned
        into, whose prices are always its latest and under its own conditions; or the index of either.
    target : tvm.target.Target
        Records of other targets are left out.
    machine : Machine
        Says how much longer a kernel takes in a program than it was measured by itself.
    settings : Settings, optional
        Latencies that were measured otherwise are left out; by default, all count.
    trust_unknown_host : bool
        Whether records count that don't tell where they were measured (those of TVM's own tools).

    Attributes
    ----------
    source : str
        ``"measured"``.
    index : Index
        What the database says of the target.

    Raises
    ------
    OptionError
        There is no such directory, or it holds no database; or the store is another target's.
    """

    source = "measured"

    def __init__(
        self,
        database: Database,
        target: Target,
        machine: Machine,
        *,
        settings: Settings | None = None,
        trust_unknown_host: bool = True,
    ) -> None:
        self.index = index_of(database, target, settings, trust_unknown_host=trust_unknown_host)
        self._grow = database.refresh if isinstance(database, KernelStore) else self.index.refresh
        self._machine = machine

    def __len__(self) -> int:
        """The number of kernels with a latency."""
        return len(self.index)

    @property
    def skipped(self) -> int:
        """Lines that can't be read."""
        return self.index.skipped

    @property
    def foreign(self) -> int:
        """Records of another target, host or version of TVM, or measured with other settings."""
        return self.index.foreign

    def price(self, kernel: Kernel) -> Price | None:
        """The best measured latency, or None if this kernel was never measured on this target."""
        found = self.measured(kernel)
        return None if found is None else Price(found.seconds + self._machine.added(kernel.work.carried), self.source)

    def uncertainty(self, kernel: Kernel) -> float | None:
        """Relative spread of the best schedule's repeats. What more trials would find is not part of it."""
        found = self.measured(kernel)
        if found is None:
            return None
        return _ONE_REPEAT if found.spread is None else found.spread / found.seconds

    def measured(self, kernel: Kernel) -> Measured | None:
        """The best latency with its spread and the number of trials; a few trials rarely find the best schedule."""
        return self.index.best(kernel.hash) if kernel.mod is not None else None

    def refresh(self) -> None:
        """Take in what was added to the database."""
        self._grow()
