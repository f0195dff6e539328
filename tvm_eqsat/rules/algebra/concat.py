"""Concatenations, brought out of whatever they are an operand of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..dsl import Term, attributes, op, rest, tensors
from ..lib import channel, slices, total
from ..rule import Rule, RuleSet
from ._samples import conv_attrs

x, y, w = tensors("x y w")
a, k, j = attributes("a k j")


def _cut(y: Term, rank: int, axis: int, sizes: list[Any]) -> list[Term] | None:
    """``y`` as each part of a concatenation of the given rank meets it in a broadcast."""
    own = axis - (rank - y.rank)
    if y.rank > rank:
        return None
    if own < 0 or y.shape[own] == 1:
        return [y] * len(sizes)
    return slices(y, own, sizes)


def _binary_of_concat(f: Any, xs: tuple[Term, ...], y: Term, k: int) -> Term | None:
    parts = _cut(y, xs[0].rank, k, [t.shape[k] for t in xs])
    if parts is None:
        return None
    return op.concat(*[f(t, part) for t, part in zip(xs, parts, strict=True)], axis=k)


def _rows(xs: tuple[Term, ...], w: Term, k: int) -> Term | None:
    if w.rank < 2 or w.rank > xs[0].rank or k != xs[0].rank - 2:
        return None
    return op.concat(*[op.matmul(t, w) for t in xs], axis=k)


def _columns(x: Term, xs: tuple[Term, ...], k: int) -> Term | None:
    rank = max(x.rank, xs[0].rank)
    if x.rank < 2 or k != xs[0].rank - 1 or k == 0:
        return None
    return op.concat(*[op.matmul(x, t) for t in xs], axis=rank - 1)


def _reduced_rows(x: Term, xs: tuple[Term, ...], k: int) -> Term | None:
    if k != xs[0].rank - 2:
        return None
    parts = slices(x, x.rank - 1, [t.shape[k] for t in xs])
    return total([op.matmul(part, t) for part, t in zip(parts, xs, strict=True)])


def _conv_of_batch(xs: tuple[Term, ...], w: Term, a: Any, k: int) -> Term | None:
    if k != a.data_layout.index("N"):
        return None
    return op.concat(*[op.conv2d(t, w, attrs=a) for t in xs], axis=k)


def _group_counts(sizes: list[Any], per_group: Any) -> list[int] | None:
    """How many groups each part holds, if all parts hold whole groups."""
    return None if any(s % per_group for s in sizes) else [s // per_group for s in sizes]


def _conv_of_filters(x: Term, xs: tuple[Term, ...], a: Any, k: int) -> Term | None:
    """Each part of the weight makes its own output channels; in groups, from its own input channels."""
    if k != a.kernel_layout.index("O"):
        return None
    axis = channel(a.data_layout)
    if a.groups == 1:
        return op.concat(*[op.conv2d(x, t, attrs=a) for t in xs], axis=axis)
    filters = [t.shape[k] for t in xs]
    counts = _group_counts(filters, sum(filters) // a.groups)
    if counts is None:
        return None
    inputs = xs[0].shape[a.kernel_layout.index("I")]
    data = slices(x, axis, [n * inputs for n in counts])
    parts = [op.conv2d(d, t, attrs=a._replace(groups=n)) for d, t, n in zip(data, xs, counts, strict=True)]
    return op.concat(*parts, axis=axis)


def _conv_of_channel_groups(xs: tuple[Term, ...], w: Term, a: Any, k: int) -> Term | None:
    """Each part of the data meets the filters of its groups."""
    if k != channel(a.data_layout) or a.groups == 1:
        return None
    output = a.kernel_layout.index("O")
    counts = _group_counts([t.shape[k] for t in xs], w.shape[a.kernel_layout.index("I")])
    if counts is None:
        return None
    filters = slices(w, output, [n * w.shape[output] // a.groups for n in counts])
    parts = [op.conv2d(t, f, attrs=a._replace(groups=n)) for t, f, n in zip(xs, filters, counts, strict=True)]
    return op.concat(*parts, axis=k)


def _conv_of_input_channels(x: Term, xs: tuple[Term, ...], a: Any, k: int) -> Term | None:
    if a.groups != 1 or k != a.kernel_layout.index("I"):
        return None
    parts = slices(x, channel(a.data_layout), [t.shape[k] for t in xs])
    return total([op.conv2d(part, t, attrs=a) for part, t in zip(parts, xs, strict=True)])


def _exchanged(first: list[Term], xs: tuple[Term, ...], rest: list[Term], j: int, k: int) -> Term | None:
    """``concat(*first, concat(xs; j), *rest; k)`` with the concatenation along ``j`` outside."""
    if j <= k:
        return None  # the other way round is the same law: one direction ends, both would go in circles
    sizes = [t.shape[j] for t in xs]
    before = [slices(t, j, sizes) for t in first]
    after = [slices(t, j, sizes) for t in rest]
    rows = zip(*before, xs, *after, strict=True)
    return op.concat(*[op.concat(*row, axis=k) for row in rows], axis=j)


def _concats() -> Iterator[Rule]:
    for name in ("add", "multiply"):
        f = getattr(op, name)
        yield Rule(
            name=f"{name}-of-concat",
            law=f"{name}(concat(x, …), y) = concat({name}(x, its part of y), …)",
            lhs=f(op.concat(rest("xs"), axis=k), y),
            rhs=lambda xs, y, k, f=f: _binary_of_concat(f, xs, y, k),
            source="TASO axioms: concat and ewadd/ewmul",
            shapes=("xs*:a3c y:a6c", "xs*:a3c y:", "xs*:a3c y:6c", "xs*:a3c y:1c"),
            attrs={"k": lambda rng, *_: 1, "count": lambda rng: 2},
        )
    yield from _matmul_concats()
    yield from _conv_concats()
    yield Rule(
        name="pad-of-concat",
        law="pad(concat(x, y; k)) = concat(pad(x), pad(y); k) where k isn't padded",
        lhs=op.pad(op.concat(rest("xs"), axis=k), attrs=a),
        rhs=lambda xs, k, a: op.concat(*[op.pad(t, attrs=a) for t in xs], axis=k),
        when=lambda k, a: a.pad_width[2 * k] == a.pad_width[2 * k + 1] == 0,
        shapes=("xs*:~bc",),
        attrs={
            "k": lambda rng, *_: 0,
            "a": lambda rng, *_: op.pad.record.make_attrs(pad_width=(0, 0, *(int(n) for n in rng.integers(0, 3, 4)))),
        },
        counterexample="xs*:~bc",
    )
    first, last = op.concat(rest("xs"), axis=j), op.concat(rest("xs"), axis=j)
    nested = "concat(concat(x, y; k), z; k) = concat(x, y, z; k)"
    crossed = "concat(concat(x, y; j), z; k) = concat(concat(x, part of z; k), concat(y, part of z; k); j) for j > k"
    any_axis = {"k": lambda rng, *_: 1, "j": lambda rng, *_: 1}
    other_axis = {"k": lambda rng, *_: 0, "j": lambda rng, *_: 1, "count": lambda rng: 2}
    yield Rule(
        name="concat-of-concat-first",
        law=nested,
        lhs=op.concat(op.concat(rest("xs"), axis=k), rest("ys"), axis=k),
        rhs=lambda xs, ys, k: op.concat(*xs, *ys, axis=k),
        source="TASO axioms: concat is associative",
        shapes=("xs*:a~c ys*:a~c",),
        attrs=any_axis,
    )
    yield Rule(
        name="concat-of-concat-last",
        law=nested,
        lhs=op.concat(rest("ys"), op.concat(rest("xs"), axis=k), axis=k),
        rhs=lambda xs, ys, k: op.concat(*ys, *xs, axis=k),
        source="TASO axioms: concat is associative",
        shapes=("xs*:a~c ys*:a~c",),
        attrs=any_axis,
    )
    yield Rule(
        name="concat-past-concat-first",
        law=crossed,
        lhs=op.concat(first, rest("ys"), axis=k),
        rhs=lambda xs, ys, j, k: _exchanged([], xs, list(ys), j, k),
        source="TASO axioms: geometry of concat",
        shapes=("xs*:a3cd ys*:a6cd", "xs*:a2cd ys*:b4cd"),
        attrs=other_axis,
    )
    yield Rule(
        name="concat-past-concat-last",
        law=crossed,
        lhs=op.concat(rest("ys"), last, axis=k),
        rhs=lambda xs, ys, j, k: _exchanged(list(ys), xs, [], j, k),
        source="TASO axioms: geometry of concat",
        shapes=("xs*:a3cd ys*:a6cd", "xs*:a2cd ys*:b4cd"),
        attrs=other_axis,
    )


def _matmul_concats() -> Iterator[Rule]:
    two = {"count": lambda rng: 2}
    yield Rule(
        name="matmul-of-rows",
        law="[x; y] · w = [x · w; y · w]",
        lhs=op.matmul(op.concat(rest("xs"), axis=k), w),
        rhs=_rows,
        source="TASO axioms: concat and matmul",
        shapes=("xs*:~b w:bc", "xs*:n~b w:bc"),
        attrs={"k": lambda rng, *xs: len(xs[0].shape) - 2},
    )
    yield Rule(
        name="matmul-of-columns",
        law="x · [y | z] = [x · y | x · z]",
        lhs=op.matmul(x, op.concat(rest("xs"), axis=k)),
        rhs=_columns,
        source="TASO axioms: concat and matmul",
        shapes=("x:ab xs*:b~", "x:nab xs*:b~"),
        attrs={"k": lambda rng, *xs: len(xs[0].shape) - 1},
    )
    yield Rule(
        name="matmul-of-reduced-rows",
        law="x · [y; z] = (first columns of x) · y + (the others) · z",
        lhs=op.matmul(x, op.concat(rest("xs"), axis=k)),
        rhs=_reduced_rows,
        reassociates=True,
        source="TASO axioms: concat and matmul",
        shapes=("x:a6 xs*:3c", "x:na6 xs*:3c"),
        attrs={"k": lambda rng, *_: 0, **two},
    )


def _conv_concats() -> Iterator[Rule]:
    two = {"a": lambda rng, *_: conv_attrs(), "count": lambda rng: 2}
    grouped = {"a": lambda rng, *_: conv_attrs(groups=2), "k": lambda rng, *_: 1, "count": lambda rng: 2}
    yield Rule(
        name="conv-of-batch",
        law="conv([x; y], w) = [conv(x, w); conv(y, w)] along the batch",
        lhs=op.conv2d(op.concat(rest("xs"), axis=k), w, attrs=a),
        rhs=_conv_of_batch,
        source="TASO axioms: concat and conv",
        shapes=("xs*:~4hw w:6433",),
        attrs={**two, "k": lambda rng, *_: 0},
    )
    yield Rule(
        name="conv-of-filters",
        law="conv(x, [w; z]) = [conv(x, w) | conv(x, z)]; in groups, each from its own input channels",
        lhs=op.conv2d(x, op.concat(rest("xs"), axis=k), attrs=a),
        rhs=_conv_of_filters,
        source="TASO axioms: concat and conv",
        shapes=("x:n4hw xs*:3233",),
        attrs={
            **two,
            "k": lambda rng, *_: 0,
            "a": lambda rng, x, *_: conv_attrs(groups=2),
        },
    )
    yield Rule(
        name="conv-of-channel-groups",
        law="conv([x | y], w) in groups = [conv(x, first filters of w) | conv(y, the others)]",
        lhs=op.conv2d(op.concat(rest("xs"), axis=k), w, attrs=a),
        rhs=_conv_of_channel_groups,
        source="TASO axioms: concat and conv",
        shapes=("xs*:n2hw w:6233",),
        attrs=grouped,
    )
    yield Rule(
        name="conv-of-input-channels",
        law="conv(x, [w | z]) = conv(first channels of x, w) + conv(the others, z)",
        lhs=op.conv2d(x, op.concat(rest("xs"), axis=k), attrs=a),
        rhs=_conv_of_input_channels,
        reassociates=True,
        source="TASO axioms: concat and conv",
        shapes=("x:n4hw xs*:6233",),
        attrs={**two, "k": lambda rng, *_: 1},
    )


CONCATS = RuleSet(_concats())
