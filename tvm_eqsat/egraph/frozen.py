"""A finished e-graph in flat arrays: what extraction works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import EqSatError

if TYPE_CHECKING:
    from .egraph import EGraph


@dataclass(frozen=True)
class FrozenEGraph:
    """Classes and nodes numbered from 0; a class's nodes have consecutive numbers.

    Attributes
    ----------
    class_nodes : list of list of int
        Nodes of each class.
    node_class : list of int
        Class of each node.
    node_children : list of tuple of int
        Child classes of each node.
    node_op : list of str
        Operator name of each node.
    node_attrs : list of tuple
        Attributes of each node.
    costs : list of float
        Cost of each node, finite or ``inf``; 1.0 until :meth:`with_costs`.
    roots : list of int
        Root classes, in the order in which they were asked for.
    node_key : list
        What each node was called where it comes from: the e-node, or the file's node id.
    class_key : list
        Likewise the e-graph's class id, or the file's.
    """

    class_nodes: list[list[int]]
    node_class: list[int]
    node_children: list[tuple[int, ...]]
    node_op: list[str]
    node_attrs: list[tuple[Any, ...]]
    costs: list[float]
    roots: list[int]
    node_key: list[Any]
    class_key: list[Any]

    @classmethod
    def of(cls, eg: EGraph, roots: Sequence[int]) -> FrozenEGraph:
        """Copy the classes of a rebuilt e-graph that the roots reach, in the order in which they were added."""
        roots = [eg.find(root) for root in roots]
        nodes: dict[int, list[tuple[int, ...]]] = {}
        todo = list(dict.fromkeys(roots))
        while todo:
            c = todo.pop()
            if c not in nodes:
                nodes[c] = eg.nodes(c)
                for node in nodes[c]:
                    todo += node[1:]
        class_key = sorted(nodes)
        index = {c: k for k, c in enumerate(class_key)}
        node_key: list[tuple[int, ...]] = []
        node_class: list[int] = []
        class_nodes: list[list[int]] = []
        for k, c in enumerate(class_key):
            start = len(node_key)
            node_key += nodes[c]
            class_nodes.append(list(range(start, len(node_key))))
            node_class += [k] * (len(node_key) - start)
        ops, attrs, number = eg.ops, eg.attrs, index.__getitem__
        return cls(
            class_nodes=class_nodes,
            node_class=node_class,
            node_children=[tuple(map(number, node[1:])) for node in node_key],
            node_op=[ops[node[0]] for node in node_key],
            node_attrs=[attrs[node[0]] for node in node_key],
            costs=[1.0] * len(node_key),
            roots=[index[root] for root in roots],
            node_key=node_key,
            class_key=class_key,
        )

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.node_class)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_nodes)

    def with_costs(self, costs: Sequence[float]) -> FrozenEGraph:
        """The same e-graph with other costs; everything else is shared.

        Raises
        ------
        EqSatError
            The number of costs isn't the number of nodes.
        """
        if len(costs) != self.n_nodes:
            raise EqSatError(f"{len(costs)} costs for {self.n_nodes} nodes: give one per node")
        return replace(self, costs=[float(cost) for cost in costs])
