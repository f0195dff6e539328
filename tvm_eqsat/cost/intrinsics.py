"""TVM's tensor intrinsics, loaded fast: MetaSchedule imports them before it tunes anything.

That import parses hundreds of TVMScript functions, for every kind of target. For each of them TVM asks ``inspect`` for
the call stack, and ``inspect`` searches all loaded modules for the source of each frame of the import machinery, which
has none: half a minute of CPU time. Told where those frames come from, it takes a few seconds.
"""

from __future__ import annotations

import inspect

_MACHINERY = ("importlib._bootstrap", "importlib._bootstrap_external", "runpy")


def load_intrinsics() -> None:
    """Import ``tvm.s_tir.tensor_intrin``; call it before the first ``TuneContext`` is made."""
    known: dict[str, str] = inspect.modulesbyfile
    for name in _MACHINERY:
        known.setdefault(f"<frozen {name}>", name)
    import tvm.s_tir.tensor_intrin  # noqa: F401
