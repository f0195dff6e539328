"""Mutants: all of them equal the original in exact arithmetic, and the published ones are among them."""

from __future__ import annotations

from fnmatch import filter
from functools import cache
from math import inf

import pytest

from tests.partial.programs import branches, conv, right, single
from tvm_eqsat.errors import IllTyped
from tvm_eqsat.graph.tensor_graph import TensorGraph
from tvm_eqsat.partial.corrector import difference
from tvm_eqsat.partial.exchange import Convolution, Exchange, Move, exchanged
from tvm_eqsat.partial.mutants import Recipe, build, identity, mutants, steps, verified

DILATED = {"padding": (2, 2, 2, 2), "dilation": (2, 2)}
SAME = {"padding": (1, 1, 1, 1)}

PROGRAMS = {
    "dilated": conv((1, 2, 6, 8), (3, 2, 3, 3), **DILATED),
    "dilated, odd": conv((1, 2, 7, 5), (2, 2, 3, 3), **DILATED),
    "batch": conv((4, 2, 5, 6), (3, 2, 3, 3), **SAME),
    "large kernel": conv((1, 2, 10, 10), (2, 2, 5, 5), padding=(2, 2, 2, 2)),
    "strided": conv((2, 2, 9, 8), (2, 2, 3, 3), strides=(2, 2), padding=(1, 0, 1, 1)),
    "pixels": conv((1, 4, 4, 4), (6, 4, 1, 1)),
    "one row": conv((1, 2, 6, 9), (2, 2, 1, 5), padding=(0, 2, 0, 2)),
    "no padding": conv((2, 2, 6, 6), (2, 2, 3, 3)),
    "groups": conv((2, 6, 4, 4), (4, 3, 3, 3), groups=2, **SAME),
    "groups of pixels": conv((1, 6, 4, 4), (4, 3, 1, 1), groups=2),
    "transposed": single("conv2d_transpose", (1, 3, 4, 5), (3, 2, 4, 4), strides=(2, 2), padding=(1, 1, 1, 1)),
    "transposed, uneven": single(
        "conv2d_transpose", (1, 2, 3, 3), (2, 2, 3, 5), strides=(2, 3), padding=(1, 0, 0, 2), output_padding=(1, 2)
    ),
    "transposed pixel": single("conv2d_transpose", (2, 3, 1, 1), (3, 2, 4, 4)),
    "product": single("matmul", (2, 6, 4), (4, 8)),
    "batched product": single("matmul", (3, 5, 4), (3, 4, 6)),
    "branches": branches(
        "conv2d", (0, (1, 3, 4, 4), (2, 3, 1, 1)), (0, (1, 3, 4, 4), (4, 3, 1, 1)), (1, (1, 3, 4, 4), (3, 3, 1, 1))
    ),
    "branches of one input": branches("conv2d", (0, (1, 3, 4, 4), (2, 3, 1, 1)), (0, (1, 3, 4, 4), (4, 3, 1, 1))),
    "products of one input": branches("matmul", (0, (5, 4), (4, 3)), (0, (5, 4), (4, 2))),
    "products": branches("matmul", (0, (5, 4), (4, 3)), (1, (5, 4), (4, 3)), (0, (5, 4), (4, 3))),
}


@cache
def everything(name: str, depth: int = 4) -> dict[str, TensorGraph]:
    """The cheapest mutant of each kind of one of the programs, whatever they cost."""
    found = mutants(PROGRAMS[name], depth=depth, limit=10_000, alike=1, slack=inf)
    assert len({mutant.name for mutant in found}) == len(found)
    return {mutant.name: mutant.graph for mutant in found}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_mutant_is_exact_and_another_program(name: str) -> None:
    program = PROGRAMS[name]
    found = everything(name)
    assert found
    types = [program.nodes[i].type for i in program.outputs]
    for what, graph in found.items():
        assert identity(graph) != identity(program), what
        assert [graph.nodes[i].type for i in graph.outputs] == types, what
        assert right(program, graph) == 1, what


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dilated", {"dilated-to-dense-h%2-n+w%2-n", "dilated-to-dense-h%2-h+w%2-w-halo", "transposed"}),
        ("dilated", {"dilated-to-dense-h%2-h+w%2-w-corrected"}),
        ("dilated, odd", {"dilated-to-dense-h%2-n+w%2-n"}),
        ("batch", {"exchange-n/?-w-halo", "exchange-n/?-h-halo", "exchange-n/?-w%", "exchange-n/?-w-corrected"}),
        ("large kernel", {"exchange-h/?-n+w/?-n-halo", "product-of-columns", "split-kernel-*"}),
        ("strided", {"space-to-depth", "exchange-h/?-n-halo"}),
        ("pixels", {"product-of-columns", "product-of-rows", "exchange-h/?-n", "exchange-h%?-n"}),
        ("one row", {"transposed", "product-and-offsets"}),
        ("groups", {"split-groups"}),
        ("groups of pixels", {"product-of-groups"}),
        ("transposed", {"phases-as-filters", "transposed-product-and-offsets"}),
        ("product", {"product-transposed", "product-of-pixels", "blocks-of-rows-*", "blocks-of-columns-*"}),
        ("branches", {"branches-as-groups", "branches-as-even-groups"}),
        ("branches of one input", {"branches-merged"}),
        ("products", {"branches-as-batch"}),
        ("products of one input", {"branches-merged"}),
    ],
)
def test_finds(name: str, expected: set[str]) -> None:
    found = everything(name)
    assert [pattern for pattern in expected if not filter(found, pattern)] == []


