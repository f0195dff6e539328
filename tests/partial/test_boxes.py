"""Boxes: on each one, a program does everywhere the same."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graphs import apply, tensor
from tests.partial import published
from tests.partial.pairs import FAMILIES, Maker
from tvm_eqsat.errors import IllTyped
from tvm_eqsat.graph.tensor_graph import Constant, TensorGraph
from tvm_eqsat.partial.boxes import boxes, output_boxes
from tvm_eqsat.partial.digits import Digit, dimension_groups, merge, refine, regroup, split
from tvm_eqsat.verify.field import evaluate

LEAF = ((0, 0, 1),)  # the position along dimension 0 of input 0


def test_a_convolution_with_padding_has_nine_boxes():
    assert output_boxes(published.convolution((1, 4, 8, 9), (4, 4, 3, 3), padding=(1,) * 4)) == [[], [], [1, 7], [1, 8]]


def test_a_dilated_convolution():
    program, dense = published.dilated(4, 4)
    assert output_boxes(program) == [[], [], [2, 12], [2, 12]]
    assert output_boxes(dense) == [[], [], *[list(range(1, 14))] * 2]  # its two phases alternate
    assert output_boxes(published.space_to_batch(4, 4)[1]) == [[], [], [2, 12], [2, 12]]


def test_strides():
    program = published.convolution((1, 2, 11, 11), (2, 2, 3, 3), strides=(2, 2), padding=(1, 1, 1, 1))
    assert output_boxes(program) == [[], [], [1, 5], [1, 5]]


def test_windows_across_the_seam_of_a_concatenation():
    maker = Maker()
    x, y, w = (tensor(maker.graph, *shape) for shape in ((1, 2, 4, 3), (1, 2, 4, 3), (2, 2, 3, 1)))
    rows = apply(maker.graph, "concat", x, y, axis=2)
    assert output_boxes(maker.done(apply(maker.graph, "conv2d", rows, w))) == [[], [], [2, 3, 4], []]


def test_movement():
    maker = Maker()
    x, y = tensor(maker.graph, 4, 6), tensor(maker.graph, 3, 6)
    out = apply(maker.graph, "concat", x, y, axis=0)
    out = apply(maker.graph, "pad", out, pad_width=(1, 0, 0, 2))
    assert output_boxes(maker.done(out)) == [[1, 5], [6]]
    assert output_boxes(maker.done(maker.part(out, 0, 1, 8, 2))) == [[2], [6]]
    assert output_boxes(maker.done(maker.reshape(x, 24))) == [[6, 12, 18]]
    assert output_boxes(maker.done(maker.reshape(maker.reshape(x, 2, 2, 3, 2), 4, 6))) == [[], []]


def test_uniform_constants_do_not_split():
    graph = TensorGraph()
    x = tensor(graph, 3, 4)
    for value, expected in ((np.ones((3, 4)), [[], []]), (np.arange(12.0).reshape(3, 4), [[1, 2], [1, 2, 3]])):
        constant = apply(graph, "constant", value=Constant(value))
        graph.outputs = [apply(graph, "multiply", x, constant)]
        assert output_boxes(graph) == expected


def test_what_is_not_multilinear_is_refused():
    graph = TensorGraph()
    x = tensor(graph, 3, 3)
    for out in (
        apply(graph, "exp", x),
        apply(graph, "multiply", x, x),
        apply(graph, "matmul", x, apply(graph, "permute_dims", x, axes=(1, 0))),
        apply(graph, "pad", x, pad_width=(1, 1, 0, 0), value=1.0),
    ):
        graph.outputs = [out]
        with pytest.raises(IllTyped):
            boxes(graph)


def test_digits_split_and_merge():
    line = Digit(12, (5, 8), (LEAF,))
    rows, columns = split(line, 4)
    assert rows == Digit(3, (1, 2), (((0, 0, 4),),))
    assert columns == Digit(4, (1,), (LEAF,))
    assert merge(split(Digit(12, (), (LEAF,)), 4), 1) == Digit(12, (), (LEAF,))  # it wraps around seamlessly
    swapped = split(Digit(12, (), (LEAF,)), 4)[::-1]
    assert merge(swapped, 1).splits == (3, 6, 9)
    assert [[d.size for d in group] for group in regroup((line,), (2, 3, 2), 1)] == [[2], [3], [2]]
    assert [[d.size for d in group] for group in regroup(split(line, 4), (2, 6), 1)] == [[2], [6]]
    pairs = refine((Digit(12, (), (LEAF,)),), split(line, 4), (1, 1))
    assert [(a.size, b.size) for a, b in pairs] == [(3, 3), (4, 4)]


def test_dimension_groups():
    assert dimension_groups((1, 4, 14, 14), (1, 4, 7, 2, 14)) == (
        (range(0, 1), range(0, 1)),
        (range(1, 2), range(1, 2)),
        (range(2, 3), range(2, 4)),
        (range(3, 4), range(4, 5)),
    )
    assert dimension_groups((6, 4), (4, 6)) == ((range(0, 2), range(0, 2)),)
    assert dimension_groups((), (1, 1)) == ((range(0, 0), range(0, 2)),)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_inside_a_box_every_element_reads_equally_much(family):
    for seed in range(12):
        program, _ = family(np.random.default_rng([7, seed]))
        found = boxes(program)
        if found.terms > 1:  # sums that move differently may meet
            continue
        count = _dependence(program).sum(-1)
        for axis, line in enumerate(found.lines()):
            rows = np.moveaxis(count, axis, 0)
            for begin, end in zip((0, *line.splits), (*line.splits, line.size), strict=True):
                assert (rows[begin:end] == rows[begin]).all()


def _dependence(program):
    """For each output element, which elements of input 0 it depends on: dimensions of the output, then one more."""
    leaves = {}
    for i in program.live():
        node = program.nodes[i]
        if node.op == "input":
            leaves[node.attrs[0]] = np.random.default_rng(node.attrs[0]).integers(1, 1 << 30, node.type.shape)
    index = min(leaves)
    base = evaluate(program, leaves)[0]
    read = []
    for at in np.ndindex(leaves[index].shape):
        changed = leaves[index].copy()
        changed[at] += 1
        read.append(evaluate(program, {**leaves, index: changed})[0] != base)
    return np.stack(read, -1)
