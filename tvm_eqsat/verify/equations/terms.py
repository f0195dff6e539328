"""TASO's operators, and terms of them whose shapes are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: Integers and operands of each operator; None for two operands or more.
SIGNATURES: dict[str, tuple[int, int | None]] = {
    "ewadd": (0, 2), "ewmul": (0, 2), "smul": (0, 2), "matmul": (0, 2), "transpose": (0, 1),
    "relu": (0, 1), "tanh": (0, 1), "sigmoid": (0, 1),
    "conv2d": (4, 2), "poolavg": (5, 1), "poolmax": (5, 1), "enlarge": (2, 1), "concat": (1, None),
    "split_0": (1, 1), "split_1": (1, 1), "Cpool": (2, 0), "Iconv": (2, 0), "Imatmul": (0, 0), "Iewmul": (0, 0),
}  # fmt: skip


@dataclass(frozen=True)
class Typed:
    """A term with its shape; ``cut`` is where a split cuts its operand."""

    name: str
    numbers: tuple[int, ...]
    args: tuple[Typed, ...]
    shape: tuple[int, ...]
    cut: int = 0


@dataclass(frozen=True)
class TypedEquation:
    """Both sides, with shapes."""

    lhs: Typed
    rhs: Typed

    def variables(self) -> Iterator[Typed]:
        """The variables, as often as they occur."""
        todo = [self.rhs, self.lhs]
        while todo:
            term = todo.pop()
            todo += reversed(term.args)
            if not term.args and term.name not in SIGNATURES:
                yield term
