"""Operators that take a tensor as it is stored: conversions move past them, towards the outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import prod
from typing import Any

from ...errors import IllTyped
from ...layout.blocks import blocked
from ...layout.digits import Group
from ...layout.index_map import IndexMap
from ..dsl import Term, attributes, each, op, tensors
from ..lib import BINARY, POINTWISE, POINTWISE_WITH_ATTRS, positive
from ..rule import Rule, RuleSet
from .maps import SOURCE, operand, plain, resized, without

x, y = tensors("x y")
a, k, m, s, f, r = attributes("a k m s f r")


def _from_blocks(crop: float = 0.5) -> Callable[[Any, Any], IndexMap]:
    """A sampler of maps from blocks as the operand has them, the last block whole or not."""

    def draw(rng: Any, x: Any) -> IndexMap:
        shape = [int(d) for d in x.shape]
        block = shape.pop()
        spare = int(rng.integers(block)) if rng.random() < crop and shape[1] > 1 else 0
        shape[1] = shape[1] * block - spare
        found = blocked(tuple(shape), 1, block).inverse()
        if found is None or found.source != tuple(x.shape):
            raise IllTyped("another layout has these blocks")
        return found

    return draw


def _pointwise() -> Iterator[Rule]:
    for name in POINTWISE + POINTWISE_WITH_ATTRS:
        g, plus = getattr(op, name), positive(name)
        keep: dict[str, Any] = {"attrs": a} if name in POINTWISE_WITH_ATTRS else {}
        yield Rule(
            name=f"{name}-in-layout",
            law=f"{name}(layout(x, m)) = layout({name}(x), m) where m doesn't pad",
            lhs=g(op.layout_transform(x, map=m), **keep),
            rhs=op.layout_transform(g(x, **keep), map=m),
            when=lambda m: m.fill is None,
            source=SOURCE,
            shapes=(f"x{plus}:nbhwi",),
            attrs={"m": _from_blocks()},
            counterexample=f"x{plus}:ab",
        )


def _binary() -> Iterator[Rule]:
    for name in BINARY:
        g, plus = getattr(op, name), positive(name)

        def converted(x: Term, y: Term, m: IndexMap, g: Any = g) -> Term | None:
            other = operand(y, m) if m.fill is None else None
            if other is None:
                return None
            found = g(x, other)
            return op.layout_transform(found, map=m) if found.shape == m.source else None

        yield Rule(
            name=f"{name}-in-layout",
            law=f"{name}(layout(x, m), layout(y, m)) = layout({name}(x, y), m) where m doesn't pad",
            lhs=g(op.layout_transform(x, map=m), op.layout_transform(y, map=m)),
            rhs=op.layout_transform(g(x, y), map=m),
            when=lambda x, y, m: m.fill is None and x.shape == y.shape,
            source=SOURCE,
            shapes=(f"x{plus}:nbhwi y{plus}:nbhwi",),
            attrs={"m": _from_blocks()},
            counterexample=f"x{plus}:ab y{plus}:ab",
        )
        yield Rule(
            name=f"{name}-converts",
            law=f"{name}(layout(x, m), y) = layout({name}(x, layout(y, m^-1)), m) where m doesn't pad",
            lhs=g(op.layout_transform(x, map=m), y),
            rhs=converted,
            source=SOURCE,
            shapes=(f"x{plus}:n2hw3 y{plus}:6HW", f"x{plus}:n2hw3 y{plus}:611", f"x{plus}:n2hw3 y{plus}:"),
            attrs={"m": _from_blocks(crop=0.0)},
        )


def _joined(x: tuple[Term, ...], m: tuple[IndexMap, ...], k: int) -> Term | None:
    """Along an axis whose first digit is an axis of the source, and whole in all operands."""
    first = m[0]
    if any(i.fill is not None or not i.groups[k].digits for i in m):
        return None
    lower = first.groups[k].digits[1:]
    step = prod([d.extent for d in lower])
    for other in m:
        (extent, dim, stride), *rest = other.groups[k].digits
        alike = (dim, stride, tuple(rest)) == (first.groups[k].digits[0].dim, 1, lower)
        whole = extent == other.source[dim] and other.groups[k].size == extent * step and other.offset[dim] == 0
        elsewhere = [g for i, g in enumerate(other.groups) if i != k]
        if not (alike and whole and elsewhere == [g for i, g in enumerate(first.groups) if i != k]):
            return None
        if any(d.dim == dim for g in elsewhere for d in g.digits):
            return None
    top = first.groups[k].digits[0]
    together = op.concat(*x, axis=top.dim)
    extent = together.shape[top.dim]
    groups = list(first.groups)
    groups[k] = Group(extent * step, (top._replace(extent=extent), *lower))
    return op.layout_transform(together, map=replace(first, source=tuple(together.shape), groups=tuple(groups)))


def _part(x: Term, m: IndexMap, s: Any) -> Term | None:
    """Bounds at whole blocks."""
    if m.fill is not None or s.stride != 1 or not m.groups[s.axis].digits:
        return None
    top, *lower = m.groups[s.axis].digits
    step = prod([d.extent for d in lower])
    alone = [d.dim for g in m.groups for d in g.digits].count(top.dim) == 1
    if not alone or top.stride != 1 or m.offset[top.dim] or s.begin % step or s.end % step:
        return None
    part = op.slice(x, axis=top.dim, begin=s.begin // step, end=s.end // step)
    groups = list(m.groups)
    groups[s.axis] = Group(s.end - s.begin, (top._replace(extent=part.shape[top.dim]), *lower))
    return op.layout_transform(part, map=replace(m, source=tuple(part.shape), groups=tuple(groups)))


def _pooled(pool: Any, x: Term, m: IndexMap, a: Any) -> Term | None:
    """As a pooling in NHWC: what stands before the image is its batch, what stands behind it its channels."""
    axes = [plain(m, a.layout.index(letter)) for letter in "HW"]
    h, v = axes
    if m.fill is not None or h is None or v is None or v != h + 1:
        return None
    before, after = x.shape[:h], x.shape[v + 1 :]
    image = op.reshape(x, shape=(prod(before), x.shape[h], x.shape[v], prod(after)))
    found = pool(image, attrs=a._replace(layout="NHWC"))
    sizes = {a.layout.index(letter): found.shape[i] for i, letter in ((1, "H"), (2, "W"))}
    whole = op.reshape(found, shape=(*before, *found.shape[1:3], *after))
    return op.layout_transform(whole, map=resized(m, sizes))


def _reduced(reduce: Any, x: Term, m: IndexMap, r: tuple[int, ...], f: bool) -> Term | None:
    """Over axes that are whole axes of the source."""
    found = [plain(m, axis) for axis in r]
    if m.fill is not None or any(axis is None for axis in found):
        return None
    axes = tuple(sorted(axis for axis in found if axis is not None))
    return op.layout_transform(
        reduce(x, axes=axes, keepdims=f), map=resized(m, dict.fromkeys(r, 1)) if f else without(m, r)
    )


def _pool_attrs(pool: Any, rng: Any, *operands: Any) -> Any:
    for _ in range(20):
        found = pool.record.sample(rng, operands)
        if found.layout == "NCHW":
            return found
    raise IllTyped("the sampler prefers another layout")


def _windows() -> Iterator[Rule]:
    for name in ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"):
        pool = getattr(op, name)
        yield Rule(
            name=f"{name}-in-layout",
            law=f"{name}(layout(x, m)) = layout({name}(x), m) where m leaves height and width alone",
            lhs=pool(op.layout_transform(x, map=m), attrs=a),
            rhs=lambda x, m, a, pool=pool: _pooled(pool, x, m, a),
            source=SOURCE,
            shapes=("x:nbhwi",),
            attrs={
                "m": _from_blocks(),
                "a": lambda rng, *ts, pool=pool: _pool_attrs(pool, rng, *ts),
            },
        )
    for name in ("mean", "sum", "max", "min"):
        reduce = getattr(op, name)
        yield Rule(
            name=f"{name}-in-layout",
            law=f"{name}(layout(x, m); axes) = layout({name}(x; axes), m without them), axes that m leaves alone",
            lhs=reduce(op.layout_transform(x, map=m), axes=r, keepdims=f),
            rhs=lambda x, m, r, f, reduce=reduce: _reduced(reduce, x, m, r, f),
            source=SOURCE,
            shapes=("x:nbhwi",),
            attrs={"m": _from_blocks(), "r": lambda rng: ((2, 3), (2,), (3,), (0, 3), (1,))[int(rng.integers(5))]},
        )


def _normalised(softmax: Any, x: Term, m: IndexMap, k: int) -> Term | None:
    """Along an axis that is a whole axis of the source."""
    axis = plain(m, k)
    return None if m.fill is not None or axis is None else op.layout_transform(softmax(x, axis=axis), map=m)


def _softmaxes() -> Iterator[Rule]:
    for name in ("softmax", "log_softmax"):
        softmax = getattr(op, name)
        yield Rule(
            name=f"{name}-in-layout",
            law=f"{name}(layout(x, m); k) = layout({name}(x; m^-1[k]), m), along an axis that m leaves alone",
            lhs=softmax(op.layout_transform(x, map=m), axis=k),
            rhs=lambda x, m, k, softmax=softmax: _normalised(softmax, x, m, k),
            source=SOURCE,
            shapes=("x:nbhwi",),
            attrs={"m": _from_blocks(), "k": lambda rng: (0, 2, 3)[int(rng.integers(3))]},
        )


def _cut(rng: Any, x: Any) -> Any:
    """Bounds for the generated tests, mostly at whole blocks."""
    step = 1 if rng.random() < 0.2 else x.shape[4]
    bounds = sorted(int(i) * step for i in rng.choice(x.shape[1] * x.shape[4] // step + 1, 2, replace=False))
    return op.slice.record.make_attrs(axis=1, begin=bounds[0], end=bounds[1])


POLYMORPHIC = RuleSet(
    [
        *_pointwise(),
        *_binary(),
        *_windows(),
        *_softmaxes(),
        Rule(
            name="concat-in-layout",
            law="concat(layout(x, m), layout(y, n)) = layout(concat(x, y), m joined with n), for whole blocks",
            lhs=op.concat(each(op.layout_transform(x, map=m)), axis=k),
            rhs=_joined,
            source=SOURCE,
            shapes=("x*:n~hwi", "x*:~bhwi", "x*:nb~wi"),
            attrs={"m": _from_blocks(crop=0.15)},
        ),
        Rule(
            name="slice-in-layout",
            law="slice(layout(x, m)) = layout(slice(x), part of m), at whole blocks",
            lhs=op.slice(op.layout_transform(x, map=m), attrs=s),
            rhs=_part,
            source=SOURCE,
            shapes=("x:nbhw2", "x:nbhwi"),
            attrs={
                "m": _from_blocks(crop=0.0),
                "s": _cut,
            },
        ),
    ]
)
