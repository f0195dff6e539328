"""Measured prices, from a MetaSchedule database directory."""

from __future__ import annotations

import logging
from pathlib import Path

from tvm.target import Target

from ..errors import OptionError
from .lower import Kernel
from .machine import Machine
from .pricer import Price
from .store import Index, KernelStore, Provenance, Settings, this_host, this_version
from .store.format import RECORDS, WORKLOADS

logger = logging.getLogger("tvm_eqsat.cost.database")


class DatabasePricer:
    """Prices kernels by the best latency recorded for this very target, on this host, with this version of TVM.

    A directory is read once, without loading a single module: a workload's line carries its structural hash.
    (``JSONDatabase`` compares whole modules one after another, and answers with records of any target.)

    Parameters
    ----------
    database : str, pathlib.Path or KernelStore
        Directory with ``database_workload.json`` and ``database_tuning_record.json``; or a store that is being tuned
        into, whose prices are always its latest and under its own conditions.
    target : tvm.target.Target
        Records of other targets are left out.
    machine : Machine
        Its overhead is added to each latency, which doesn't include the call.
    settings : Settings, optional
        Latencies that were measured otherwise are left out; by default, all count.
    trust_unknown_host : bool
        Whether records count that don't tell where they were measured (those of TVM's own tools).

    Attributes
    ----------
    source : str
        ``"measured"``.
    skipped : int
        Lines that can't be read.
    foreign : int
        Records of another target, host or version of TVM, or measured with other settings.

    Raises
    ------
    OptionError
        There is no such directory, or it holds no database; or the store is another target's.
    """

    source = "measured"

    def __init__(
        self,
        database: str | Path | KernelStore,
        target: Target,
        machine: Machine,
        *,
        settings: Settings | None = None,
        trust_unknown_host: bool = True,
    ) -> None:
        self._overhead = machine.overhead
        if isinstance(database, KernelStore):
            self._index = database.index_for(target)
            return
        folder = Path(database)
        if not all((folder / name).is_file() for name in (WORKLOADS, RECORDS)):
            raise OptionError(
                f"{folder} holds no MetaSchedule database: it needs {WORKLOADS} and {RECORDS}, "
                "which `tvmc tune` and ms.relax_integration.tune_relax write"
            )
        self._index = Index(folder, target, Provenance(this_host(), this_version(), settings), trust_unknown_host)
        self._index.report(logger)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def skipped(self) -> int:
        """Lines that can't be read."""
        return self._index.skipped

    @property
    def foreign(self) -> int:
        """Records of another target, host or version of TVM, or measured with other settings."""
        return self._index.foreign

    def price(self, kernel: Kernel) -> Price | None:
        """The best measured latency, or None if this kernel was never measured on this target."""
        found = self._index.best(kernel.hash) if kernel.mod is not None else None
        return None if found is None else Price(found.seconds + self._overhead, self.source)
