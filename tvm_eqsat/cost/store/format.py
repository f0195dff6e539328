"""The lines of a MetaSchedule database directory, and of the file with what TVM's records lack."""

from __future__ import annotations

import re
from base64 import b64decode
from hashlib import blake2b
from typing import Any

from .conditions import Provenance
from .lines import Line, dumps

WORKLOADS = "database_workload.json"
RECORDS = "database_tuning_record.json"
#: One object a line: ``workload`` and ``record`` say which record, the rest is its :class:`Provenance`.
MEASUREMENTS = "eqsat_measurements.json"

#: Seconds. MetaSchedule writes 1e10 for a candidate that didn't run; nothing takes longer.
FAILED = 1e10

_VERSION = re.compile(rb'"tvm_version": "([^"]+)"')

Key = tuple[str, str]


def is_workload(value: Any) -> bool:
    """``[structural hash, module]``, both strings."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(part, str) for part in value)
        and value[0].isdecimal()
        and len(value[0]) <= 20
    )


def is_record(value: Any, workloads: int) -> bool:
    """``[number of the workload's line, [trace, latencies or null, target, arguments]]``."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], int)
        and 0 <= value[0] < workloads
        and isinstance(value[1], list)
        and len(value[1]) >= 3
        and (value[1][1] is None or _are_latencies(value[1][1]))
        and isinstance(value[1][2], dict)
    )


def _are_latencies(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(v, int | float) and 0 < v <= FAILED for v in values)


def is_scheduled(trace: Any) -> bool:
    """Whether a trace does anything before its post-processing; TVM leaves kernels alone otherwise."""
    try:
        return bool(trace[0][0][0] != "EnterPostproc")
    except (LookupError, TypeError):
        return False


def body_of(record: bytes) -> bytes:
    """A record's line after the number of its workload, which differs from directory to directory."""
    return record.partition(b",")[2].strip()


def key_of(shash: str, record: bytes) -> Key:
    """What a record is known by: its workload's structural hash, and a digest of its line."""
    return shash, blake2b(body_of(record), digest_size=16).hexdigest()


def version_of(module: str) -> str | None:
    """The version of TVM that wrote a workload's module, which ends with it."""
    try:
        found = _VERSION.search(b64decode(module[-160:]))
    except ValueError:
        return None
    return found[1].decode("utf-8", errors="replace") if found else None


def measurement(key: Key, provenance: Provenance) -> str:
    """The line that tells a record's provenance."""
    return dumps({"workload": key[0], "record": key[1], **provenance.to_json()})


def read_measurement(line: Line) -> tuple[Key, Provenance] | None:
    """The inverse of :func:`measurement`; None for any other line."""
    value = line.value
    if not isinstance(value, dict):
        return None
    key, provenance = (value.get("workload"), value.get("record")), Provenance.from_json(value)
    if provenance is None or not isinstance(key[0], str) or not isinstance(key[1], str):
        return None
    return (key[0], key[1]), provenance
