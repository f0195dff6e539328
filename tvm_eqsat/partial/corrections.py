"""Corrections: a mutant made fully equivalent by computing its wrong elements as the program does (PET, OSDI'21)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.tensor_graph import Node, TensorGraph
from .boxes import Box
from .corrector import Difference
from .digits import runs
from .draft import Draft
from .restriction import Restriction, Window, conv_axes, conv_window


def corrected(program: TensorGraph, mutant: TensorGraph, difference: Difference) -> TensorGraph:
    """The mutant with its wrong elements overwritten by the program, restricted to them.

    Parameters
    ----------
    program, mutant : TensorGraph
        As for :func:`~tvm_eqsat.partial.corrector.difference`.
    difference : Difference
        Between these two.

    Returns
    -------
    TensorGraph
        A program that equals ``program`` on every element: slices of the mutant's output and of the corrections,
        concatenated. Each of the corrections is the program on a tile of its inputs.
    """
    draft = Draft(program)
    whole = draft.graph.include(mutant, {})[mutant.outputs[0]]
    restriction = Restriction(program, draft)
    repairs = _tiles(restriction, program.outputs[0], _cover(difference))

    def region(box: Box, cells: Any) -> int:
        if not cells.any():
            return restriction.cut(whole, box)
        if cells.all():
            for repair, tile in repairs.items():
                if all(b <= begin and end <= e for (b, e), (begin, end) in zip(repair, box, strict=True)):
                    return restriction.cut(tile, [(x - b, y - b) for (b, _), (x, y) in zip(repair, box, strict=True)])
            axis = int(np.argmax(cells.shape))
            ends = list(range(1, cells.shape[axis] + 1))
        else:  # across the axis that leaves the fewest pieces which are cut again
            axis = min(range(cells.ndim), key=lambda i: (_mixed(cells, i), len(_slabs(cells, i))))
            ends = _slabs(cells, axis)
        parts, begin = [], 0
        edges = [at for at in difference.edges[axis] if box[axis][0] <= at <= box[axis][1]]
        for end in ends:
            part = (*box[:axis], (edges[begin], edges[end]), *box[axis + 1 :])
            parts.append(region(part, np.take(cells, range(begin, end), axis)))
            begin = end
        return draft.concat(parts, axis)

    return draft.done(region(tuple((at[0], at[-1]) for at in difference.edges), difference.cells))


def _cover(difference: Difference) -> list[Box]:
    """Boxes that cover exactly the wrong elements. They may overlap: few long ones are better than many short ones."""
    cells = difference.cells
    left, found = cells.copy(), list[Box]()
    while left.any():
        start = [int(i) for i in np.unravel_index(np.argmax(left), left.shape)]
        best: Any = max((_grown(cells, start, first) for first in range(cells.ndim)), key=lambda box: left[box].sum())
        left[best] = False
        found.append(tuple((at[side.start], at[side.stop]) for at, side in zip(difference.edges, best, strict=True)))
    return found


def _grown(cells: Any, start: list[int], first: int) -> tuple[slice, ...]:
    """The largest box of wrong cells around one, grown along one dimension first."""
    box = [slice(i, i + 1) for i in start]
    for axis in sorted(range(cells.ndim), key=lambda i: i != first):
        for step in (1, -1):
            while True:
                at = box[axis].stop if step > 0 else box[axis].start - 1
                more = (*box[:axis], slice(at, at + 1), *box[axis + 1 :])
                if not (0 <= at < cells.shape[axis] and cells[more].all()):
                    break
                box[axis] = slice(min(box[axis].start, at), max(box[axis].stop, at + 1))
    return tuple(box)


def _tiles(restriction: Restriction, out: int, boxes: list[Box]) -> dict[Box, int]:
    """The program restricted to boxes. Equally large ones of a convolution are one kernel: a batch of tiles."""
    node = restriction.program.nodes[out]
    found, alike = dict[Box, int](), dict[object, list[tuple[Box, Window]]]()
    for box in boxes:
        window = None
        if node.op in ("conv1d", "conv2d", "conv3d"):
            x, w = map(restriction.shape, node.inputs)
            window = conv_window(node.attrs, x, w, box)
        if window is not None and window.groups:
            sizes = tuple(end - begin for begin, end in box)
            alike.setdefault((sizes, window.weight, window.groups), []).append((box, window))
        else:
            found[box] = restriction.tile(out, box)
    for together in alike.values():
        if len(together) == 1:
            found[together[0][0]] = restriction.tile(out, together[0][0])
        else:
            found |= _batched(restriction, node, together)
    return found


def _batched(restriction: Restriction, node: Node, together: list[tuple[Box, Window]]) -> dict[Box, int]:
    """Boxes of a convolution, equally large and of the same filters, computed at once."""
    draft, attrs = restriction.draft, node.attrs
    (batch, _, *spatial), _ = conv_axes(attrs)
    tiles, sizes = [], []
    for box, window in together:
        tile = restriction.tile(node.inputs[0], window.data)
        for axis, before, after in zip(spatial, window.before, window.after, strict=True):
            tile = draft.pad(tile, axis, before, after)
        tiles.append(tile)
        sizes.append(box[batch][1] - box[batch][0])
    window = together[0][1]
    attrs = attrs._replace(padding=(0,) * 2 * len(spatial), groups=window.groups)  # type: ignore[attr-defined]
    data, weight = draft.concat(tiles, batch), restriction.tile(node.inputs[1], window.weight)
    result = draft.apply(node.op, attrs, data, weight)
    return dict(zip([box for box, _ in together], draft.split(result, batch, sizes), strict=True))


def _slabs(cells: Any, axis: int) -> list[int]:
    """Where runs of equal cells along an axis end."""
    rows = np.moveaxis(cells, axis, 0).reshape(cells.shape[axis], -1)
    return runs([row.tobytes() for row in rows])


def _mixed(cells: Any, axis: int) -> tuple[bool, int]:
    """How many runs of cells along an axis are neither right nor wrong as a whole; last, axes with a single run."""
    ends = _slabs(cells, axis)
    rows = np.moveaxis(cells, axis, 0)
    return len(ends) == 1, sum(bool(rows[end - 1].any() and not rows[end - 1].all()) for end in ends)
