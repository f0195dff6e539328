"""TVM's tensor intrinsics, loaded fast: MetaSchedule imports them before it tunes anything.

That import parses hundreds of TVMScript functions, for every kind of target. For each of them TVM asks ``inspect`` for
the call stack, and ``inspect`` searches all loaded modules for the source of each frame that has none (the import
machinery's, a notebook cell's, a test runner's): half a minute of CPU time. In a thread the stack is short, and of the
frames that remain, ``inspect`` is told where they come from: a few seconds.
"""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

_MACHINERY = ("importlib", "importlib._bootstrap", "importlib._bootstrap_external", "runpy")


def load_intrinsics() -> None:
    """Import ``tvm.s_tir.tensor_intrin``; call it before the first ``TuneContext`` is made."""
    known: dict[str, str] = inspect.modulesbyfile
    for name in _MACHINERY:
        known.setdefault(f"<frozen {name}>", name)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(import_module, "tvm.s_tir.tensor_intrin").result()
