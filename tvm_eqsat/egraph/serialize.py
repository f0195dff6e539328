"""E-graphs in files: the egraph-serialize JSON format, and the CSV format that preceded it.

JSON is what egg, egglog and extraction-gym exchange (https://github.com/egraphs-good/egraph-serialize)::

    {"nodes": {node id: {"op": str, "children": [node id], "eclass": class id, "cost": float, "subsumed": bool}},
     "root_eclasses": [class id], "class_data": {}}

A child is a node id that stands for its class; ``cost`` is 1 and ``subsumed`` false by default. A line of the CSV
format is ``class,cost,operator,child class,...``, and ``## root: class`` names a root.
"""

from __future__ import annotations

import json
import os
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import FormatError
from .frozen import FrozenEGraph

_ADVICE = "expected egraph-serialize JSON, or extraction-gym CSV"


def to_json(frozen: FrozenEGraph) -> dict[str, Any]:
    """An e-graph as egraph-serialize JSON. Attributes become part of the operator's text.

    Raises
    ------
    FormatError
        A cost isn't finite, or a child class has no node that could stand for it.
    """
    name = {i: f"{c}.{k}" for c, members in enumerate(frozen.class_nodes) for k, i in enumerate(members)}
    nodes: dict[str, Any] = {}
    for i in name:
        op, cost = _label(frozen.node_op[i], frozen.node_attrs[i]), frozen.costs[i]
        if not isfinite(cost):
            raise FormatError(f"node {i} ({op}) costs {cost}, which JSON can't hold: give it a finite cost")
        children = []
        for child in frozen.node_children[i]:
            if not frozen.class_nodes[child]:
                raise FormatError(f"node {i} ({op}) has the empty class {child} as a child: drop the node")
            children.append(name[frozen.class_nodes[child][0]])
        nodes[name[i]] = {"op": op, "children": children, "eclass": str(frozen.node_class[i]), "cost": cost}
    return {"nodes": nodes, "root_eclasses": [str(root) for root in frozen.roots], "class_data": {}}


def _label(op: str, attrs: tuple[Any, ...]) -> str:
    if not attrs:
        return op
    fields = getattr(attrs, "_fields", None)
    shown = [repr(value) for value in attrs]
    return f"{op}({', '.join(map('{}={}'.format, fields, shown) if fields else shown)})"


class _Row(NamedTuple):
    key: str
    owner: str  # class key
    op: str
    cost: float
    children: list[str]  # class keys
    place: str  # in the file


def from_json(data: Any, source: str = "e-graph") -> FrozenEGraph:
    """Read egraph-serialize JSON. Subsumed nodes are left out; ids are kept as ``node_key`` and ``class_key``.

    Parameters
    ----------
    data : dict
        The parsed document.
    source : str
        Its name in error messages.

    Raises
    ------
    FormatError
        It isn't in the format, or a cost is negative; the message names the key.
    """
    nodes, roots = (data.get("nodes"), data.get("root_eclasses")) if isinstance(data, dict) else (None, None)
    if not isinstance(nodes, dict):
        raise FormatError(f"{source}: nodes: must be an object of nodes; {_ADVICE}")
    if not isinstance(roots, list):
        raise FormatError(f"{source}: root_eclasses: must be a list of class ids; {_ADVICE}")
    owner: dict[str, str] = {}
    for key, node in nodes.items():
        if not isinstance(node, dict) or not isinstance(node.get("eclass"), str) or not isinstance(node.get("op"), str):
            raise FormatError(f"{source}: nodes[{key!r}]: must be an object with strings 'op' and 'eclass'; {_ADVICE}")
        owner[key] = node["eclass"]
    rows = []
    for key, node in nodes.items():
        place = f"nodes[{key!r}]"
        children = node.get("children", [])
        if not isinstance(children, list):
            raise FormatError(f"{source}: {place}.children: must be a list of node ids; {_ADVICE}")
        for child in children:
            if not isinstance(child, str) or child not in owner:
                raise FormatError(f"{source}: {place}.children: there is no node {child!r}; {_ADVICE}")
        if not node.get("subsumed", False):
            cost = _cost(node.get("cost", 1.0), source, f"{place}.cost")
            rows.append(_Row(key, owner[key], node["op"], cost, [owner[child] for child in children], place))
    return _assemble(rows, roots, source)


