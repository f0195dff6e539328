"""Other ways to compute a matrix product: transposed, as a convolution of single pixels, in blocks, in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

from ..errors import IllTyped
from ..graph.tensor_graph import TensorGraph
from .draft import Draft, inputs_of, static_shape


class Product:
    """A program that is one matrix product of its two inputs, both of rank two or more.

    Raises
    ------
    IllTyped
        It is something else.
    """

    def __init__(self, program: TensorGraph) -> None:
        node = program.nodes[program.outputs[0]]
        if node.op != "matmul" or list(node.inputs) != inputs_of(program) or len(program.outputs) != 1:
            raise IllTyped("not one matrix product of two inputs")
        self.attrs: Any = node.attrs
        self.draft = Draft(program)
        self.x, self.w, self.out = (static_shape(program, i) for i in (*node.inputs, program.outputs[0]))
        if min(len(self.x), len(self.w)) < 2:
            raise IllTyped("a product with a vector")
        self.rows = prod(self.x[:-1])

    def one_matrix(self) -> tuple[int, int]:
        """The operands, where the right one is a single matrix, and the left one made one."""
        if len(self.w) > 2:
            raise IllTyped("needs one matrix on the right")
        return self.draft.reshape(self.draft.leaves[0], (self.rows, self.x[-1])), self.draft.leaves[1]

    def done(self, y: int) -> TensorGraph:
        """The program, from its result in any shape."""
        return self.draft.done(self.draft.reshape(y, self.out))


def _turned(draft: Draft, x: int) -> int:
    rank = len(draft.shape(x))
    return draft.permute(x, (*range(rank - 2), rank - 1, rank - 2))


def transposed(program: TensorGraph) -> TensorGraph:
    """``(w' x')'``."""
    site = Product(program)
    x, w = (_turned(site.draft, leaf) for leaf in site.draft.leaves)
    return site.done(_turned(site.draft, site.draft.apply("matmul", site.attrs, w, x)))


def single_pixels(program: TensorGraph) -> TensorGraph:
    """Rows as pixels of an image, channels first."""
    site = Product(program)
    draft = site.draft
    x, w = site.one_matrix()
    data = draft.reshape(draft.permute(x, (1, 0)), (1, site.x[-1], 1, site.rows))
    weight = draft.reshape(draft.permute(w, (1, 0)), (site.w[1], site.x[-1], 1, 1))
    y = draft("conv2d", data, weight, out_dtype=site.attrs.out_dtype)
    return site.done(draft.permute(draft.reshape(y, (site.w[1], site.rows)), (1, 0)))


def blocks_of_rows(program: TensorGraph, count: int) -> TensorGraph:
    """Blocks of rows as a batch."""
    site = Product(program)
    x, w = site.one_matrix()
    if site.rows % count or count in (1, site.x[0]):
        raise IllTyped(f"{site.rows} rows don't make {count} new blocks")
    x = site.draft.reshape(x, (count, site.rows // count, site.x[-1]))
    return site.done(site.draft.apply("matmul", site.attrs, x, w))


def blocks_of_columns(program: TensorGraph, count: int) -> TensorGraph:
    """Blocks of columns as a batch."""
    site = Product(program)
    x, w = site.one_matrix()
    depth, columns = site.w
    if columns % count or count == 1:
        raise IllTyped(f"{columns} columns don't make {count} blocks")
    w = site.draft.permute(site.draft.reshape(w, (depth, count, columns // count)), (1, 0, 2))
    return site.done(site.draft.permute(site.draft.apply("matmul", site.attrs, x, w), (1, 0, 2)))


def blocks_of_terms(program: TensorGraph, count: int) -> TensorGraph:
    """The sum cut into partial sums."""
    site = Product(program)
    draft = site.draft
    depth = site.x[-1]
    if depth % count or count == 1:
        raise IllTyped(f"{depth} terms don't make {count} partial sums")
    sizes = [depth // count] * count
    xs = draft.split(draft.leaves[0], len(site.x) - 1, sizes)
    ws = draft.split(draft.leaves[1], len(site.w) - 2, sizes)
    return site.done(draft.total([draft.apply("matmul", site.attrs, x, w) for x, w in zip(xs, ws, strict=True)]))


def forms(program: TensorGraph) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and parameters of what may apply, of :data:`FORMS`."""
    site = Product(program)
    yield "product-transposed", ()
    yield "product-of-pixels", ()
    for name, size in (
        ("blocks-of-rows", site.rows),
        ("blocks-of-columns", site.w[-1]),
        ("blocks-of-terms", site.x[-1]),
    ):
        most = 4 if name == "blocks-of-terms" else 64
        for count in range(2, min(size, most + 1)):
            if size % count == 0:
                yield name, (count,)


FORMS: dict[str, Callable[..., TensorGraph]] = {
    "product-transposed": transposed,
    "product-of-pixels": single_pixels,
    "blocks-of-rows": blocks_of_rows,
    "blocks-of-columns": blocks_of_columns,
    "blocks-of-terms": blocks_of_terms,
}
