"""Exceptions of this package, made known to TVM's FFI."""

from __future__ import annotations

import tvm_ffi

from .errors import EqSatError


def register_errors() -> None:
    """Let our exceptions pass through TVM as they are; call it where TVM calls our code, as often as you like.

    TVM turns exceptions that it doesn't know into RuntimeError on their way out of a pass, a database or a runner.
    """
    found: list[type] = [EqSatError, *EqSatError.__subclasses__()]
    for error in found:
        tvm_ffi.register_error(error.__name__, error)