def _from_csv(text: str, source: str) -> FrozenEGraph:
    rows: list[_Row] = []
    roots: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        line, place = line.strip(), f"line {number}"
        if line.startswith("## root:"):
            roots.append(line.removeprefix("## root:").strip())
        elif line and not line.startswith("#"):
            parts = [part.strip() for part in line.split(",")]
            if len(parts) < 3 or "" in parts:
                raise FormatError(f"{source}: {place}: {line[:60]!r} isn't 'class,cost,operator,child class,...'")
            owner, cost, op, *children = parts
            rows.append(_Row(place, owner, op, _cost(cost, source, place), children, place))
    return _assemble(rows, roots, source)


def _cost(value: Any, source: str, place: str) -> float:
    try:
        cost = float(value)
    except (TypeError, ValueError, OverflowError):
        cost = -1.0
    if not (isfinite(cost) and cost >= 0):
        raise FormatError(f"{source}: {place}: the cost must be a finite number >= 0, not {str(value)[:40]!r}")
    return cost


def _assemble(rows: list[_Row], roots: list[Any], source: str) -> FrozenEGraph:
    groups: dict[str, list[_Row]] = {}
    for row in rows:
        groups.setdefault(row.owner, []).append(row)
    rows = [row for group in groups.values() for row in group]
    index = {key: c for c, key in enumerate(groups)}
    for row in rows:
        for child in row.children:
            if child not in index:
                raise FormatError(f"{source}: {row.place}: the child class {child!r} has no nodes; {_ADVICE}")
    for root in roots:
        if not isinstance(root, str) or root not in index:
            raise FormatError(f"{source}: the root class {root!r} has no nodes; {_ADVICE}")
    if not roots:
        raise FormatError(f"{source}: no root class: name one ('root_eclasses', or a line '## root: class')")
    class_nodes: list[list[int]] = [[] for _ in groups]
    for i, row in enumerate(rows):
        class_nodes[index[row.owner]].append(i)
    return FrozenEGraph(
        class_nodes=class_nodes,
        node_class=[index[row.owner] for row in rows],
        node_children=[tuple([index[child] for child in row.children]) for row in rows],
        node_op=[row.op for row in rows],
        node_attrs=[()] * len(rows),
        costs=[row.cost for row in rows],
        roots=[index[root] for root in roots],
        node_key=[row.key for row in rows],
        class_key=list(groups),
    )


def load(path: str | os.PathLike[str]) -> FrozenEGraph:
    """Read an e-graph file: extraction-gym CSV if its name ends in ``.csv``, else egraph-serialize JSON.

    Raises
    ------
    FormatError
        It isn't in the format; the message names the file and the line or key.
    OSError
        It can't be read.
    """
    source = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
        if source.endswith(".csv"):
            return _from_csv(text, source)
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise FormatError(f"{source}: line {error.lineno}: {error.msg}; {_ADVICE}") from error
    except UnicodeDecodeError as error:
        raise FormatError(f"{source}: byte {error.start}: not UTF-8 text; {_ADVICE}") from error
    except (RecursionError, ValueError) as error:  # nested too deeply, or an integer of thousands of digits
        raise FormatError(f"{source}: {error}; {_ADVICE}") from error
    return from_json(data, source)


def save(frozen: FrozenEGraph, path: str | os.PathLike[str]) -> None:
    """Write an e-graph as egraph-serialize JSON. The file is replaced as a whole, or not at all.

    Raises
    ------
    FormatError
        See :func:`to_json`.
    OSError
        It can't be written.
    """
    text = json.dumps(to_json(frozen), indent=1, allow_nan=False)
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
