"""Measured latencies on disk: a MetaSchedule database directory, read and added to with care.

``lines`` reads and appends, ``format`` knows the lines, ``conditions`` what a latency depends on. ``Index`` answers
from memory; ``KernelStore`` is what MetaSchedule tunes into; ``copy_records`` takes records over, and repairs.
"""

from .conditions import Provenance, Settings, this_host, this_version
from .copy import Copied, copy_records
from .index import Index, Measured
from .store import KernelStore

__all__ = [
    "Copied",
    "Index",
    "KernelStore",
    "Measured",
    "Provenance",
    "Settings",
    "copy_records",
    "this_host",
    "this_version",
]
