"""Records from one database directory to another, without what is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import tvm_ffi

from ...errors import OptionError
from . import format as fmt
from .conditions import Provenance
from .lines import Line, LineFile, locked
from .load import load_record, load_workload


class Copied(NamedTuple):
    """What was done.

    Attributes
    ----------
    workloads, records : int
        Lines that were added.
    skipped : int
        Records and kernels that this TVM can't load.
    """

    workloads: int
    records: int
    skipped: int


def copy_records(source: str | Path, destination: str | Path) -> Copied:
    """Add all that this TVM can load of one database directory to another, which may be new.

    Records of every target come along, and so does what is known of where and how they were measured; committing
    them to a ``KernelStore`` instead would say that they were measured here. What is there already isn't added again.
    Each record is loaded to try it, in a few milliseconds. Into a new directory, this repairs a database: TVM's
    ``JSONDatabase`` can read the copy.

    Parameters
    ----------
    source, destination : str or pathlib.Path
        The directories.

    Raises
    ------
    OptionError
        The source is no database directory, or the destination can't be made.
    MeasurementError
        The destination can't be written.
    """
    source, destination = Path(source), Path(destination)
    if not (source / fmt.WORKLOADS).is_file() or not (source / fmt.RECORDS).is_file():
        raise OptionError(f"{source} holds no MetaSchedule database: {fmt.WORKLOADS} or {fmt.RECORDS} is missing")
    try:
        destination.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OptionError(f"can't make the directory {destination}: {err.strerror}") from err
    have = _Contents(source)
    good = [line for line in have.records if load_record(line.value[1], have.workloads[line.value[0]]) is not None]
    skipped = have.skipped + len(have.records) - len(good)
    with locked(destination):
        for name in (fmt.WORKLOADS, fmt.MEASUREMENTS, fmt.RECORDS):
            LineFile(destination / name).append()  # ends half a line, which counts as one then
        there = _Contents(destination)
        added = _merge(have, good, there)
        for name, lines in added.items():
            LineFile(destination / name).append(*lines)
    return Copied(len(added[fmt.WORKLOADS]), len(added[fmt.RECORDS]), skipped)


class _Contents:
    """What this TVM can read of a directory, with all kernels loaded, but no record."""

    def __init__(self, folder: Path) -> None:
        files = [LineFile(folder / name) for name in (fmt.RECORDS, fmt.MEASUREMENTS, fmt.WORKLOADS)]
        records, measurements, self.lines = (list(file.read()) for file in files)
        self.workloads = [load_workload(line.value) for line in self.lines]
        self.records = [line for line in records if self._is_record(line.value)]
        self.provenance = dict(filter(None, map(fmt.read_measurement, measurements)))
        self.places: dict[Any, int] = {}
        for place, workload in enumerate(self.workloads):
            if workload is not None:
                self.places.setdefault(tvm_ffi.StructuralKey(workload.mod), place)
        self.skipped = self.workloads.count(None) + len(records) - len(self.records) + sum(f.unfinished for f in files)

    def _is_record(self, value: Any) -> bool:
        return fmt.is_record(value, len(self.workloads)) and self.workloads[value[0]] is not None

    def shash(self, place: int) -> str:
        return str(self.lines[place].value[0])

    def source(self, record: Line) -> Provenance:
        """Where and how a record was measured, as far as is known."""
        place = record.value[0]
        found = self.provenance.get(fmt.key_of(self.shash(place), record.text))
        return found or Provenance(tvm=fmt.version_of(self.lines[place].value[1]))


def _merge(have: _Contents, good: list[Line], there: _Contents) -> dict[str, list[str]]:
    """The lines to add to each file, what a line refers to before it."""
    workloads: list[str] = []
    places: dict[int, tuple[int, str]] = {}  # of our kernels over there, with the hashes that they have there
    for name, place in have.places.items():
        if name in there.places:
            places[place] = there.places[name], there.shash(there.places[name])
        else:
            places[place] = len(there.lines) + len(workloads), have.shash(place)
            workloads.append(have.lines[place].text.decode())
    known = {fmt.key_of(there.shash(line.value[0]), line.text) for line in there.records}
    measurements, records = [], []
    for line in good:
        first = have.places[tvm_ffi.StructuralKey(have.workloads[line.value[0]].mod)]
        place, shash = places[first]
        key = fmt.key_of(shash, line.text)
        if key not in known:
            known.add(key)
            measurements.append(fmt.measurement(key, have.source(line)))
            records.append(f"[{place},{fmt.body_of(line.text).decode()}")
    return {fmt.WORKLOADS: workloads, fmt.MEASUREMENTS: measurements, fmt.RECORDS: records}
