"""What the command line reports as an error of its user's, with an exit code."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tvm_eqsat.errors import EqSatError

logger = logging.getLogger("TVMC")

_AFTER_THE_ERROR = ("Command line:", "collect2:")  # what follows the linker's message


class TVMCException(EqSatError):
    """Something that the user of tvmc can mend; the command ends with exit code 4."""


class TVMCImportError(TVMCException):
    """An optional package is needed and missing; the command ends with exit code 5."""

    def __init__(self, package: str) -> None:
        super().__init__(f'Package "{package}" is not installed. Hint: "pip install {package}".')


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn whatever TVM, a frontend or the linker raises inside the block into a :class:`TVMCException`.

    The message keeps the error's last line, where they say what was wrong; ``-vv`` shows the whole.
    """
    try:
        yield
    except EqSatError:
        raise
    except Exception as err:
        logger.debug("%s failed", what, exc_info=True)
        lines = [line.strip() for line in str(err).splitlines()]
        lines = [line for line in lines if line and not line.startswith(_AFTER_THE_ERROR)]
        raise TVMCException(f"{what} failed: {lines[-1] if lines else type(err).__name__}") from err
