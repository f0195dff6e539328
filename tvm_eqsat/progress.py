"""Progress of long work: a bar on a terminal, a log line now and then elsewhere, nothing on request."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any

log = logging.getLogger("tvm_eqsat.progress")

_LINE_SECONDS = 10.0


class Progress:
    """A counter that people can watch. Use it as a context manager.

    Parameters
    ----------
    title : str
        What is being done.
    total : int
        How many steps there are.
    unit : str
        What one step is, in the plural.
    quiet : bool
        Show nothing.
    """

    def __init__(self, title: str, total: int, unit: str = "steps", quiet: bool = False) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.quiet = quiet
        self.done = 0
        self._bar: Any = None
        self._task: Any = None
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Progress:
        self._started = self._last_line = time.monotonic()
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(self.unit),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}"),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(self.title, total=self.total, detail="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif not self.quiet:
            self._line("")

    def advance(self, steps: int, detail: str = "") -> None:
        """Count some steps as done; ``detail`` says where the work stands."""
        self.done += steps
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, detail=detail)
        elif not self.quiet and time.monotonic() - self._last_line > _LINE_SECONDS:
            self._line(detail)

    def _line(self, detail: str) -> None:
        self._last_line = time.monotonic()
        seconds = self._last_line - self._started
        log.info("%s: %d/%d %s, %.0f s %s", self.title, self.done, self.total, self.unit, seconds, detail)
