"""Tuning records on disk: a MetaSchedule database directory, opened with care.

TVM's own reader stops at the first damaged line, takes every target's records for ours, and loads every record.
"""

from __future__ import annotations

from pathlib import Path

from tvm.target import Target

from tvm_eqsat.cost.store import KernelStore
from tvm_eqsat.cost.store.format import RECORDS, WORKLOADS

from .errors import TVMCException


def open_database(directory: str | Path, target: Target) -> KernelStore:
    """The records that were measured for a target, ready for ``MetaScheduleApplyDatabase``.

    A kernel's schedule for this number of cores is preferred, else one for another is used: it generates code for the
    same CPU, and is far better than none.

    Raises
    ------
    TVMCException
        There is no such directory, or it isn't a database.
    """
    return KernelStore(checked_directory(directory), target)


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
