"""What this machine has for workers: cores and memory."""

from __future__ import annotations

import os
from pathlib import Path

# Asked at import: TVM's thread pool pins the thread that calls it, and whatever is started from there inherits that.
_ALLOWED = sorted(os.sched_getaffinity(0))
_TOPOLOGY = Path("/sys/devices/system/cpu")
_MEMORY_SHARE = 0.75  # of this machine's memory, for all workers together
_LEAST_MEMORY = 2 << 30


def cpus() -> list[int]:
    """The logical CPUs that this process may run on: first one of each physical core, then their siblings."""
    firsts: dict[str, int] = {}
    for cpu in _ALLOWED:
        firsts.setdefault(_siblings(cpu), cpu)
    return [*firsts.values(), *(cpu for cpu in _ALLOWED if cpu not in firsts.values())]


def physical_cores() -> int:
    """The number of physical cores that this process may run on."""
    return len({_siblings(cpu) for cpu in _ALLOWED})


def memory_share(workers: int) -> int:
    """Bytes for each of some workers: equal parts of three quarters of the memory, but 2 GiB at least."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        pass  # no container, or one without a limit
    return max(_LEAST_MEMORY, int(total * _MEMORY_SHARE) // workers)


def resident(pid: int | str = "self") -> int:
    """Bytes of memory that a process holds; 0 if there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def runs(pid: int) -> bool:
    """Whether any thread of a process wants a CPU; if there is no such process, none does."""
    for stat in Path("/proc").glob(f"{pid}/task/*/stat"):
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "R":
                return True
        except OSError:
            continue  # that thread has just ended
    return False


def _siblings(cpu: int) -> str:
    try:
        return (_TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)
