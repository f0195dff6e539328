"""A step that may take its process down is run in another one."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable


def isolated(function: Callable[[], object]) -> None:
    """Call ``function`` in a forked process, for what it leaves on disk.

    LLVM ends the process when it can't write an object file, for example on a full disk; ours survives to clean up.

    Raises
    ------
    RuntimeError
        The function raised, with that message; or the process ended before its time.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def body() -> None:
        try:
            function()
        except Exception as err:
            sender.send(str(err) or type(err).__name__)

    process = context.Process(target=body)
    process.start()
    sender.close()
    try:
        message = receiver.recv()
    except EOFError:
        message = ""
    finally:
        process.join()
    if message or process.exitcode:
        raise RuntimeError(message or f"the process ended with status {process.exitcode}; is the disk full?")
