"""One equation, or a file of them: proved, true but not proved, false, without a type, or not an equation."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from ...errors import FormatError, IllTyped
from .numeric import holds
from .prover import prove
from .shapes import typed
from .syntax import Equation, parse
from .terms import TypedEquation
from .translate import translate


class Status(str, Enum):
    """What became of an equation."""

    PROVED = "proved"
    TRUE_UNPROVED = "true_unproved"
    FALSE = "false"
    UNTYPED = "untyped"
    MALFORMED = "malformed"


@dataclass(frozen=True)
class Verdict:
    """One equation's result.

    Attributes
    ----------
    line : int
        Its line in the file, from 1.
    text : str
        The equation.
    status : Status
        The result.
    reason : str
        Why; for a proved equation, at which shapes.
    rules : tuple of str
        For a proved equation, the rules that were applied on the way.
    """

    line: int
    text: str
    status: Status
    reason: str = ""
    rules: tuple[str, ...] = ()


@dataclass
class Report:
    """The results for a file."""

    verdicts: list[Verdict] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, status: Status) -> int:
        """How many equations have this status."""
        return sum(v.status is status for v in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Counts, time, and every verdict."""
        counts = {status.value: self.count(status) for status in Status}
        equations = [{**asdict(v), "status": v.status.value, "rules": list(v.rules)} for v in self.verdicts]
        return {"total": len(self.verdicts), **counts, "seconds": self.seconds, "equations": equations}


def check_file(path: str | Path) -> Report:
    """Check every equation of a file, one a line. Blank lines, and lines that begin with ``#``, are skipped.

    Raises
    ------
    FormatError
        The file isn't text.
    OSError
        It can't be read.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} isn't UTF-8 text: {error.reason} at byte {error.start}") from error
    return check_lines(lines)


def check_lines(lines: Iterable[str]) -> Report:
    """Check equations given as text, one an item."""
    report = Report()
    start = time.perf_counter()
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            equation = parse(line, number)
        except FormatError as error:
            report.verdicts.append(Verdict(number, text, Status.MALFORMED, str(error)))
        else:
            report.verdicts.append(_verdict(equation, number, text))
    report.seconds = time.perf_counter() - start
    return report


def _verdict(equation: Equation, line: int, text: str) -> Verdict:
    try:
        instances = typed(equation)
    except IllTyped as error:
        return Verdict(line, text, Status.UNTYPED, str(error))
    where = ""
    if not _true(instances):
        refuted = f"the sides differ for random values of {_shapes(instances[0])}"
        try:
            instances = typed(equation, equal=True)
        except IllTyped:
            return Verdict(line, text, Status.FALSE, refuted)
        if not _true(instances):
            return Verdict(line, text, Status.FALSE, refuted)
        where = ", but not where all sizes that may differ do"
    shapes = f"{_shapes(instances[0])}{where}"
    proof = prove(translate(instances[0]))
    if proof is None:
        return Verdict(line, text, Status.TRUE_UNPROVED, f"no proof within the limits for {shapes}")
    return Verdict(line, text, Status.PROVED, f"for {shapes}", proof.rules)


def _true(instances: list[TypedEquation]) -> bool:
    return all(holds(translate(instance), seed) for seed, instance in enumerate(instances))


def _shapes(equation: TypedEquation) -> str:
    """The variables with their shapes, in words."""
    found = {term.name: term.shape for term in equation.variables()}
    shown = [f"{name} {'×'.join(map(str, shape)) or 'scalar'}" for name, shape in found.items()]
    return ", ".join(shown) or "no variables"
