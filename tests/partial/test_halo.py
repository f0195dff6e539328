"""Halos: gaps between pieces and overlapped tiles that make a mutant exact."""

from __future__ import annotations

import numpy as np
import pytest

from tests.partial import published
from tests.partial.pairs import convolved, moved, outputs
from tvm_eqsat.partial.corrector import difference
from tvm_eqsat.partial.halo import with_halo


def convolution_of(graph):
    """Shapes of the data and of the result of a program's convolution."""
    (conv,) = [graph.nodes[i] for i in graph.live() if graph.nodes[i].op == "conv2d"]
    return graph.nodes[conv.inputs[0]].type.shape, conv.type.shape


def check(program, mutant):
    """The mutant with a halo, which must be exact on every element; None if there is none."""
    found = with_halo(program, mutant)
    if found is not None:
        np.testing.assert_array_equal(*outputs(program, found))
    return found


def test_phases_are_one_row_apart():
    found = check(*published.dilated(4, 4))
    assert convolution_of(found) == ((1, 4, 15, 15), (1, 4, 15, 15))


@pytest.mark.parametrize(
    ("batch", "size", "kernel", "percent"),
    [(2, 14, 3, 3.6), (2, 7, 3, 7.1), (4, 7, 3, 10.7), (16, 7, 3, 13.4), (2, 7, 5, 14.3)],
)
def test_images_side_by_side(batch, size, kernel, percent):
    found = check(*published.batch_into_width(batch, size, kernel))
    _, (*_, height, width) = convolution_of(found)
    assert height == size
    assert 100 * (width / (batch * size) - 1) == pytest.approx(percent, abs=0.05)


def test_tiles_overlap():
    found = check(*published.tiled(3, 2))
    assert convolution_of(found) == ((16, 3, 14, 14), (16, 2, 10, 10))


def test_random_mutants():
    """Whatever is found is exact, and most exchanges of dimensions can be made exact."""
    wrong = mended = 0
    for seed in range(120):
        program, mutant = convolved(np.random.default_rng([seed, 2]))
        if not difference(program, mutant, error=1e-5).equal:
            wrong += 1
            mended += check(program, mutant) is not None
    assert wrong > 30 and mended > 10, (wrong, mended)


def test_nothing_to_keep_apart():
    program, mutant = published.space_to_batch(4, 4)
    assert with_halo(program, mutant) is None or difference(program, with_halo(program, mutant)).equal
    assert with_halo(*moved(np.random.default_rng(0))) is None
    x, w = (1, 2, 6, 6), (2, 2, 3, 3)
    dense, other = published.convolution(x, w, padding=(1,) * 4), published.convolution(x, w, padding=(2, 2, 0, 0))
    assert with_halo(dense, other) is None
