"""The kernel database: a MetaSchedule database directory that survives its writers."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from tvm.ir.utils import derived_object
from tvm.s_tir.meta_schedule.database import PyDatabase, TuningRecord, Workload
from tvm.target import Target

from ...errors import OptionError
from ...ffi_errors import register_errors
from . import format as fmt
from .conditions import Provenance, Settings, target_identity, this_host, this_version
from .index import Entry, Index, Measured
from .lines import dumps, locked
from .load import load_record, load_workload, record_body

logger = logging.getLogger("tvm_eqsat.cost.store")

register_errors()


@derived_object
class KernelStore(PyDatabase):
    """A MetaSchedule database on disk, for ``database=`` of its tuners and for ``with store:``.

    The files are those of ``JSONDatabase``, which reads what this class wrote, so ``MetaScheduleApplyDatabase``
    and all other tools do. What they can't hold, where and how a latency was measured, is in a third file. What
    ``JSONDatabase`` lacks:

    - Only records of this target are served, those of this number of cores, host, version of TVM and settings before
      all others; only they count for :meth:`best`.
    - Any number of processes may read, and add, at once. (A ``JSONDatabase`` that adds to the same directory at the
      same time takes no lock and numbers the kernels on its own: nothing can be done about that here.)
    - A process may be killed at any moment: each line is written at once, after all that it refers to. A trial whose
      :meth:`commit_tuning_record` has returned isn't lost, unless the machine itself fails within seconds.
    - A line that can't be read is skipped and counted, keeps its place, and is never deleted; half a line is ended
      before anything is added. ``JSONDatabase`` gives up at such lines:
      :func:`~tvm_eqsat.cost.store.copy_records` makes a copy without them.
    - The modules and traces are only loaded when TVM asks for them.

    In one process, one thread at a time may use a store.

    Parameters
    ----------
    work_dir : str or pathlib.Path
        The directory; it is made if need be.
    target : tvm.target.Target
        The target that is tuned for.
    settings : Settings, optional
        How latencies are measured: noted with what is added, and latencies that were measured otherwise don't count.
        If not given, nothing is noted, and all count.
    host : str, optional
        Where latencies are measured, by default on this machine. Empty if nobody knows, as with a remote device.
    trust_unknown_host : bool
        Whether latencies count that were recorded by other tools, which don't note where. By default they do: people
        pass directories that they have made on the machine in front of them. Records of another target, or about
        kernels that another version of TVM wrote, don't count even so.

    Attributes
    ----------
    skipped : int
        Lines that can't be read.
    foreign : int
        Records of another target, host or version of TVM, or measured with other settings.

    Raises
    ------
    OptionError
        The directory can't be made or read.
    MeasurementError
        Raised by what adds a line, if it can't be written.
    """

    def __init__(
        self,
        work_dir: str | Path,
        target: Target,
        *,
        settings: Settings | None = None,
        host: str | None = None,
        trust_unknown_host: bool = True,
    ) -> None:
        super().__init__()
        self.folder = Path(work_dir)
        self.target = target
        self.provenance = Provenance((this_host() if host is None else host) or None, this_version(), settings)
        self._workloads: dict[int, Workload | None] = {}
        self._generation = 0
        self._unloadable: set[int] = set()  # where the lines of records start that this TVM can't load
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in (fmt.WORKLOADS, fmt.RECORDS):
                (self.folder / name).open("ab" if os.access(self.folder, os.W_OK) else "rb").close()
            self._index = Index(self.folder, target, self.provenance, trust_unknown_host)
        except OSError as err:
            raise OptionError(f"{self.folder} can't be used as a kernel database: {err.strerror}") from err
        self._index.report(logger)

    @property
    def skipped(self) -> int:
        """Lines that can't be read."""
        unloadable = sum(workload is None for workload in self._workloads.values())
        return self._index.skipped + len(self._unloadable) + unloadable

    @property
    def foreign(self) -> int:
        """Records of another target, host or version of TVM, or measured with other settings."""
        return self._index.foreign

    def best(self, kernel_hash: int) -> Measured | None:
        """The best latency of a kernel under this store's conditions, from memory.

        Parameters
        ----------
        kernel_hash : int
            Its structural hash, :attr:`Kernel.hash <tvm_eqsat.cost.lower.Kernel.hash>`.
        """
        return self._index.best(kernel_hash)

    def refresh(self) -> None:
        """Take in what other processes have added; adding something does that, too."""
        self._refresh()

    def index_for(self, target: Target) -> Index:
        """The index behind :meth:`best`, which grows with the store.

        Raises
        ------
        OptionError
            The store is another target's.
        """
        if target_identity(target) != self._index.target:
            raise OptionError(f"the kernel database {self.folder} was opened for {self.target}, not for {target}")
        return self._index

    # -- what MetaSchedule calls ---------------------------------------------------------------------------------------

    def has_workload(self, mod: tvm.IRModule) -> bool:
        """Whether the kernel is in the database."""
        return bool(self._positions(mod))

    def commit_workload(self, mod: tvm.IRModule) -> Workload:
        """The kernel's entry, added if there is none."""
        places = self._positions(mod)
        if not places:
            with locked(self.folder):
                places = [self._place(Workload(mod))]
        return self._workload(places[0])

    def commit_tuning_record(self, record: TuningRecord) -> None:
        """Add a finished trial. It was measured where and how this store says; for its target, if it names none."""
        trace, latencies, target, arguments = record_body(record)
        body = dumps([trace, latencies, target or json.loads(str(self.target)), arguments])
        with locked(self.folder):
            position = self._place(record.workload)
            line = f"[{position},{body}]"
            key = fmt.key_of(self._index.hashes[position] or "", line.encode())
            # In this order: a trial of ours never lacks its provenance, and provenance without a trial says nothing.
            self._index.measurements.append(fmt.measurement(key, self.provenance))
            self._index.records.append(line)
            for entry in self._refresh():
                entry.record = record

    def get_top_k(self, workload: Workload, top_k: int) -> list[TuningRecord]:
        """The fastest schedules of a kernel, those that were measured under this store's conditions first."""
        entries = self._index.entries(*self._positions(workload.mod))
        return self._records((e for e in entries if e.scheduled and e.seconds < inf), int(top_k))

    def get_all_tuning_records(self) -> list[TuningRecord]:
        """All records of this target, for any number of cores, each loaded: a matter of milliseconds for each."""
        return self._records(self._index.entries(*self._index.all_positions()))

    def __len__(self) -> int:
        return self._index.records_of_target

    # -- kernels and records as TVM's objects --------------------------------------------------------------------------

    def _refresh(self) -> list[Entry]:
        new = self._index.refresh()
        if self._index.generation != self._generation:
            self._generation = self._index.generation
            self._workloads.clear()
            self._unloadable.clear()
        return new

    def _positions(self, mod: tvm.IRModule) -> list[int]:
        """The lines of a kernel: more than one only if another tool wrote it again."""
        shash = tvm_ffi.structural_hash(mod) & (2**64 - 1)
        found = [(p, self._workload(p)) for p in self._index.positions(shash)]
        return [p for p, workload in found if workload and tvm_ffi.structural_equal(workload.mod, mod)]

    def _place(self, workload: Workload) -> int:
        """The line of a kernel, added if there is none. The caller holds the lock."""
        self._refresh()
        places = self._positions(workload.mod)
        if places:
            return places[0]
        self._index.workloads.append(dumps(workload.as_json()))
        self._refresh()
        position = len(self._index.hashes) - 1
        self._workloads[position] = workload
        return position

    def _workload(self, position: int) -> Any:
        """The kernel of a line, None if this TVM can't load it."""
        if position not in self._workloads:
            workload = load_workload(self._index.workload(position))
            self._workloads[position] = workload
            if workload is None:
                logger.warning("%s: this TVM can't load the kernel in line %d", self.folder, position + 1)
        return self._workloads[position]

    def _records(self, entries: Iterable[Entry], limit: int | None = None) -> list[TuningRecord]:
        found: list[TuningRecord] = []
        for entry in entries:
            if limit is not None and len(found) >= limit:
                break
            record = self._record(entry)
            if record is not None:
                found.append(record)
        return found

    def _record(self, entry: Entry) -> Any:
        """The record of an entry, None if this TVM can't load it."""
        if entry.record is None and entry.offset not in self._unloadable:
            workload = self._workload(entry.workload)
            line = self._index.records.at(entry.offset, entry.size)
            if workload is not None and fmt.is_record(line, entry.workload + 1):
                entry.record = load_record(line[1], workload)
            if entry.record is None:
                if not self._unloadable:
                    logger.warning("%s: there are records that this TVM can't load", self.folder)
                self._unloadable.add(entry.offset)
        return entry.record
