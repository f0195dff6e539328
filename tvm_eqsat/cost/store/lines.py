"""Files of JSON lines that several processes append to, each of which may be killed at any moment."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import MeasurementError, OptionError

_LOCK = "eqsat.lock"


class Line(NamedTuple):
    """One line of a file.

    Attributes
    ----------
    offset : int
        Where it starts, in bytes.
    text : bytes
        The line, without its end.
    value : Any
        What it holds; None if it isn't JSON.
    """

    offset: int
    text: bytes
    value: Any


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep all others who lock the same folder waiting; the lock of a process that dies is free at once.

    Not re-entrant: a second lock taken inside of the first waits forever.

    Raises
    ------
    MeasurementError
        Nothing can be written to the folder.
    """
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as err:
        raise MeasurementError(f"can't add to {folder}: {err.strerror}; choose a folder that can be written") from err
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


class LineFile:
    """A file of JSON lines that only ever grows, read as far as it is written.

    A last line without an end is what a killed writer left, or what another one is just writing. If it is JSON, it is
    complete. If not, it is read again later; the next append ends it.

    Parameters
    ----------
    path : pathlib.Path
        The file; one that doesn't exist is empty.

    Attributes
    ----------
    unfinished : bool
        Whether half a line was left at the end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unfinished = False
        self._read = 0
        self._endless = False  # the last line that was read had no end yet

    def replaced(self) -> bool:
        """Whether the file is shorter than what was read of it."""
        return self._read > 0 and (not self.path.exists() or self.path.stat().st_size < self._read)

    def read(self) -> Iterator[Line]:
        """The lines that were added since the last call: read at once, parsed one by one.

        Raises
        ------
        OptionError
            The file can't be read.
        """
        data = self._text(self._read)
        if not data:
            self.unfinished = False
            return iter(())
        if self._endless:
            end = data.find(b"\n") + 1
            if not end:
                return iter(())
            self._read, data, self._endless = self._read + end, data[end:], False
        whole = data.rfind(b"\n") + 1
        rest = data[whole:]
        self._endless = bool(rest) and _parsed(rest) is not None
        self.unfinished = bool(rest) and not self._endless
        start, data = self._read, data if self._endless else data[:whole]
        self._read += len(data)
        return _lines(start, data)

    def at(self, offset: int, size: int) -> Any:
        """What the line of ``size`` bytes at ``offset`` holds; None if it isn't JSON."""
        return _parsed(self._text(offset, size))

    def append(self, *lines: str) -> None:
        """Add lines with one write, after ending half a line if there is one. The caller holds the lock.

        Raises
        ------
        MeasurementError
            The file can't be written.
        """
        data = "".join(line + "\n" for line in lines).encode()
        try:
            file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":
                    data = b"\n" + data
                view = memoryview(data)
                while view:  # more than once only if the disk is full, and then it raises
                    view = view[os.write(file, view) :]
            finally:
                os.close(file)
        except OSError as err:
            raise MeasurementError(f"can't add to {self.path}: {err.strerror}; what it holds is kept") from err

    def _text(self, offset: int, size: int = -1) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except FileNotFoundError:
            return b""
        except OSError as err:
            raise OptionError(f"can't read {self.path}: {err.strerror}") from err


def dumps(value: Any) -> str:
    """JSON on one line, spaced as TVM does."""
    return json.dumps(value, separators=(",", ":"))


def _lines(offset: int, data: bytes) -> Iterator[Line]:
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        text = data[start:end] if end >= 0 else data[start:]
        yield Line(offset + start, text, _parsed(text))
        start += len(text) + 1


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text.decode())
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or nothing but brackets
        return None
