"""Mutants as JSON, in a file of lines that survives damage."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ..cost.store.lines import LineFile, locked
from ..errors import IllTyped, MeasurementError, OptionError
from ..graph.operator import OPERATORS
from ..graph.tensor_graph import TensorGraph
from .draft import Draft
from .mutants import Mutant, Recipe

log = logging.getLogger("tvm_eqsat.partial")

#: Changes when mutants are made or tested in another way: what was stored before is then found anew.
FORMAT = 1


def to_json(mutant: Mutant) -> list[Any] | None:
    """A mutant as JSON values; None if it has a constant that JSON can't hold."""
    graph = mutant.graph
    place = {i: k for k, i in enumerate(graph.live())}
    nodes: list[Any] = []
    for i in place:
        node = graph.nodes[i]
        if node.op == "constant":
            return None
        attrs = [node.attrs[0]] if node.op == "input" else list(node.attrs)
        nodes.append([node.op, attrs, [place[c] for c in node.inputs]])
    return [mutant.name, list(mutant.recipe), nodes, [place[i] for i in graph.outputs]]


def from_json(program: TensorGraph, value: Any) -> Mutant:
    """The mutant of a program that :func:`to_json` gave.

    Raises
    ------
    IllTyped
        It isn't one of this program's.
    """
    try:
        name, (kind, params, corrected), nodes, outputs = value
        draft = Draft(program)
        leaves = {int(draft.graph.nodes[i].attrs[0]): i for i in draft.leaves}
        made: list[int] = []
        for op, attrs, operands in nodes:
            if op == "input":
                made.append(leaves[attrs[0]])
                continue
            named = dict(zip(OPERATORS[op].schema, map(_hashable, attrs), strict=True))
            made.append(draft(op, *[made[c] for c in operands], **named))
        graph = draft.done(*[made[i] for i in outputs])
    except (IllTyped, OptionError, KeyError, IndexError, TypeError, ValueError) as err:
        raise IllTyped(f"not a mutant of this program: {err}") from err
    if [graph.nodes[i].type for i in graph.outputs] != [program.nodes[i].type for i in program.outputs]:
        raise IllTyped("the mutant's type differs from the program's")
    return Mutant(str(name), graph, Recipe(str(kind), _hashable(params), bool(corrected)))


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


class Lines:
    """A file of JSON objects, one a line, each with a digest. What can't be read is skipped, and kept.

    Parameters
    ----------
    path : pathlib.Path
        The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """The objects of all whole lines of this format."""
        found, damaged = [], 0
        for line in self._lines():
            value = _checked(line)
            if value is None:
                damaged += 1
            elif value.get("format") == FORMAT:
                found.append(value)
        if damaged:
            log.warning("%s: %d damaged lines are skipped", self.path, damaged)
        return found

    def add(self, values: Iterable[dict[str, Any]]) -> None:
        """Add objects; what others have added since is kept.

        Raises
        ------
        OptionError
            The file can't be written.
        """
        try:
            with locked(self.path.parent):
                LineFile(self.path).append(*[_signed({"format": FORMAT, **value}) for value in values])
        except MeasurementError as err:
            raise OptionError(f"mutants can't be kept in {self.path}: {err}; give another database") from err

    def _lines(self) -> list[str]:
        try:
            text = self.path.read_bytes().decode("utf-8", "surrogateescape")
        except OSError:
            return []
        return [line for line in text.split("\n") if line]


def _digest(body: str) -> str:
    return blake2b(body.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def _signed(value: dict[str, Any]) -> str:
    body = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return f"{_digest(body)} {body}"


def _checked(line: str) -> dict[str, Any] | None:
    digest, _, body = line.partition(" ")
    if digest != _digest(body):
        return None
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
