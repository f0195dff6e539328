"""Transposed convolutions without the zeros that TVM spreads the data out with.

With stride ``s``, result ``u * s + q`` is a sum over pixels ``u - j`` of data and taps ``j * s + q`` of the kernel. So
the phases ``q`` are filters of one small ordinary convolution, whose results are then interleaved; or one product finds
all terms, which are added where they meet (EinNet, OSDI 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..errors import IllTyped
from ..graph.tensor_graph import TensorGraph
from .draft import Draft, inputs_of, static_shape

_PARTS = 32  # most terms of the sum


class Transposed:
    """A program that is one transposed convolution of its two inputs, over two dimensions.

    Raises
    ------
    IllTyped
        It is something else, has groups, or a dilation.
    """

    def __init__(self, program: TensorGraph) -> None:
        node = program.nodes[program.outputs[0]]
        if node.op != "conv2d_transpose" or list(node.inputs) != inputs_of(program) or len(program.outputs) != 1:
            raise IllTyped("not one transposed convolution of two inputs")
        attrs: Any = node.attrs
        if attrs.groups != 1 or attrs.dilation != (1, 1):
            raise IllTyped("a transposed convolution with groups or a dilation")
        self.attrs = attrs
        self.draft = Draft(program)
        self.data, self.weight, self.out = (static_shape(program, i) for i in (*node.inputs, program.outputs[0]))
        pairs = zip(self.data[2:], self.weight[2:], attrs.strides, strict=True)
        # The steps of a single pixel have no length.
        self.strides = [max(kernel, stride) if size == 1 else stride for size, kernel, stride in pairs]
        self.taps = [-(-k // s) for k, s in zip(self.weight[2:], self.strides, strict=True)]  # for each phase

    def kernel(self) -> int:
        """The weight, ``[channels, filters, taps, phases, taps, phases]``."""
        w = self.draft.leaves[1]
        for axis, stride in ((2, self.strides[0]), (3, self.strides[1])):
            w = self.draft.pad(w, axis, 0, -self.weight[axis] % stride)
        (jh, jv), (sh, sv) = self.taps, self.strides
        return self.draft.reshape(w, (*self.weight[:2], jh, sh, jv, sv))

    def interleaved(self, y: int) -> TensorGraph:
        """The result, from its phases ``[batch, filters * phases * phases, rows, columns]``."""
        draft, (n, f), (sh, sv) = self.draft, self.out[:2], self.strides
        rows, columns = draft.shape(y)[2:]
        y = draft.permute(draft.reshape(y, (n, f, sh, sv, rows, columns)), (0, 1, 4, 2, 5, 3))
        y = draft.reshape(y, (n, f, rows * sh, columns * sv))
        for axis, cut in ((2, self.attrs.padding[0]), (3, self.attrs.padding[1])):
            y = draft.pad(y, axis, -cut, self.out[axis] + cut - draft.shape(y)[axis])
        return draft.done(y)


def phases_as_filters(program: TensorGraph) -> TensorGraph:
    """One ordinary convolution with a filter for each phase."""
    site = Transposed(program)
    draft, (jh, jv), (sh, sv) = site.draft, site.taps, site.strides
    w = site.kernel()
    for axis, taps in ((2, jh), (4, jv)):  # a convolution meets its taps in reverse
        w = draft.concat(draft.split(w, axis, [1] * taps)[::-1], axis)
    c, f = site.weight[:2]
    w = draft.reshape(draft.permute(w, (1, 3, 5, 0, 2, 4)), (f * sh * sv, c, jh, jv))
    return site.interleaved(draft("conv2d", draft.leaves[0], w, padding=(jh - 1, jv - 1, jh - 1, jv - 1)))


def product_and_offsets(program: TensorGraph) -> TensorGraph:
    """One product for all taps and phases; the results for each tap are added with their offsets."""
    site = Transposed(program)
    draft, (jh, jv), (sh, sv) = site.draft, site.taps, site.strides
    if jh * jv > _PARTS:
        raise IllTyped("too many terms")
    n, c, h, v = site.data
    filters = site.weight[1] * sh * sv
    w = draft.reshape(draft.permute(site.kernel(), (2, 4, 1, 3, 5, 0)), (jh * jv * filters, c))
    product = draft("matmul", w, draft.reshape(draft.leaves[0], (n, c, h * v)))
    terms = []
    for k, part in enumerate(draft.split(product, 1, [filters] * (jh * jv))):
        i, j = divmod(k, jv)
        part = draft.pad(draft.reshape(part, (n, filters, h, v)), 2, i, jh - 1 - i)
        terms.append(draft.pad(part, 3, j, jv - 1 - j))
    return site.interleaved(draft.total(terms))


def forms(program: TensorGraph) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and parameters of what may apply, of :data:`FORMS`."""
    Transposed(program)
    return iter([(name, ()) for name in FORMS])


FORMS: dict[str, Callable[..., TensorGraph]] = {
    "phases-as-filters": phases_as_filters,
    "transposed-product-and-offsets": product_and_offsets,
}
