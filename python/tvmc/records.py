"""Tuning records on disk: a MetaSchedule database directory, read with care.

TVM's own reader stops at the first damaged line, and takes every target's records for ours. This one counts and skips
what it can't use.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm.s_tir import meta_schedule as ms
from tvm.target import Target
from tvm.target.codegen import llvm_get_system_triple

from tvm_eqsat.cost.store.format import RECORDS, WORKLOADS

from .errors import TVMCException

logger = logging.getLogger("TVMC")


_FAILED = 1e9  # seconds; MetaSchedule writes 1e10 for a kernel that couldn't be built or run


@dataclass
class Records:
    """Readable kernels, the records of one target about them, and how many lines were left out."""

    workloads: list[ms.database.Workload]
    records: list[ms.database.TuningRecord]
    damaged: int
    foreign: int


def read_records(directory: str | Path, target: Target) -> Records:
    """Every record of a MetaSchedule database directory that was measured for ``target``.

    A target matches when it generates the same code: any ``num-cores`` does.

    Raises
    ------
    TVMCException
        There is no such directory, or it isn't a database.
    """
    directory = checked_directory(directory)
    # Records point at lines, so a damaged one keeps its place.
    workloads = [_workload(line) for line in _lines(directory / WORKLOADS)]
    result = Records([w for w in workloads if w is not None], [], workloads.count(None), 0)
    wanted = _code_of(target)
    for line in _lines(directory / RECORDS):
        record = _record(line, workloads)
        if record is None:
            result.damaged += 1
        elif record.target is not None and _code_of(record.target) != wanted:
            result.foreign += 1
        else:
            result.records.append(record)
    return result


def checked_directory(directory: str | Path) -> Path:
    """The path of a database directory.

    Raises
    ------
    TVMCException
        There is no such directory, or it isn't a database.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise TVMCException(f"the tuning records '{directory}' are not a directory; make one with tvmc tune -o")
    for name in (WORKLOADS, RECORDS):
        if not (directory / name).is_file():
            raise TVMCException(f"'{directory}' holds no tuning records: {name} is missing")
    return directory


def is_database(directory: str | Path) -> bool:
    """Whether there are tuning records in a directory."""
    return all((Path(directory) / name).is_file() for name in (WORKLOADS, RECORDS))


def load_database(directory: str | Path, target: Target) -> ms.database.MemoryDatabase:
    """The fastest record of every kernel in the directory, ready for ``MetaScheduleApplyDatabase``.

    Raises
    ------
    TVMCException
        There is no such database.
    """
    found = read_records(directory, target)
    if found.damaged:
        logger.warning("%s: %d damaged lines were skipped", directory, found.damaged)
    if found.foreign:
        logger.warning("%s: %d records for other targets than %s were skipped", directory, found.foreign, target)
    database = ms.database.MemoryDatabase()
    copy_records(found, database)
    return database


def copy_records(found: Records, database: ms.database.Database) -> int:
    """Add all records of successful trials, and the kernels they are about, to a database; return their number."""
    good = [record for record in found.records if seconds_of(record) < _FAILED]
    for workload in found.workloads:
        database.commit_workload(workload.mod)
    for record in good:
        database.commit_tuning_record(record)
    return len(good)


def seconds_of(record: ms.database.TuningRecord) -> float:
    """The mean measured time; infinite when there is none."""
    times = [float(t) for t in record.run_secs or []]
    return sum(times) / len(times) if times else float("inf")


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from file


def _workload(line: str) -> ms.database.Workload | None:
    try:
        return ms.database.Workload.from_json(json.loads(line))
    except Exception as err:  # whatever TVM's reader stumbles on
        logger.debug("damaged workload: %s", err)
        return None


def _record(line: str, workloads: list[ms.database.Workload | None]) -> ms.database.TuningRecord | None:
    try:
        index, body = json.loads(line)
        workload = workloads[index] if index >= 0 else None
        return ms.database.TuningRecord.from_json(body, workload) if workload is not None else None
    except Exception as err:
        logger.debug("damaged record: %s", err)
        return None


def _code_of(target: Target) -> dict[str, Any]:
    """What of a target decides the code that is generated."""
    config = {"mtriple": llvm_get_system_triple()} if target.kind.name == "llvm" else {}
    config |= {key: str(value) for key, value in target.export().items()}
    return {key: value for key, value in config.items() if key not in ("num-cores", "tag", "keys", "host")}
