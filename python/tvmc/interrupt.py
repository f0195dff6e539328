"""Ctrl-C during work that an exception would spoil."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger("TVMC")

#: Exit code of a command that Ctrl-C ended.
INTERRUPTED = 130


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C set a flag, since an exception inside MetaSchedule's C++ would end the process; a second one exits."""
    requested = False

    def on_signal(_signum: int, _frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            os._exit(INTERRUPTED)
        requested = True
        logger.warning("interrupted: finishing the current batch; press Ctrl-C again to drop it")

    if threading.current_thread() is not threading.main_thread():  # Python lets only that one handle signals
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield lambda: requested
    finally:
        signal.signal(signal.SIGINT, before)
