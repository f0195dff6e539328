"""What joint tuning decided, kept beside the records, so that compiling takes the same programs.

Candidates are extracted with the prices of the moment, so a later run can't always find again what was tuned. A
decision names e-nodes of an e-graph, which saturation builds the same way each time; anything else isn't a program of
that e-graph and is ignored. So a decision can't make a program wrong, wherever the file comes from.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tvm.target import Target

from .cost.store.conditions import Provenance, target_identity, this_host, this_version
from .cost.store.lines import LineFile, dumps, locked
from .egraph.frozen import FrozenEGraph
from .errors import ExtractionError
from .extract.base import Extraction, check, selected
from .graph.tensor_graph import Constant

log = logging.getLogger("tvm_eqsat")

DECISIONS = "eqsat_decisions.json"
#: Instead of e-nodes: the program that the last e-graph was started from.
START = (-1,)


class Decisions:
    """The decisions for one target on this host; the last one about an e-graph counts.

    Parameters
    ----------
    folder : str or pathlib.Path
        The directory of the kernel database.
    target : tvm.target.Target
        The target.
    prepack : bool
        Whether kernels are those with weights in the layouts of their choice.

    Attributes
    ----------
    folder : pathlib.Path
        The directory.
    """

    def __init__(self, folder: str | Path, target: Target, *, prepack: bool = False) -> None:
        self.folder = Path(folder)
        self._file = LineFile(self.folder / DECISIONS)
        self._target = target_identity(target)
        self._prepack = prepack
        self._provenance = Provenance(this_host(), this_version())
        self._known: dict[str, list[int]] = {}
        for line in self._file.read():
            self._take(line.value)

    def get(self, egraph: str) -> list[int] | None:
        """The e-nodes decided on, by number, for the e-graph with a :func:`fingerprint`.

        None if there is no decision; empty if it is to leave the program as it is.
        """
        return self._known.get(egraph)

    def put(self, egraph: str, nodes: Sequence[int]) -> None:
        """Add a decision, if it is news.

        Raises
        ------
        MeasurementError
            The file can't be written.
        """
        nodes = list(nodes)
        if self._known.get(egraph) == nodes:
            return
        value = {"egraph": egraph, "target": self._target, "prepack": self._prepack, "nodes": nodes}
        with locked(self._file.path.parent):
            self._file.append(dumps({**value, **self._provenance.to_json()}))
        self._known[egraph] = nodes

    def _take(self, value: Any) -> None:
        if not isinstance(value, dict) or value.get("target") != self._target:
            return
        if value.get("prepack") != self._prepack:
            return
        egraph, nodes, provenance = value.get("egraph"), value.get("nodes"), Provenance.from_json(value)
        if not isinstance(egraph, str) or not isinstance(nodes, list) or not all(type(n) is int for n in nodes):
            return
        if provenance is not None and provenance.compares_with(self._provenance, trust_unknown_host=True):
            self._known[egraph] = nodes


def fingerprint(frozen: FrozenEGraph) -> str:
    """A digest of an e-graph's structure. The values of weights aren't part of it."""
    digest = blake2b(digest_size=16)
    nodes = zip(frozen.node_op, frozen.node_attrs, frozen.node_children, frozen.node_class, strict=True)
    for op, attrs, children, cls in nodes:
        digest.update(repr((op, _plain(attrs), children, cls)).encode())
    digest.update(repr(frozen.roots).encode())
    return digest.hexdigest()


def program_of(frozen: FrozenEGraph, nodes: Sequence[int]) -> Extraction | None:
    """The program that consists of these e-nodes, or None if they aren't one of this e-graph."""
    choice = [-1] * frozen.n_classes
    for node in nodes:
        if not 0 <= node < frozen.n_nodes:
            return None
        choice[frozen.node_class[node]] = node
    try:
        _whole(frozen, choice)
        found = selected(frozen, choice)
        check(frozen, found)
    except ExtractionError as err:
        log.warning("a decision in %s isn't a program of this e-graph: %s", DECISIONS, err)
        return None
    return found


def _whole(frozen: FrozenEGraph, choice: Sequence[int]) -> None:
    for node in choice:
        if node >= 0 and any(choice[child] < 0 for child in frozen.node_children[node]):
            raise ExtractionError(f"node {node} has an operand without a node")


def _plain(value: Any) -> Any:
    """A value whose ``repr`` is the same in every process."""
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, Constant):
        return ["constant", str(value.type)]
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)
