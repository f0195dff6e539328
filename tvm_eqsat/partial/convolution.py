"""Other ways to compute a convolution: as matrix products, transposed, on fewer pixels of more channels, in parts.

All of these equal the convolution everywhere. Weights are rearranged on the way; where they are known before the first
run, that costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..errors import IllTyped
from ..graph.tensor_graph import TensorGraph
from .draft import Draft
from .exchange import Convolution

#: Most products or parts of one mutant.
_PARTS = 32


def transposed(conv: Convolution) -> TensorGraph:
    """Rows and columns exchanged, of the data, the kernel and the result: ``1xk`` becomes ``kx1``."""
    draft = Draft(conv.program)
    x, w = (draft.permute(leaf, (0, 1, 3, 2)) for leaf in draft.leaves)
    a = conv.attrs
    turned = a._replace(
        strides=a.strides[::-1],
        dilation=a.dilation[::-1],
        padding=(a.padding[1], a.padding[0], a.padding[3], a.padding[2]),
    )
    return draft.done(draft.permute(draft.apply("conv2d", turned, x, w), (0, 1, 3, 2)))


def _padded(draft: Draft, conv: Convolution) -> int:
    """The data with the convolution's padding."""
    top, left, bottom, right = conv.attrs.padding
    return draft.pad(draft.pad(draft.leaves[0], 2, top, bottom), 3, left, right)


def _taps(draft: Draft, conv: Convolution) -> list[int]:
    """For each place of the kernel, the pixels that it meets."""
    x, found = _padded(draft, conv), []
    (sh, sv), (dh, dv) = conv.attrs.strides, conv.attrs.dilation
    for i in range(conv.weight[2]):
        rows = draft.slice(x, 2, i * dh, i * dh + (conv.out[2] - 1) * sh + 1, sh)
        for j in range(conv.weight[3]):
            found.append(draft.slice(rows, 3, j * dv, j * dv + (conv.out[3] - 1) * sv + 1, sv))
    return found


def _ungrouped(conv: Convolution, taps: int = 1) -> int:
    """Places of the kernel, where there are neither groups nor too many of them."""
    places = conv.weight[2] * conv.weight[3]
    if conv.attrs.groups != 1 or not taps <= places <= _PARTS:
        raise IllTyped("needs a convolution without groups, and a kernel of fitting size")
    return places


def product_of_columns(conv: Convolution) -> TensorGraph:
    """One product of the weight with all windows, laid side by side (im2col); pixels stay the last axis."""
    places = _ungrouped(conv)
    draft = Draft(conv.program)
    n, f, h, v = conv.out
    columns = draft.reshape(draft.concat(_taps(draft, conv), 1), (n, places * conv.data[1], h * v))
    weight = draft.reshape(draft.permute(draft.leaves[1], (0, 2, 3, 1)), (f, places * conv.data[1]))
    return draft.done(draft.reshape(draft("matmul", weight, columns), conv.out))


def product_of_rows(conv: Convolution) -> TensorGraph:
    """The same with a row for each window; channels become the last axis."""
    places = _ungrouped(conv)
    draft = Draft(conv.program)
    n, f, h, v = conv.out
    rows = draft.concat([draft.permute(tap, (0, 2, 3, 1)) for tap in _taps(draft, conv)], 3)
    weight = draft.reshape(draft.permute(draft.leaves[1], (2, 3, 1, 0)), (places * conv.data[1], f))
    product = draft("matmul", draft.reshape(rows, (n * h * v, places * conv.data[1])), weight)
    return draft.done(draft.permute(draft.reshape(product, (n, h, v, f)), (0, 3, 1, 2)))


