"""Ctrl-C during work that an exception would spoil."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger("tvm_eqsat")

#: Exit code of a command that Ctrl-C ended.
INTERRUPTED = 130


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C set a flag, since an exception inside TVM's C++ may end the process; a second one exits at once.

    Yields
    ------
    callable
        Whether Ctrl-C was pressed. Always False outside of the main thread, which alone gets signals.
    """
    requested = False

    def on_signal(_signum: int, _frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            os._exit(INTERRUPTED)
        requested = True
        log.warning("interrupted: finishing the current batch; press Ctrl-C again to drop it")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield lambda: requested
    finally:
        signal.signal(signal.SIGINT, before)
