"""What there is to learn from: a MetaSchedule database, with every trial of every kernel."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path

from tvm.target import Target

from ...errors import OptionError
from ..kernel_work import work_of
from ..lower import Kernel
from ..store import Index, Provenance, Settings, this_host, this_version
from ..store.format import RECORDS, WORKLOADS
from ..store.load import load_workload


@dataclass(frozen=True)
class Sample:
    """A kernel and what its trials measured.

    Attributes
    ----------
    kernel : Kernel
        It is called ``kernel_`` and its hash: a database stores no names.
    trials : tuple of float
        Seconds, in the order of measurement; infinite for a trial that failed.
    """

    kernel: Kernel
    trials: tuple[float, ...]

    def best(self, trials: int | None = None) -> float:
        """The best latency among the first ``trials``, or all of them: seconds, infinite if none succeeded."""
        return min(self.trials[:trials], default=inf)


def read_samples(work_dir: str | Path, target: Target, settings: Settings | None = None) -> list[Sample]:
    """Every kernel of a database that was measured on this host for a target at least once.

    Parameters
    ----------
    work_dir : str or pathlib.Path
        Directory with ``database_workload.json`` and ``database_tuning_record.json``.
    target : tvm.target.Target
        Records of other targets are left out.
    settings : Settings, optional
        Latencies that were measured otherwise are left out; by default, all count.

    Returns
    -------
    list of Sample
        In the order of the database.

    Raises
    ------
    OptionError
        There is no such directory, or it holds no database.
    """
    folder = Path(work_dir)
    if not all((folder / name).is_file() for name in (WORKLOADS, RECORDS)):
        raise OptionError(f"{folder} holds no MetaSchedule database to learn from; `tvmc tune -o {folder}` makes one")
    index = Index(folder, target, Provenance(this_host(), this_version(), settings))
    found = []
    for position in index.all_positions():
        entries = sorted((e for e in index.entries(position) if e.counts), key=lambda e: e.offset)
        trials = tuple(entry.seconds for entry in entries)
        kernel = _kernel(index.workload(position)) if min(trials, default=inf) < inf else None
        if kernel is not None:
            found.append(Sample(kernel, trials))
    return found


def _kernel(line: list[str]) -> Kernel | None:
    workload = load_workload(line)
    if workload is None:
        return None
    mod, shash = workload.mod, int(line[0])
    return Kernel(f"kernel_{shash:016x}", 1, work_of(mod["main"]), mod, shash)