def product_and_offsets(conv: Convolution) -> TensorGraph:
    """One product for all places of the kernel, whose results are added with their offsets (EinNet, OSDI 2023)."""
    places = _ungrouped(conv, 2)
    if conv.attrs.strides != (1, 1):
        raise IllTyped("a stride would throw most of the product away")
    draft = Draft(conv.program)
    n, c, h, v = conv.data
    f, kernel, (dh, dv), pads = conv.out[1], conv.weight[2:], conv.attrs.dilation, conv.attrs.padding
    weight = draft.reshape(draft.permute(draft.leaves[1], (2, 3, 0, 1)), (places * f, c))
    product = draft("matmul", weight, draft.reshape(draft.leaves[0], (n, c, h * v)))
    parts = draft.split(product, 1, [f] * places)
    found = []
    for k, part in enumerate(parts):
        i, j = k // kernel[1] * dh, k % kernel[1] * dv
        part = draft.reshape(part, (n, f, h, v))
        for axis, offset, before in ((2, i, pads[0]), (3, j, pads[1])):
            front = before - offset
            part = draft.pad(part, axis, front, conv.out[axis] - conv.data[axis] - front)
        found.append(part)
    return draft.done(draft.total(found))


def space_to_depth(conv: Convolution) -> TensorGraph:
    """A strided convolution as a dense one: each square of pixels becomes one pixel of that many times the channels."""
    (sh, sv), a = conv.attrs.strides, conv.attrs
    if max(sh, sv) == 1 or a.dilation != (1, 1) or a.groups != 1:
        raise IllTyped("needs a stride, and neither dilation nor groups")
    draft = Draft(conv.program)
    x, w = _padded(draft, conv), draft.leaves[1]
    for axis, stride in ((2, sh), (3, sv)):
        w = draft.pad(w, axis, 0, -conv.weight[axis] % stride)
        wanted = (conv.out[axis] - 1) * stride + draft.shape(w)[axis]
        x = draft.pad(x, axis, 0, wanted - draft.shape(x)[axis])
    x, w = (_gathered(draft, t, sh, sv) for t in (x, w))
    return draft.done(draft.apply("conv2d", a._replace(strides=(1, 1), padding=(0,) * 4), x, w))


