"""What a database directory says about one target on one host, without loading a single module."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from tvm.target import Target

from . import format as fmt
from .conditions import Provenance, recorded_identity, target_identity
from .lines import Line, LineFile


class Measured(NamedTuple):
    """What is known of a kernel's latency.

    Attributes
    ----------
    seconds : float
        The lowest mean latency of a schedule.
    spread : float or None
        Standard deviation of that schedule's repeats, in seconds; a single one tells none.
    trials : int
        Schedules that were tried, failed ones included.
    """

    seconds: float
    spread: float | None
    trials: int


@dataclass(slots=True)
class Entry:
    """A record of this target, for any number of cores.

    Attributes
    ----------
    workload : int
        The number of its workload's line.
    offset, size : int
        Where its line is, in bytes.
    seconds : float
        Its mean latency; infinite if the trial failed.
    counts : bool
        Whether it was measured under the wanted conditions.
    scheduled : bool
        Whether its trace does anything.
    record : Any
        The ``TuningRecord``, once somebody has asked for it.
    """

    workload: int
    offset: int
    size: int
    seconds: float
    counts: bool
    scheduled: bool
    record: Any = None


class Index:
    """The index of a database directory; grows with its files.

    Schedules for another number of cores are kept, since the code is the same, but their latencies don't count.

    It takes no lock: whatever a line refers to was written before it, and is read after it.

    Parameters
    ----------
    folder : pathlib.Path
        The directory.
    target : tvm.target.Target
        Records of other targets are left out.
    wanted : Provenance
        Where and how a latency must have been measured to count; None stands for anything.
    trust_unknown_host : bool
        Whether latencies count that nothing is known about (those of TVM's own tools) but their target, and the
        version of TVM that wrote the kernel.

    Attributes
    ----------
    skipped : int
        Lines that can't be read.
    foreign : int
        Records of another target, host or version of TVM, or measured with other settings.
    generation : int
        How often the files were replaced by others.
    hashes : list of str or None
        The structural hash of every workload, None for one that can't be read, so that positions stay right.
    """

    def __init__(self, folder: Path, target: Target, wanted: Provenance, trust_unknown_host: bool = True) -> None:
        self.wanted = wanted
        self.target = target_identity(target)
        self._code = target_identity(target, cores=False)
        self.workloads = LineFile(folder / fmt.WORKLOADS)
        self.records = LineFile(folder / fmt.RECORDS)
        self.measurements = LineFile(folder / fmt.MEASUREMENTS)
        self._trust = trust_unknown_host
        self._known: dict[str, tuple[str, str]] = {}  # identity and code of the targets seen so far
        self.generation = 0
        self._clear()
        self.refresh()

    def _clear(self) -> None:
        self.foreign = self._damaged = 0
        self.hashes: list[str | None] = []
        self._versions: list[str | None] = []
        self._lines: list[tuple[int, int]] = []
        self._positions: dict[int, list[int]] = {}
        self._entries: dict[int, list[Entry]] = {}
        self._counts: dict[fmt.Key, bool] = {}
        self._flushed: set[bool] = set()  # how those were measured that count
        self._best: dict[int, tuple[float, float | None]] = {}
        self._trials: Counter[int] = Counter()

    @property
    def skipped(self) -> int:
        """Lines that can't be read."""
        return self._damaged + sum(file.unfinished for file in (self.workloads, self.records, self.measurements))

    def report(self, logger: logging.Logger) -> None:
        """Warn of what was left out, and of latencies that don't compare, if there are any."""
        if self.skipped or self.foreign:
            logger.warning(
                "%s: %d lines can't be read; %d records of another target, host, TVM or way of measuring don't count",
                self.records.path.parent,
                self.skipped,
                self.foreign,
            )
        if len(self._flushed) > 1:
            logger.warning(
                "%s: some latencies were measured with flushed caches and some without, which don't compare; "
                "tune into a new directory to have all alike",
                self.records.path.parent,
            )

    def __len__(self) -> int:
        """The number of kernels with a latency."""
        return len(self._best)

    def best(self, shash: int) -> Measured | None:
        """What is known of the kernel with a structural hash, or None if no trial of it succeeded."""
        found = self._best.get(shash)
        return None if found is None else Measured(*found, self._trials[shash])

    @property
    def records_of_target(self) -> int:
        """The number of records of this target, for any number of cores."""
        return sum(map(len, self._entries.values()))

    def positions(self, shash: int) -> list[int]:
        """The numbers of the workload lines with a structural hash: one, unless two kernels share a hash."""
        return self._positions.get(shash, [])

    def entries(self, *positions: int) -> list[Entry]:
        """The records of some workloads: those that count first, the faster first among them."""
        found = [entry for position in positions for entry in self._entries.get(position, ())]
        return sorted(found, key=lambda entry: (not entry.counts, entry.seconds))

    def all_positions(self) -> Iterator[int]:
        """The numbers of the workload lines that have records."""
        return iter(self._entries)

    def workload(self, position: int) -> Any:
        """A workload's line, None if it is no longer there."""
        return self.workloads.at(*self._lines[position])

    def refresh(self) -> list[Entry]:
        """Take in what was added to the files, and return the new records; start over if the files were replaced."""
        files = self.records, self.measurements, self.workloads
        if any(file.replaced() for file in files):
            self.records, self.measurements, self.workloads = (LineFile(file.path) for file in files)
            self.generation += 1
            self._clear()
        records, measurements, workloads = self.records.read(), self.measurements.read(), self.workloads.read()
        for line in workloads:
            self._add_workload(line)
        for line in measurements:
            self._add_measurement(line)
        return [entry for line in records if (entry := self._add_record(line)) is not None]

    def _add_workload(self, line: Line) -> None:
        shash = version = None
        if fmt.is_workload(line.value):
            shash, version = line.value[0], fmt.version_of(line.value[1])
            self._positions.setdefault(int(shash), []).append(len(self.hashes))
        else:
            self._damaged += 1
        self.hashes.append(shash)
        self._versions.append(version)
        self._lines.append((line.offset, len(line.text)))

    def _add_measurement(self, line: Line) -> None:
        found = fmt.read_measurement(line)
        if found is None:
            self._damaged += 1
        else:
            self._counts[found[0]] = found[1].compares_with(self.wanted, self._trust)
            if self._counts[found[0]] and found[1].settings is not None:
                self._flushed.add(found[1].settings.cache_flush)

    def _add_record(self, line: Line) -> Entry | None:
        if not fmt.is_record(line.value, len(self.hashes)):
            self._damaged += 1
            return None
        position, (trace, latencies, target, *_) = line.value
        shash = self.hashes[position]
        if shash is None:  # the workload's line is counted already
            return None
        identity, code = self._identity(target)
        if code != self._code:
            self.foreign += 1
            return None
        counts = identity == self.target and self._counts.get(fmt.key_of(shash, line.text))
        if counts is None:
            counts = Provenance(tvm=self._versions[position]).compares_with(self.wanted, self._trust)
        seconds = fmean(latencies) if latencies else inf
        if seconds > fmt.FAILED / 10:
            seconds = inf
        entry = Entry(position, line.offset, len(line.text), seconds, counts, fmt.is_scheduled(trace))
        self._entries.setdefault(position, []).append(entry)
        if counts:
            self._count(int(shash), seconds, latencies)
        else:
            self.foreign += 1
        return entry

    def _identity(self, target: dict[str, Any]) -> tuple[str, str]:
        text = repr(target)
        if text not in self._known:
            self._known[text] = recorded_identity(target), recorded_identity(target, cores=False)
        return self._known[text]

    def _count(self, shash: int, seconds: float, latencies: list[float]) -> None:
        self._trials[shash] += 1
        if seconds < self._best.get(shash, (inf,))[0]:
            self._best[shash] = seconds, stdev(latencies) if len(latencies) > 1 else None
