"""Programs restricted to boxes, and mutants corrected with them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.partial import published
from tests.partial.pairs import FAMILIES, outputs
from tvm_eqsat.partial.corrections import corrected
from tvm_eqsat.partial.corrector import difference
from tvm_eqsat.partial.draft import Draft
from tvm_eqsat.partial.restriction import Restriction


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_a_restricted_program_is_a_part_of_the_program(family):
    for seed in range(40):
        rng = np.random.default_rng([seed, 4])
        program, _ = family(rng)
        box = []
        for n in program.nodes[program.outputs[0]].type.shape:
            begin = int(rng.integers(n))
            box.append((begin, int(rng.integers(begin, n)) + 1))
        draft = Draft(program)
        tile = draft.done(Restriction(program, draft).tile(program.outputs[0], tuple(box)))
        whole, part = outputs(program, tile)
        np.testing.assert_array_equal(part, whole[tuple(slice(*side) for side in box)], err_msg=f"{seed} {box}")


def flops(graph):
    return sum(float(np.prod(n.type.shape)) for i in graph.live() if (n := graph.nodes[i]).op == "conv2d")


def test_corrections_of_a_dense_convolution():
    program, mutant = published.dilated(4, 4)
    found = difference(program, mutant)
    result = corrected(program, mutant, found)
    np.testing.assert_array_equal(*outputs(program, result))
    assert flops(result) <= 1.35 * flops(program)  # 26.5 % of the elements, and where rows and columns cross twice
    # The mutant's kernel, one for both rows and one for both columns.
    assert sum(result.nodes[i].op == "conv2d" for i in result.live()) == 3


@pytest.mark.parametrize(("batch", "size", "kernel"), [(2, 14, 3), (4, 7, 3), (2, 7, 5)])
def test_corrections_at_the_seams(batch, size, kernel):
    program, mutant = published.batch_into_width(batch, size, kernel)
    result = corrected(program, mutant, difference(program, mutant))
    np.testing.assert_array_equal(*outputs(program, result))


def test_nothing_to_correct():
    program, mutant = published.space_to_batch(4, 4)
    result = corrected(program, mutant, difference(program, mutant))
    assert [result.nodes[i].op for i in result.live()] == [mutant.nodes[i].op for i in mutant.live()]
