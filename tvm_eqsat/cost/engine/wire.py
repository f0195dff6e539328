"""Messages between the engine and its workers: length-prefixed pickles over sockets that nobody else can write to."""

from __future__ import annotations

import os
import pickle
import select
import struct
import time
from typing import Any

_HEADER = struct.Struct("<Q")


def send(fd: int, message: Any) -> None:
    """Write one message."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    data = memoryview(_HEADER.pack(len(body)) + body)
    while data:
        data = data[os.write(fd, data) :]


def receive(fd: int, timeout: float | None = None) -> Any:
    """Read one message.

    Raises
    ------
    EOFError
        The other side is gone.
    TimeoutError
        Nothing complete arrived within ``timeout`` seconds.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    (size,) = _HEADER.unpack(_read(fd, _HEADER.size, deadline))
    return pickle.loads(_read(fd, size, deadline))


def readable(fd: int, timeout: float) -> bool:
    """Whether something, or the end, arrives within ``timeout`` seconds; what is there already always counts."""
    poll = select.poll()  # select() refuses numbers above 1023
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout) * 1e3))


def _read(fd: int, size: int, deadline: float | None) -> bytes:
    parts = []
    while size:
        if deadline is not None and not readable(fd, deadline - time.monotonic()):
            raise TimeoutError
        part = os.read(fd, min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