def wrong(program: TensorGraph, *moves: Move, dilation: int = 1, before: int = 1) -> float:
    """Share of the result that an exchange without a halo leaves wrong."""
    exchange = Exchange(moves, (dilation,) * 2, (before,) * 2)
    mutant = exchanged(Convolution.of(program), exchange)
    found = difference(program, mutant).fraction
    assert found == pytest.approx(1 - right(program, mutant), abs=0.02)  # a few elements are equal by chance
    return found


def test_phases_side_by_side_are_wrong_where_they_meet() -> None:
    program = conv((1, 3, 14, 14), (2, 3, 3, 3), **DILATED)
    sides = Move("H", 2, True, "H", True), Move("W", 2, True, "W", True)
    assert wrong(program, *sides) == pytest.approx(52 / 196)


@pytest.mark.parametrize(
    ("batch", "width", "kernel", "share"), [(2, 14, 3, 1 / 14), (4, 7, 3, 3 / 14), (16, 7, 3, 0.268), (2, 7, 5, 2 / 7)]
)
def test_a_batch_side_by_side_is_wrong_where_images_meet(batch: int, width: int, kernel: int, share: float) -> None:
    p = kernel // 2
    program = conv((batch, 2, width, width), (2, 2, kernel, kernel), padding=(p,) * 4)
    assert wrong(program, Move("N", batch, False, "W", True), before=p) == pytest.approx(share, abs=5e-4)


def test_tiles_as_a_batch() -> None:
    """PET's change of shape, of [1, 48, 38, 38] to [16, 48, 10, 10]."""
    program = conv((1, 48, 38, 38), (64, 48, 5, 5), padding=(2, 2, 2, 2))
    tiles = Move("H", 4, False, "N", True), Move("W", 4, False, "N", True)
    graph = exchanged(Convolution.of(program), Exchange(tiles, (1, 1), (2, 2)))
    assert [n.type.shape for n in graph.nodes if n.op == "conv2d"] == [(16, 64, 10, 10)]  # type: ignore[union-attr]
    assert difference(program, graph).fraction == pytest.approx(0.532, abs=5e-3)
    with_halo = exchanged(Convolution.of(program), Exchange(tiles, (1, 1), (0, 0), halo=True))
    assert difference(program, with_halo).equal


def test_inception_branches_at_the_published_shape() -> None:
    data = (1, 768, 18, 18)
    wide, narrow = (192, 768, 1, 1), (160, 768, 1, 1)
    program = branches("conv2d", (0, data, wide), (0, data, narrow), (0, data, narrow), (1, data, wide))
    (grouped,) = (m.graph for m in mutants(program, slack=inf) if m.name == "branches-as-groups")
    shapes = [n.type.shape for n in grouped.nodes if n.op == "conv2d"]  # type: ignore[union-attr]
    assert shapes == [(1, 4 * 192, 18, 18)]


def test_a_wrong_mutant_is_never_accepted() -> None:
    program = PROGRAMS["batch"]
    side_by_side = Recipe("exchange", (((("N", 4, False, "W", True),), (1, 1), (1, 1), False)))
    assert right(program, build(program, side_by_side)) < 1
    assert verified(program, side_by_side, "wrong") is None
    corrected = verified(program, side_by_side._replace(corrected=True), "corrected")
    assert corrected is not None
    assert right(program, corrected.graph) == 1


@pytest.mark.parametrize(
    "recipe",
    [Recipe("exchange", ()), Recipe("split-kernel", (0,)), Recipe("nonsense"), Recipe("exchange", (1, 2, 3, 4))],
)
def test_recipes_that_do_not_fit_are_refused(recipe: Recipe) -> None:
    with pytest.raises(IllTyped):
        build(PROGRAMS["dilated"], recipe)


def test_depth_bounds_the_operators_in_a_row() -> None:
    program = PROGRAMS["dilated"]
    assert steps(program) == 1
    found = {depth: everything("dilated", depth) for depth in (1, 2, 3)}
    for depth, graphs in found.items():
        exact = [graph for name, graph in graphs.items() if not name.endswith("corrected")]
        assert all(steps(graph) <= depth for graph in exact)
    assert len(found[1]) < len(found[2]) < len(found[3])


def test_price_decides_what_is_kept() -> None:
    program = PROGRAMS["dilated"]

    def price(graph: TensorGraph) -> float:
        return float(sum(graph.nodes[i].op == "conv2d" for i in graph.live()))

    found = mutants(program, price=price, slack=1.0)
    assert found
    assert all(price(mutant.graph) <= 1 for mutant in found)
    assert {price(mutant.graph) for mutant in mutants(program, price=price, slack=0.5)} <= {0}
    assert len(mutants(program, slack=inf, limit=3)) == 3


def test_other_programs_have_none() -> None:
    assert mutants(single("add", (2, 3), (2, 3))) == []
    assert mutants(conv((1, 5, 5, 2), (3, 3, 2, 4), data_layout="NHWC", kernel_layout="HWIO")) == []