def _gathered(draft: Draft, x: int, rows: int, columns: int) -> int:
    """Pixels of each rectangle as channels."""
    n, c, h, v = draft.shape(x)
    split = draft.reshape(x, (n, c, h // rows, rows, v // columns, columns))
    return draft.reshape(draft.permute(split, (0, 1, 3, 5, 2, 4)), (n, c * rows * columns, h // rows, v // columns))


def depth_to_space(conv: Convolution, rows: int, columns: int) -> TensorGraph:
    """Squares of results from one window: strided, with a filter for each place in the square, moved to it."""
    a = conv.attrs
    n, f, h, v = conv.out
    if a.strides != (1, 1) or a.dilation != (1, 1) or a.groups != 1 or h % rows or v % columns:
        raise IllTyped("needs an ordinary convolution whose result divides into squares")
    draft = Draft(conv.program)
    shifted = []
    for i in range(rows):
        for j in range(columns):
            w = draft.pad(draft.leaves[1], 2, i, rows - 1 - i)
            shifted.append(
                draft.reshape(draft.pad(w, 3, j, columns - 1 - j), (f, 1, conv.weight[1], *_grown(conv, rows, columns)))
            )
    weight = draft.flat(draft.concat(shifted, 1), 0, 2)
    y = draft.apply("conv2d", a._replace(strides=(rows, columns)), draft.leaves[0], weight)
    y = draft.reshape(y, (n, f, rows, columns, h // rows, v // columns))
    return draft.done(draft.reshape(draft.permute(y, (0, 1, 4, 2, 5, 3)), conv.out))


def _grown(conv: Convolution, rows: int, columns: int) -> tuple[int, int]:
    return conv.weight[2] + rows - 1, conv.weight[3] + columns - 1


def split_kernel(conv: Convolution, axis: int, part: int) -> TensorGraph:
    """A sum of convolutions with ``part`` rows (axis 0) or columns (1) of the kernel each."""
    size, a = conv.weight[2 + axis], conv.attrs
    if not 1 <= part < size:
        raise IllTyped(f"{size} rows or columns don't split into parts of {part}")
    draft = Draft(conv.program)
    found = []
    for begin in range(0, size, part):
        end = min(begin + part, size)
        w = draft.slice(draft.leaves[1], 2 + axis, begin, end)
        offset, reach = begin * a.dilation[axis], (end - begin - 1) * a.dilation[axis]
        padding = list(a.padding)
        padding[axis] -= offset
        used = (conv.out[2 + axis] - 1) * a.strides[axis] + reach + 1
        padding[2 + axis] = used - conv.data[2 + axis] - padding[axis]
        x = draft.leaves[0]
        x = draft.pad(x, 2 + axis, min(0, padding[axis]), min(0, padding[2 + axis]))
        attrs = a._replace(padding=tuple(max(0, p) for p in padding))
        found.append(draft.apply("conv2d", attrs, x, w))
    return draft.done(draft.total(found))


def enlarged(conv: Convolution, rows: int, columns: int) -> TensorGraph:
    """More rows and columns than wanted, which are cut off: sizes that fill vectors."""
    draft = Draft(conv.program)
    top, left, bottom, right = conv.attrs.padding
    (sh, sv), a = conv.attrs.strides, conv.attrs
    y = draft.apply("conv2d", a._replace(padding=(top, left, bottom + rows * sh, right + columns * sv)), *draft.leaves)
    return draft.done(draft.slice(draft.slice(y, 2, 0, conv.out[2]), 3, 0, conv.out[3]))


def split_groups(conv: Convolution) -> TensorGraph:
    """A convolution for each group."""
    groups = conv.attrs.groups
    if not 2 <= groups <= _PARTS:
        raise IllTyped("needs a few groups")
    draft = Draft(conv.program)
    xs, ws = (
        draft.split(leaf, axis, [draft.shape(leaf)[axis] // groups] * groups)
        for leaf, axis in zip(draft.leaves, (1, 0), strict=True)
    )
    attrs = conv.attrs._replace(groups=1)
    return draft.done(draft.concat([draft.apply("conv2d", attrs, x, w) for x, w in zip(xs, ws, strict=True)], 1))


def product_of_groups(conv: Convolution) -> TensorGraph:
    """A batched product, one for each group, of a grouped convolution of single pixels."""
    a, g = conv.attrs, conv.attrs.groups
    if g == 1 or conv.weight[2:] != (1, 1) or a.strides != (1, 1) or any(a.padding):
        raise IllTyped("needs a grouped convolution of single pixels")
    draft = Draft(conv.program)
    n, c, h, v = conv.data
    x = draft.reshape(draft.leaves[0], (n, g, c // g, h * v))
    w = draft.reshape(draft.leaves[1], (1, g, conv.out[1] // g, c // g))
    return draft.done(draft.reshape(draft("matmul", w, x), conv.out))


def forms(conv: Convolution) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and parameters of what may apply, of :data:`FORMS`."""
    h, v = conv.out[2:]
    if conv.data[2:] != (1, 1):
        yield "transposed", ()
    for name in ("product-of-columns", "product-of-rows", "product-and-offsets", "space-to-depth"):
        yield name, ()
    if conv.attrs.groups > 1:
        yield "split-groups", ()
        yield "product-of-groups", ()
    for multiple in (2, 4, 8):
        if h % multiple or v % multiple:
            yield "enlarged", (-h % multiple, -v % multiple)
    for axis in (0, 1):
        for part in range(1, conv.weight[2 + axis]):
            yield "split-kernel", (axis, part)
    for rows in (1, 2, 4):
        for columns in (1, 2, 4):
            if rows * columns > 1 and h % rows == 0 and v % columns == 0:
                yield "depth-to-space", (rows, columns)


FORMS: dict[str, Callable[..., TensorGraph]] = {
    "transposed": transposed,
    "product-of-columns": product_of_columns,
    "product-of-rows": product_of_rows,
    "product-and-offsets": product_and_offsets,
    "space-to-depth": space_to_depth,
    "depth-to-space": depth_to_space,
    "enlarged": enlarged,
    "split-kernel": split_kernel,
    "split-groups": split_groups,
    "product-of-groups": product_of_groups,
}
