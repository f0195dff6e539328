"""The difference between a program and a mutant: against brute force, and against published examples."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graphs import apply, tensor
from tests.partial import published
from tests.partial.pairs import FAMILIES, Maker, filled, outputs
from tvm_eqsat.errors import IllTyped
from tvm_eqsat.graph.tensor_graph import Constant, TensorGraph
from tvm_eqsat.partial.boxes import boxes
from tvm_eqsat.partial.corrections import corrected
from tvm_eqsat.partial.corrector import difference
from tvm_eqsat.partial.modular import field_elements, matmul_field, random_field
from tvm_eqsat.partial.points import Points
from tvm_eqsat.verify.field import PRIME, evaluate

PAIRS = 200  # of each family


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_wrong_elements_are_those_of_brute_force_and_corrections_are_exact(family):
    kinds = {"equal": 0, "partly": 0, "everywhere": 0}
    for seed in range(PAIRS):
        program, mutant = family(np.random.default_rng([seed, 1]))
        found = difference(program, mutant, error=1e-5)
        complete = corrected(program, mutant, found) if 0 < found.fraction < 1 else None
        exact, value, *repaired = outputs(program, mutant, *([complete] if complete else []))
        np.testing.assert_array_equal(filled(found), exact != value, err_msg=f"{family.__name__} {seed}")
        assert found.fraction == pytest.approx((exact != value).mean())
        for result in repaired:
            np.testing.assert_array_equal(result, exact, err_msg=f"{family.__name__} {seed}")
        kinds["equal" if found.equal else "partly" if complete else "everywhere"] += 1
    assert min(kinds.values()) > PAIRS // 50, kinds  # every kind is tried


def test_dilated_to_dense():
    program, mutant = published.dilated(512, 512)
    found = difference(program, mutant)
    assert found.edges[2:] == ((0, 1, 2, 12, 13, 14),) * 2
    assert found.cells.size == 25 and found.cells.sum() == 16
    assert found.fraction == pytest.approx(52 / 196)
    assert difference(*published.space_to_batch(512, 512)).equal


@pytest.mark.parametrize(
    ("batch", "size", "kernel", "percent"),
    [(2, 14, 3, 7.1), (2, 7, 3, 14.3), (4, 7, 3, 21.4), (16, 7, 3, 26.8), (2, 7, 5, 28.6)],
)
def test_batch_into_width(batch, size, kernel, percent):
    found = difference(*published.batch_into_width(batch, size, kernel))
    assert 100 * found.fraction == pytest.approx(percent, abs=0.05)


def test_tiles():
    assert 100 * difference(*published.tiled()).fraction == pytest.approx(53.2, abs=0.05)


def test_differences_inside_of_a_box():
    """Boxes that aren't equal may have equal elements: where inputs that move differently meet."""
    programs = []
    for turn in range(2):
        maker = Maker()
        x = tensor(maker.graph, 12)
        programs.append(maker.done(maker.part(x, 0, 0, 11, 2) if turn else maker.part(x, 0, 3, 9)))
    found = difference(*programs)
    assert found.wrong == [((0, 3),), ((4, 6),)]
    assert difference(*programs, most=0.5).fraction == 1


def test_sums_that_move_differently_need_more_points():
    """x[5v] + x[1 + 2v] and x[3v] + x[1 + 4v] agree for v = 0 and 1, but not for v = 2: PET's points don't suffice."""
    programs = []
    for strides in ((5, 2), (3, 4)):
        maker = Maker()
        x = tensor(maker.graph, 11)
        parts = [maker.part(x, 0, b, b + 2 * s + 1, s) for b, s in zip((0, 1), strides, strict=True)]
        programs.append(maker.done(apply(maker.graph, "add", *parts)))
    assert difference(*programs).wrong == [((2, 3),)]


