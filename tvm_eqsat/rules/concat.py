"""Concatenation and slicing: cancelled, and moved past other operators."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from .dsl import Term, attributes, each, op, rest, tensors
from .lib import POINTWISE, POINTWISE_WITH_ATTRS, inverse, joined, same, to_rank
from .rule import Rule, RuleSet

x, y = tensors("x y")
p, k, b, e, d, a = attributes("p k b e d a")


def _slice_of_concat(xs: tuple[Term, ...], k: int, b: int, e: int) -> Term | None:
    """The parts that the slice covers; parts cut through are sliced themselves."""
    found, begin = [], 0
    for part in xs:
        size = part.shape[k]
        low, high = max(b - begin, 0), min(e - begin, size)
        if low < high:
            whole = low == 0 and high == size
            found.append(part if whole else op.slice(part, axis=k, begin=low, end=high))
        begin += size
    return joined(found, k) if len(found) < len(xs) else None


def _adjacent_slices(
    x: tuple[Term, ...], k: int, d: tuple[int, ...], b: tuple[int, ...], e: tuple[int, ...]
) -> Term | None:
    adjacent = same([t.cls for t in x]) and set(d) == {k} and all(e[i] == b[i + 1] for i in range(len(b) - 1))
    return op.slice(x[0], axis=k, begin=b[0], end=e[-1]) if adjacent else None


def _concat_bias(x: tuple[Term, ...], y: tuple[Term, ...], k: int, f: Any) -> Term | None:
    rank = x[0].rank
    if any(t.rank != rank for t in x) or any(t.rank > rank for t in y):
        return None
    other = [to_rank(t, rank) for t in y]
    if all(t.shape[k] == u.shape[k] for t, u in zip(other, x, strict=True)):
        return f(op.concat(*x, axis=k), op.concat(*other, axis=k))
    return f(op.concat(*x, axis=k), y[0]) if same([t.cls for t in y]) else None


CANCEL = RuleSet(
    [
        Rule(
            name="slice-of-concat",
            law="a slice of a concatenation is the concatenation of the parts it covers",
            lhs=op.slice(op.concat(rest("xs"), axis=k), axis=k, begin=b, end=e),
            rhs=_slice_of_concat,
            source="TASO axioms: split of concat",
            simplifies=True,
            shapes=("xs*:a~c",),
            attrs={"k": lambda rng, *xs: 1},
        ),
        Rule(
            name="concat-of-slices",
            law="concat(x[b:m], x[m:e]) = x[b:e]",
            lhs=op.concat(each(op.slice(x, axis=d, begin=b, end=e)), axis=k),
            rhs=_adjacent_slices,
            source="TASO axioms: split of concat",
            simplifies=True,
            shapes=("x==:a9c",),
            attrs={
                "count": lambda rng: 3,
                "k": lambda rng, *xs: 1,
                "d": lambda rng, x: 1,
                "b": lambda rng, x, i: 3 * i,
                "e": lambda rng, x, i: 3 * i + 3,
            },
        ),
        Rule(
            name="slice-of-slice",
            law="x[b:e][c:d] = x[b+c:b+d] along the same axis",
            lhs=op.slice(op.slice(x, axis=k, begin=b, end=e), axis=k, begin=p, end=d),
            rhs=lambda x, k, b, p, d: op.slice(x, axis=k, begin=b + p, end=b + d),
            simplifies=True,
            shapes=("x:6",),
        ),
        Rule(
            name="slice-all",
            law="x[0:n] = x",
            lhs=op.slice(x, axis=k, begin=b, end=e),
            rhs=x,
            when=lambda x, k, b, e: b == 0 and e == x.shape[k],
            simplifies=True,
            shapes=("x:mn",),
            attrs={"k": lambda rng, x: 0, "b": lambda rng, x: 0, "e": lambda rng, x: x.shape[0]},
            counterexample="x:6",
        ),
    ]
)


def _past_pointwise() -> Iterator[Rule]:
    for name in POINTWISE + POINTWISE_WITH_ATTRS:
        f = getattr(op, name)
        keep: dict[str, Any] = {"attrs": a} if name in POINTWISE_WITH_ATTRS else {}
        fixed = {"a": lambda rng, x, f=f: f.record.sample(np.random.default_rng(0), [x])} if keep else {}
        yield Rule(
            name=f"concat-of-{name}",
            law=f"concat({name}(x), {name}(y)) = {name}(concat(x, y))",
            lhs=op.concat(each(f(x, **keep)), axis=k),
            rhs=(lambda x, k, f=f: f(op.concat(*x, axis=k)))
            if not keep
            else (lambda x, k, a, f=f: f(op.concat(*x, axis=k), attrs=a[0]) if same(a) else None),
            source="TASO axioms: concat and relu",
            shapes=("x+*:m~n",),
            attrs={"k": lambda rng, *xs: 1, **fixed},
        )
        yield Rule(
            name=f"{name}-of-concat",
            law=f"{name}(concat(x, y)) = concat({name}(x), {name}(y))",
            lhs=f(op.concat(rest("xs"), axis=k), **keep),
            rhs=(lambda xs, k, f=f: op.concat(*map(f, xs), axis=k))
            if not keep
            else (lambda xs, k, a, f=f: op.concat(*[f(t, attrs=a) for t in xs], axis=k)),
            source="TASO axioms: concat and relu",
            shapes=("xs+*:a~c",),
            attrs={"k": lambda rng, *xs: 1},
        )
        yield Rule(
            name=f"{name}-of-slice",
            law=f"{name}(x[b:e]) = {name}(x)[b:e]",
            lhs=f(op.slice(x, axis=k, begin=b, end=e), **keep),
            rhs=op.slice(f(x, **keep), axis=k, begin=b, end=e),
            shapes=("x+:a9",),
        )


def _concat_of_binary() -> Iterator[Rule]:
    for name in ("add", "multiply"):
        f = getattr(op, name)
        yield Rule(
            name=f"concat-of-{name}",
            law=f"concat({name}(x, y), {name}(u, v)) = {name}(concat(x, u), concat(y, v)), or with a shared operand",
            lhs=op.concat(each(f(x, y)), axis=k),
            rhs=lambda x, y, k, f=f: _concat_bias(x, y, k, f),
            source="TASO axioms: concat and ewadd/ewmul",
            shapes=("x*:a~c y*:a~c",),
            attrs={"k": lambda rng, *xs: 1},
        )
        yield Rule(
            name=f"{name}-slices",
            law=f"{name}(x[:, i], y_i) for all slices i of x = slices of {name}(x, concat(y))",
            lhs=f(op.slice(x, axis=k, begin=b, end=e), y),
            shared=(x,),
            key=lambda x, k, y: (k, y.rank, y.shape[k - x.rank] != 1) if y.const and x.rank - k <= y.rank else None,
            rhs=lambda x, k, b, e, y, f=f: _biased_slices(x, k[0], b, e, y, f),
            reassociates=False,
            source="TENSAT multi-pattern rules with a bias",
            shapes=("x=:a9 y!:3",),
            attrs={
                "count": lambda rng: 3,
                "k": lambda rng, x: 1,
                "b": lambda rng, x, i: 3 * i,
                "e": lambda rng, x, i: 3 * i + 3,
            },
        )


def _biased_slices(x: Term, k: int, b: Any, e: Any, y: tuple[Term, ...], f: Any) -> list[Term] | None:
    order = sorted(range(len(b)), key=lambda i: (b[i], e[i]))
    tiles = b[order[0]] == 0 and e[order[-1]] == x.shape[k]
    tiles = tiles and all(e[i] == b[j] for i, j in pairwise(order))
    if not tiles:
        return None
    axis = k - x.rank + y[0].rank
    if any(y[i].shape[axis] != e[i] - b[i] for i in order):
        return None
    whole = f(x, op.concat(*[y[i] for i in order], axis=axis))
    return [op.slice(whole, axis=k, begin=b[i], end=e[i]) for i in range(len(b))]


MOTION = RuleSet(
    [
        *_past_pointwise(),
        *_concat_of_binary(),
        Rule(
            name="permute-of-concat",
            law="permute(concat(x, y; k), p) = concat(permute(x, p), permute(y, p); p^-1[k])",
            lhs=op.permute_dims(op.concat(rest("xs"), axis=k), axes=p),
            rhs=lambda xs, k, p: op.concat(*[op.permute_dims(t, axes=p) for t in xs], axis=inverse(p)[k]),
            source="TASO axioms: concat and transpose",
            shapes=("xs*:a~c",),
            attrs={"k": lambda rng, *xs: 1},
        ),
        Rule(
            name="permute-of-slice",
            law="permute(x[b:e; k], p) = permute(x, p)[b:e; p^-1[k]]",
            lhs=op.permute_dims(op.slice(x, axis=k, begin=b, end=e), axes=p),
            rhs=lambda x, k, b, e, p: op.slice(op.permute_dims(x, axes=p), axis=inverse(p)[k], begin=b, end=e),
            shapes=("x:456",),
        ),
    ]
)

CONCAT = CANCEL + MOTION
