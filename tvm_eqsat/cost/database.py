"""Measured prices, from a MetaSchedule database directory."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from tvm.target import Target, codegen

from ..errors import OptionError
from .lower import Kernel
from .machine import Machine
from .pricer import Price

logger = logging.getLogger("tvm_eqsat.cost.database")

_FAILED = 1e9  # MetaSchedule writes 1e10 seconds for a candidate that didn't run


class DatabasePricer:
    """Prices kernels by the best latency recorded for this very target.

    The directory is read once, without loading a single module: a workload's line carries its structural hash.
    (``JSONDatabase`` compares whole modules one after another, and answers with records of any target.)

    Parameters
    ----------
    work_dir : str or pathlib.Path
        Directory with ``database_workload.json`` and ``database_tuning_record.json``.
    target : tvm.target.Target
        Records of other targets are left out.
    machine : Machine
        Its overhead is added to each latency, which doesn't include the call.

    Attributes
    ----------
    source : str
        ``"measured"``.
    skipped : int
        Lines that can't be read.
    foreign : int
        Records of another target.

    Raises
    ------
    OptionError
        There is no such directory, or it holds no database.
    """

    source = "measured"

    def __init__(self, work_dir: str | Path, target: Target, machine: Machine) -> None:
        self.skipped = self.foreign = 0
        self._overhead = machine.overhead
        self._best: dict[int, float] = {}
        folder = Path(work_dir)
        paths = [folder / "database_workload.json", folder / "database_tuning_record.json"]
        if not all(path.is_file() for path in paths):
            raise OptionError(
                f"{folder} holds no MetaSchedule database: it needs {paths[0].name} and {paths[1].name}, "
                "which `tvmc tune` and ms.relax_integration.tune_relax write"
            )
        hashes = [int(line[0]) if line else None for line in self._lines(paths[0], _is_workload)]
        wanted = _identity(target)
        for record in self._lines(paths[1], lambda line: _is_record(line, len(hashes))):
            if record is None or (key := hashes[record[0]]) is None:
                continue
            latencies, recorded = record[1][1:3]
            if _identity_of_json(json.dumps(recorded, sort_keys=True)) != wanted:
                self.foreign += 1
            elif latencies and (mean := fmean(latencies)) < self._best.get(key, _FAILED):
                self._best[key] = mean
        if self.skipped or self.foreign:
            logger.warning("%s: %d unreadable lines, %d records of other targets", folder, self.skipped, self.foreign)

    def __len__(self) -> int:
        return len(self._best)

    def price(self, kernel: Kernel) -> Price | None:
        """The best measured latency, or None if this kernel was never measured on this target."""
        found = self._best.get(kernel.hash) if kernel.mod is not None else None
        return None if found is None else Price(found + self._overhead, self.source)

    def _lines(self, path: Path, valid: Any) -> Iterator[Any]:
        """Each line's value, None for one that can't be read, so that positions stay right."""
        for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            if not text:
                continue
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            if line is None or not valid(line):
                self.skipped += 1
                line = None
            yield line


def _is_workload(line: Any) -> bool:
    return isinstance(line, list) and len(line) == 2 and isinstance(line[0], str) and line[0].isdigit()


def _is_record(line: Any, workloads: int) -> bool:
    """``[workload, [trace, latencies or null, target, arguments]]``."""
    return (
        isinstance(line, list)
        and len(line) == 2
        and isinstance(line[0], int)
        and 0 <= line[0] < workloads
        and isinstance(line[1], list)
        and len(line[1]) >= 3
        and (line[1][1] is None or _are_latencies(line[1][1]))
        and isinstance(line[1][2], dict)
    )


def _are_latencies(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(v, int | float) and v > 0 for v in values)


@lru_cache(maxsize=64)
def _identity_of_json(text: str) -> str:
    try:
        return _identity(Target(json.loads(text)))
    except Exception:  # a target of another TVM version: whatever it raises, the record isn't ours
        return ""


def _identity(target: Target) -> str:
    """What of a target decides the code and its speed."""
    attributes = dict(target.export())
    triple = str(attributes.pop("mtriple", "")) or codegen.llvm_get_system_triple()
    for name in ("tag", "keys", "host"):
        attributes.pop(name, None)
    return json.dumps({**attributes, "architecture": triple.split("-")[0]}, sort_keys=True, default=str)
