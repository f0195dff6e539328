"""What the examples say while they work."""

from __future__ import annotations

import logging


def show_logs(level: int = logging.INFO) -> None:
    """Print what this package logs, on stderr; not what MetaSchedule does, whose loggers would fill the screen."""
    handler = logging.StreamHandler()
    for name in ("tvm_eqsat", "TVMC"):
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).addHandler(handler)