def test_a_sum_that_both_have_is_taken_over_one_element():
    program, mutant = published.space_to_batch(8, 4)
    both = boxes(program).sums & boxes(mutant).sums
    assert both == {(8, ((0, 1, 1), (1, 1, 1)))}
    products = []
    for turn in range(2):
        maker = Maker()
        x, w = tensor(maker.graph, 5, 8), tensor(maker.graph, 8, 3)
        swapped = maker.reshape(maker.permute(maker.reshape(x, 5, 2, 4), 0, 2, 1), 5, 8)
        products.append(maker.done(apply(maker.graph, "matmul", swapped if turn else x, w)))
    assert not boxes(products[0]).sums & boxes(products[1]).sums  # its terms are in another order
    assert difference(*products).fraction == 1


def test_a_sum_that_some_term_lacks_is_taken_over_all():
    added, stretched = [], []
    for begin in (0, 1):
        maker = Maker()
        x, w = tensor(maker.graph, 5, 8), tensor(maker.graph, 8, 3)
        product = apply(maker.graph, "matmul", x, w)
        added.append(maker.done(apply(maker.graph, "add", product, maker.part(x, 1, begin, begin + 3))))
        maker = Maker()
        x = tensor(maker.graph, 8)
        both = apply(maker.graph, "add", x, maker.part(x, 0, begin + 1, begin + 2))
        stretched.append(maker.done(apply(maker.graph, "sum", both, axes=(0,))))
    assert difference(*added).fraction == 1
    assert difference(*stretched).fraction == 1


def test_constants_are_compared_by_value():
    def scaled(values):
        graph = TensorGraph()
        constant = apply(graph, "constant", value=Constant(np.asarray(values)))
        graph.outputs = [apply(graph, "multiply", tensor(graph, 4), constant)]
        return graph

    assert difference(scaled([0.5, 1.0, -2.0, 3.0]), scaled([0.5, 1.5, -2.0, 1.0])).wrong == [((1, 2),), ((3, 4),)]


def test_what_cannot_be_compared_is_refused():
    one, other = published.convolution((1, 2, 4, 4), (2, 2, 1, 1)), published.convolution((1, 2, 5, 4), (2, 2, 1, 1))
    with pytest.raises(IllTyped, match="output"):
        difference(one, other)
    other = published.convolution((1, 4, 4, 4), (2, 4, 1, 1))
    with pytest.raises(IllTyped, match="input"):
        difference(one, other)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_values_at_points_are_those_of_the_reference_meaning(family):
    for seed in range(6):
        program, _ = family(np.random.default_rng([seed, 3]))
        points = Points(program)
        shape = points.shapes[program.outputs[0]]
        leaves = {}
        for i in program.live():
            node = program.nodes[i]
            if node.op == "input":
                positions = np.arange(node.type.numel()).reshape(node.type.shape)
                leaves[node.attrs[0]] = random_field(seed, node.attrs[0], positions)
        expected = evaluate(program, leaves, field=True)[0].astype(np.int64)
        some = [np.array([n - 1, 0, n // 2]) for n in shape]
        np.testing.assert_array_equal(points.output([np.arange(n) for n in shape], seed), expected)
        np.testing.assert_array_equal(points.output(some, seed), expected[np.ix_(*some)])


def test_field_arithmetic():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, PRIME, (3, 70)), rng.integers(0, PRIME, (70, 2))
    expected = [[sum(int(a) * int(b) for a, b in zip(row, column, strict=True)) % PRIME for column in y.T] for row in x]
    np.testing.assert_array_equal(matmul_field(x, y), expected)
    half, tenth, minus = field_elements(np.array([0.5, 0.1, -3.0]))
    assert 2 * half % PRIME == 1 and minus == PRIME - 3
    numerator, denominator = (0.1).as_integer_ratio()
    assert int(tenth) * denominator % PRIME == numerator % PRIME
    with pytest.raises(IllTyped):
        field_elements(np.array([np.inf]))
