"""An operator in some form by itself, its tensors stored as the form wants them.

Between operators of like layouts conversions cancel, so that a form is judged without them; what stores elements more
than once (windows, overlapping tiles) is never cancelled and stays.
"""

from __future__ import annotations

from ..egraph.frozen import FrozenEGraph
from ..extract import extract
from ..graph.operator import OPERATORS
from ..graph.tensor_graph import TensorGraph
from ..rules.rule import Rule
from ..search.apply import CompiledRule
from ..search.program import load, unload
from .site import Site

_CONVERSIONS = ("permute_dims", "reshape", "layout_transform")
_REPEATED = 1.3  # times as many elements as before, from which a conversion repeats some rather than pads


def alone(site: Site, rule: Rule) -> TensorGraph | None:
    """What a rule makes of an operator, without the conversions of its operands and result.

    Parameters
    ----------
    site : Site
        The operator.
    rule : Rule
        A rule whose left side is such an operator.

    Returns
    -------
    TensorGraph or None
        A program of its own; None if the rule doesn't apply.
    """
    whole = rewritten(site, rule)
    return None if whole is None else without_conversions(whole)


def rewritten(site: Site, rule: Rule) -> TensorGraph | None:
    """The right side of a rule, for an operator; None if the rule doesn't apply."""
    graph = site.graph()
    egraph, class_of = load(graph)
    compiled = CompiledRule(rule, everywhere=True)
    if not compiled.apply(egraph, compiled.search(egraph, 1), lambda: False):
        return None
    egraph.rebuild()
    frozen = egraph.freeze([class_of[graph.outputs[0]]])
    costs = [1e9 * _is(frozen, node, site) + 1.0 for node in range(frozen.n_nodes)]
    return unload(frozen, extract(frozen.with_costs(costs), "tree").choice)


def _is(frozen: FrozenEGraph, node: int, site: Site) -> bool:
    """Whether an e-node is the operator as it was."""
    return frozen.node_class[node] == frozen.roots[0] and frozen.node_op[node] == site.op


def without_conversions(graph: TensorGraph) -> TensorGraph:
    """A program whose inputs come as they are first computed with, and whose outputs stay as they are computed."""
    found = TensorGraph()
    place: dict[int, int] = {}
    record = OPERATORS["input"]
    leaves: dict[int, tuple[int, bool]] = {}  # inputs, converted or not: the number, and whether it is a weight
    for i in graph.live():
        node = graph.nodes[i]
        if node.op == "input":
            leaves[i] = node.attrs[0], node.attrs[2]
        elif node.op in _CONVERSIONS and node.inputs[0] in leaves and not _repeats(graph, i):
            leaves[i] = leaves[node.inputs[0]]
    for i in graph.live():
        node = graph.nodes[i]
        if i in leaves:
            index, weight = leaves[i]
            place[i] = found.add("input", (), record.make_attrs(index=index, type=node.type, weight=weight))
        else:
            place[i] = found.add(node.op, [place[k] for k in node.inputs], node.attrs)
    found.outputs = [place[_before_conversions(graph, i)] for i in graph.outputs]
    return found


def _before_conversions(graph: TensorGraph, i: int) -> int:
    while graph.nodes[i].op in _CONVERSIONS:
        i = graph.nodes[i].inputs[0]
    return i


def _repeats(graph: TensorGraph, i: int) -> bool:
    before, after = graph.nodes[graph.nodes[i].inputs[0]].type, graph.nodes[i].type
    return after.bytes() > _REPEATED * before.bytes()  # type: ignore[union-attr]
