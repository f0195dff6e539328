"""Between a ``TensorGraph`` and an e-graph: loading the one, reading the other back out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..egraph.egraph import EGraph
from ..egraph.frozen import FrozenEGraph
from ..errors import ExtractionError
from ..graph.tensor_graph import TensorGraph
from ..rules.analysis import TensorAnalysis


def load(graph: TensorGraph) -> tuple[EGraph, list[int]]:
    """Build the e-graph of one program.

    Returns
    -------
    egraph : EGraph
        With one e-node for each live node.
    class_of : list of int
        For each node of the graph, its e-class (-1 for dead nodes).
    """
    egraph = EGraph(TensorAnalysis())
    class_of = [-1] * len(graph.nodes)
    for i in graph.live():
        node = graph.nodes[i]
        class_of[i] = egraph.add(egraph.sym(node.op, node.attrs), [class_of[c] for c in node.inputs])
        if class_of[i] < 0:
            raise ExtractionError(f"the imported {node.op} node {i} is ill-typed: this is a bug in its table record")
    return egraph, class_of


def unload(frozen: FrozenEGraph, choice: Mapping[int, int], names: Mapping[int, str] | None = None) -> TensorGraph:
    """Read a selection back as a program.

    Parameters
    ----------
    frozen : FrozenEGraph
        The e-graph.
    choice : mapping of int to int
        For each reached e-class, the chosen e-node.
    names : mapping of int to str, optional
        Readable names of e-classes.

    Returns
    -------
    TensorGraph
        Its outputs are the e-graph's roots, in order.
    """
    graph = TensorGraph()
    done: dict[int, int] = {}
    stack: list[int] = list(reversed(frozen.roots))
    while stack:
        cls = stack[-1]
        if cls in done:
            stack.pop()
            continue
        node = choice[cls]
        children: Sequence[int] = frozen.node_children[node]
        waiting = [c for c in children if c not in done]
        if waiting:
            stack.extend(reversed(waiting))
            continue
        done[cls] = graph.add(frozen.node_op[node], [done[c] for c in children], frozen.node_attrs[node])
        if names and cls in names:
            graph.names.setdefault(done[cls], names[cls])
        stack.pop()
    graph.outputs = [done[r] for r in frozen.roots]
    return graph
