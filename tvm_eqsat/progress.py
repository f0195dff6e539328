"""Progress of long work: a bar on a terminal, a log line now and then elsewhere, nothing on request."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any, ClassVar

log = logging.getLogger("tvm_eqsat.progress")

_LINE_SECONDS = 10.0


class Progress:
    """A counter that people can watch. Use it as a context manager; one may run inside another.

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

    _bars: ClassVar[Any] = None  # rich's display, of which a terminal takes only one at a time

    def __init__(self, title: str, total: int, unit: str = "steps", quiet: bool = False) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.quiet = quiet
        self.done = 0
        self._bar: Any = None
        self._task: Any = None
        self._outermost = False
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Progress:
        self._started = self._last_line = time.monotonic()
        if not self.quiet and sys.stderr.isatty():
            self._outermost = Progress._bars is None
            if self._outermost:
                Progress._bars = _bars()
                Progress._bars.start()
            self._bar = Progress._bars
            self._task = self._bar.add_task(self.title, total=self.total, unit=self.unit, detail="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outermost:
            self._bar.stop()
            Progress._bars = None
        elif self._bar is not None:
            self._bar.remove_task(self._task)
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


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
        console=Console(stderr=True),
    )
