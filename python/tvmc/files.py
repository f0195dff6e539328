"""Output files appear whole or not at all, and what prevents it is explained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tvm_eqsat import files

from .errors import TVMCException


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a scratch path that takes the place of ``path`` if the block ends without an error.

    Entering fails at once where ``path`` can't be written, before any long work.

    Raises
    ------
    TVMCException
        The folder can't be written, the disk is full, or ``path`` exists and isn't a regular file.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # renaming would replace even a device such as /dev/null
            raise TVMCException(f"can't write '{path}': it exists and is not a regular file")
        with files.replacing(path) as scratch:
            yield scratch
    except OSError as err:
        raise TVMCException(f"can't write '{path}': {err.strerror or err}") from err


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
