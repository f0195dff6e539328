"""``--tasks``: which kernels to tune."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from tvm.s_tir import meta_schedule as ms

from .errors import TVMCException

T = TypeVar("T")


def filter_tasks(tasks: Sequence[T], expression: str) -> tuple[list[T], bool]:
    """The tasks that an expression such as ``0,2``, ``3-5``, ``-4``, ``all`` selects; and whether it asks for a list.

    Raises
    ------
    TVMCException
        The expression is malformed or a number is out of range.
    """
    selected: set[int] = set()
    for item in (part.strip() for part in expression.split(",")):
        if item in ("list", "help"):
            return list(tasks), True
        if item == "all":
            selected.update(range(len(tasks)))
            continue
        first, dash, last = item.partition("-")
        try:
            low = int(first) if first or not dash else 0
            high = (int(last) if last else len(tasks) - 1) if dash else low
        except ValueError as err:
            raise TVMCException(f"--tasks {expression}: '{item}' is neither a number, a range, all nor list") from err
        if not 0 <= low <= high < len(tasks):
            raise TVMCException(f"--tasks {expression}: '{item}' is out of range; kernels are 0 to {len(tasks) - 1}")
        selected.update(range(low, high + 1))
    return [tasks[i] for i in sorted(selected)], False


def format_tasks(tasks: Sequence[ms.ExtractedTask]) -> str:
    """A numbered list of the kernels."""
    lines = [f"  {i}. {task.task_name} (used {task.weight}x)" for i, task in enumerate(tasks)]
    return "\n".join(["Available Tasks for tuning:", *lines])
