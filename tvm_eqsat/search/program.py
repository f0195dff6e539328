"""Between a ``TensorGraph`` and an e-graph: loading the one, reading the other back out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..egraph.egraph import EGraph
from ..egraph.frozen import FrozenEGraph
from ..errors import ExtractionError
from ..graph.tensor_graph import TensorGraph
from ..rules.analysis import TensorAnalysis


def load(graph: TensorGraph, reasons: Mapping[int, str] | None = None) -> tuple[EGraph, list[int]]:
    """Build the e-graph of one program.

    Parameters
    ----------
    graph : TensorGraph
        The program.
    reasons : mapping of int to str, optional
        For nodes that a rule made, its name.

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
        why = egraph.reason_id(reasons[i]) if reasons and i in reasons else 0
        class_of[i] = egraph.add(egraph.sym(node.op, node.attrs), [class_of[c] for c in node.inputs], why)
        if class_of[i] < 0:
            raise ExtractionError(f"the imported {node.op} node {i} is ill-typed: this is a bug in its table record")
    return egraph, class_of


def unload(
    frozen: FrozenEGraph,
    choice: Mapping[int, int],
    names: Mapping[int, str] | None = None,
    places: dict[int, int] | None = None,
) -> TensorGraph:
    """Read a selection back as a program.

    Parameters
    ----------
    frozen : FrozenEGraph
        The e-graph.
    choice : mapping of int to int
        For each reached e-class, the chosen e-node.
    names : mapping of int to str, optional
        Readable names of e-classes.
    places : dict of int to int, optional
        Receives for each reached e-class its node in the graph.

    Returns
    -------
    TensorGraph
        Its outputs are the e-graph's roots, in order.
    """
    graph = TensorGraph()
    done: dict[int, int] = {} if places is None else places
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
