"""Several operators made one: parallel branches in groups or in one batch, sums of convolutions on joined channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import gcd, prod
from typing import Any

from ..errors import IllTyped
from ..graph.tensor_graph import TensorGraph
from .draft import Draft, inputs_of, static_shape

_GROUPS = 64  # at most


class Branches:
    """A program whose outputs are two operators of one kind or more, each of two inputs.

    Raises
    ------
    IllTyped
        It is something else.
    """

    def __init__(self, program: TensorGraph, op: str, outputs: list[int] | None = None) -> None:
        nodes = [program.nodes[i] for i in outputs or program.outputs]
        given = inputs_of(program)
        if len(nodes) < 2 or any(n.op != op or len(n.inputs) != 2 or not set(n.inputs) <= set(given) for n in nodes):
            raise IllTyped(f"not several {op} of the inputs")
        self.draft = Draft(program)
        leaf = dict(zip(given, self.draft.leaves, strict=True))
        self.operands = [(leaf[n.inputs[0]], leaf[n.inputs[1]]) for n in nodes]
        self.attrs: list[Any] = [n.attrs for n in nodes]
        self.data = [self.draft.shape(x) for x, _ in self.operands]
        self.weights = [self.draft.shape(w) for _, w in self.operands]
        self.outs = [static_shape(program, i) for i in outputs or program.outputs]


def _channels_first(attrs: list[Any]) -> bool:
    return all((a.data_layout, a.kernel_layout, a.groups) == ("NCHW", "OIHW", 1) for a in attrs)


def groups(program: TensorGraph) -> TensorGraph:
    """Convolutions of equal geometry as groups of one; those of fewer filters get filters of zeros."""
    site = _equal_geometry(program)
    draft = site.draft
    widest = max(w[0] for w in site.weights)
    x = draft.concat([x for x, _ in site.operands], 1)
    w = draft.concat([draft.pad(w, 0, 0, widest - draft.shape(w)[0]) for _, w in site.operands], 0)
    y = draft.apply("conv2d", site.attrs[0]._replace(groups=len(site.operands)), x, w)
    starts = range(0, widest * len(site.operands), widest)
    return draft.done(*[draft.slice(y, 1, i, i + w[0]) for i, w in zip(starts, site.weights, strict=True)])


def even_groups(program: TensorGraph) -> TensorGraph:
    """The same without zeros: groups of as many filters as divide all branches; data is repeated for each."""
    site = _equal_geometry(program)
    draft, filters = site.draft, [w[0] for w in site.weights]
    size = gcd(*filters)
    count = sum(filters) // size
    if count > _GROUPS or len(set(filters)) == 1:
        raise IllTyped(f"{count} groups")
    x = draft.concat([x for (x, _), f in zip(site.operands, filters, strict=True) for _ in range(f // size)], 1)
    w = draft.concat([w for _, w in site.operands], 0)
    return draft.done(*draft.split(draft.apply("conv2d", site.attrs[0]._replace(groups=count), x, w), 1, filters))


def _equal_geometry(program: TensorGraph) -> Branches:
    site = Branches(program, "conv2d")
    if len(set(site.attrs)) > 1 or len(set(site.data)) > 1 or not _channels_first(site.attrs):
        raise IllTyped("needs ordinary convolutions of equal geometry")
    if len({w[2:] for w in site.weights}) > 1:
        raise IllTyped("needs kernels of one size")
    return site


def merged(program: TensorGraph) -> TensorGraph:
    """Branches of one input as one operator with the filters or columns of all."""
    convolutions = program.nodes[program.outputs[0]].op == "conv2d"
    site = _equal_geometry(program) if convolutions else Branches(program, "matmul")
    draft, axis = site.draft, 0 if convolutions else 1
    if len({x for x, _ in site.operands}) > 1 or len(set(site.attrs)) > 1:
        raise IllTyped("needs one input")
    if not convolutions and any(len(w) != 2 for w in site.weights):
        raise IllTyped("needs one matrix on the right")
    w = draft.concat([w for _, w in site.operands], axis)
    y = draft.apply("conv2d" if convolutions else "matmul", site.attrs[0], site.operands[0][0], w)
    last = 1 if convolutions else len(draft.shape(y)) - 1
    return draft.done(*draft.split(y, last, [w[axis] for w in site.weights]))


def batch(program: TensorGraph) -> TensorGraph:
    """Matrix products of equal shapes as one batch."""
    site = Branches(program, "matmul")
    draft, count = site.draft, len(site.operands)
    if len({*zip(site.data, site.weights, site.attrs, strict=True)}) > 1 or len(site.weights[0]) != 2:
        raise IllTyped("needs products of equal shapes with one matrix on the right")
    rows, depth = site.outs[0][:-1], site.data[0][-1]
    flat = draft.concat([draft.reshape(x, (1, prod(rows), depth)) for x, _ in site.operands], 0)
    w = draft.concat([draft.reshape(w, (1, *site.weights[0])) for _, w in site.operands], 0)
    y = draft.apply("matmul", site.attrs[0], flat, w)
    return draft.done(*[draft.reshape(draft.slice(y, 0, i, i + 1), site.outs[0]) for i in range(count)])


def joined_channels(program: TensorGraph) -> TensorGraph:
    """A sum of two convolutions as one, whose smaller kernel gets zeros around it."""
    node = program.nodes[program.outputs[0]]
    if node.op != "add" or len(program.outputs) != 1:
        raise IllTyped("not a sum")
    site = Branches(program, "conv2d", list(node.inputs))
    draft, first = site.draft, site.attrs[0]
    rigid = [a._replace(padding=first.padding) for a in site.attrs]
    if rigid[0] != rigid[1] or not _channels_first(site.attrs) or site.outs[0] != site.outs[1]:
        raise IllTyped("needs ordinary convolutions of equal strides and dilation")
    if site.data[0][2:] != site.data[1][2:]:
        raise IllTyped("needs images of one size")
    padding = tuple(max(p) for p in zip(*(a.padding for a in site.attrs), strict=True))
    weights = []
    for (_, w), a in zip(site.operands, site.attrs, strict=True):
        for i in (0, 1):
            more = [padding[k] - a.padding[k] for k in (i, 2 + i)]
            if any(m % a.dilation[i] for m in more):
                raise IllTyped("the kernels don't meet the same pixels")
            w = draft.pad(w, 2 + i, *(m // a.dilation[i] for m in more))
        weights.append(w)
    if site.operands[0][0] == site.operands[1][0]:
        return draft.done(
            draft.apply("conv2d", first._replace(padding=padding), site.operands[0][0], draft.total(weights))
        )
    x = draft.concat([x for x, _ in site.operands], 1)
    return draft.done(draft.apply("conv2d", first._replace(padding=padding), x, draft.concat(weights, 1)))


def forms(program: TensorGraph) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and parameters of what may apply, of :data:`FORMS`."""
    op = program.nodes[program.outputs[0]].op
    if len(program.outputs) > 1:
        names = ("branches-as-groups", "branches-as-even-groups") if op == "conv2d" else ("branches-as-batch",)
        return iter([(name, ()) for name in (*names, "branches-merged")])
    return iter([("joined-channels", ())] if op == "add" else [])


def joined(program: TensorGraph) -> TensorGraph:
    """The outputs of parallel branches as one, for comparison."""
    if len(program.outputs) == 1:
        return program
    shapes = [static_shape(program, i) for i in program.outputs]
    axis = next((k for k, sizes in enumerate(zip(*shapes, strict=True)) if len(set(sizes)) > 1), 0)
    draft = Draft(TensorGraph())
    graph = draft.graph
    place = graph.include(program, {})
    return draft.done(draft.concat([place[i] for i in program.outputs], axis))


FORMS: dict[str, Callable[..., TensorGraph]] = {
    "branches-as-groups": groups,
    "branches-as-even-groups": even_groups,
    "branches-as-batch": batch,
    "branches-merged": merged,
    "joined-channels": joined_channels,
}
