"""Reductions: joined with each other, and moved past what doesn't mix their elements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .dsl import Term, attributes, op, rest, tensors
from .lib import blocks, constant_along, permuted, spatial, total
from .rule import Rule, RuleSet

x, c = tensors("x c")
a, k, p, q, r, f, g, t = attributes("a k p q r f g t")

REDUCTIONS = ("sum", "mean", "max", "min")


def _kept(shape: Sequence[Any], axes: Sequence[int], keepdims: bool) -> tuple[Any, ...]:
    """The shape that a reduction leaves."""
    return tuple(1 if i in axes else d for i, d in enumerate(shape) if keepdims or i not in axes)


def _of_permute(reduce: Any, x: Term, p: tuple[int, ...], r: tuple[int, ...], f: bool) -> Term:
    reduced = reduce(x, axes=tuple(sorted(p[i] for i in r)), keepdims=f)
    if f:
        return permuted(reduced, p)
    left = [p[i] for i in range(len(p)) if i not in r]
    order = sorted(left)
    return permuted(reduced, [order.index(i) for i in left])


def _of_reduction(reduce: Any, x: Term, p: tuple[int, ...], f: bool, r: tuple[int, ...], g: bool) -> Term:
    kept = list(range(x.rank)) if f else [i for i in range(x.rank) if i not in p]
    axes = tuple(sorted({*p, *(kept[i] for i in r)}))
    if f == g:
        return reduce(x, axes=axes, keepdims=g)
    inner = _kept(x.shape, p, f)
    return op.reshape(reduce(x, axes=axes, keepdims=False), shape=_kept(inner, r, g))


def _of_reshape(reduce: Any, x: Term, t: tuple[int, ...], r: tuple[int, ...], f: bool) -> Term | None:
    axes: list[int] = []
    for left, right in blocks(x.shape, t):
        inside = [i in r for i in right]
        if any(inside) != all(inside):
            return None
        axes += left if inside[0] else []
    return op.reshape(reduce(x, axes=tuple(axes), keepdims=False), shape=_kept(t, r, f)) if axes else None


def _of_scaled(reduce: Any, combine: Any, x: Term, c: Term, r: tuple[int, ...], f: bool) -> Term | None:
    """``c`` doesn't vary along the reduced axes, so that it can wait until they are gone."""
    if c.rank > x.rank or not constant_along(c, r, x.rank):
        return None
    waiting = c if f else op.reshape(c, shape=_kept((1,) * (x.rank - c.rank) + c.shape, r, False))
    return combine(reduce(x, axes=r, keepdims=f), waiting)


def _of_concat(name: str, xs: tuple[Term, ...], k: int, r: tuple[int, ...], f: bool) -> Term:
    reduced = [getattr(op, name)(t, axes=r, keepdims=f) for t in xs]
    if k not in r:
        return op.concat(*reduced, axis=k if f else k - sum(i < k for i in r))
    if name == "mean":
        size = sum(t.shape[k] for t in xs)
        weights = [np.asarray(t.shape[k] / size, t.dtype) for t in xs]
        return total([op.multiply(t, weight) for t, weight in zip(reduced, weights, strict=True)])
    if name == "sum":
        return total(reduced)
    found = reduced[0]
    for other in reduced[1:]:
        found = op.maximum(found, other) if name == "max" else op.minimum(found, other)
    return found


def _reductions() -> Iterator[Rule]:
    for name in REDUCTIONS:
        reduce = getattr(op, name)
        yield Rule(
            name=f"{name}-of-permute",
            law=f"{name}(permute(x, p); axes) = {name}(x; p[axes]), what is left transposed",
            lhs=reduce(op.permute_dims(x, axes=p), axes=r, keepdims=f),
            rhs=lambda x, p, r, f, reduce=reduce: _of_permute(reduce, x, p, r, f),
            reassociates=True,
            shapes=("x:.abc",),
        )
        yield Rule(
            name=f"{name}-of-{name}",
            law=f"{name}({name}(x; some axes); others) = {name}(x; all of them)",
            lhs=reduce(reduce(x, axes=p, keepdims=f), axes=r, keepdims=g),
            rhs=lambda x, p, f, r, g, reduce=reduce: _of_reduction(reduce, x, p, f, r, g),
            reassociates=True,
            simplifies=True,
            shapes=("x:.abc",),
            attrs={"p": _some_axes, "f": _coin, "r": _some_axes, "g": _coin},
        )
        yield Rule(
            name=f"{name}-of-reshape",
            law=f"{name}(reshape(x, t); axes) = reshape({name}(x; axes of the same elements))",
            lhs=reduce(op.reshape(x, shape=t), axes=r, keepdims=f),
            rhs=lambda x, t, r, f, reduce=reduce: _of_reshape(reduce, x, t, r, f),
            reassociates=True,
            shapes=("x:.ab", "x:a4b", "x:a1b"),
        )
        yield Rule(
            name=f"{name}-of-concat",
            law=f"{name}(concat(x, y)) = concat({name}(x), {name}(y)), or both combined where that axis is reduced",
            lhs=reduce(op.concat(rest("xs"), axis=k), axes=r, keepdims=f),
            rhs=lambda xs, k, r, f, name=name: _of_concat(name, xs, k, r, f),
            reassociates=True,
            shapes=("xs*:.~c", "xs*:~bc", "xs*:.a~"),
        )
    for name, combine in (("sum", "multiply"), ("mean", "multiply"), ("mean", "add"), ("max", "add"), ("min", "add")):
        reduce, h = getattr(op, name), getattr(op, combine)
        yield Rule(
            name=f"{name}-of-{combine}",
            law=f"{name}({combine}(x, c)) = {combine}({name}(x), c) where c doesn't vary along the reduced axes",
            lhs=reduce(h(x, c), axes=r, keepdims=f),
            rhs=lambda x, c, r, f, reduce=reduce, h=h: _of_scaled(reduce, h, x, c, r, f),
            reassociates=True,
            shapes=("x:.abc c:.Ab1", "x:.abc c:1", "x:.ABc c:.ab1", "x:.abc c:B1", "x:abc c:1bc"),
            attrs={"r": lambda rng, *ts: (_any_axis(rng, ts[0]),)},
        )


def _some_axes(rng: Any, *operands: Any) -> tuple[int, ...]:
    """Axes, not always all of them, for the generated tests."""
    rank = len(operands[0].shape)
    chosen = [i for i in range(rank) if rng.random() < 0.5]
    return tuple(chosen or range(min(rank, 1)))


def _coin(rng: Any) -> bool:
    return bool(rng.integers(2))


def _any_axis(rng: Any, x: Any) -> int:
    """One axis, mostly the last, for the generated tests."""
    return len(x.shape) - 1 if rng.random() < 0.6 else int(rng.integers(len(x.shape)))


REDUCE = RuleSet(
    [
        *_reductions(),
        Rule(
            name="global-pool-is-mean",
            law="average pooling to one place = the mean over height and width",
            lhs=op.adaptive_avg_pool2d(x, attrs=a),
            rhs=lambda x, a: op.mean(x, axes=spatial(a.layout), keepdims=True),
            when=lambda a: tuple(a.output_size) == (1, 1),
            reassociates=True,
            shapes=("x:nchw",),
            attrs={
                "a": lambda rng, x: op.adaptive_avg_pool2d.record.make_attrs(
                    output_size=(1, 1), layout=str(rng.choice(["NCHW", "NHWC"]))
                )
            },
            counterexample="x:2345",
        ),
    ]
)
