"""Concatenation and slicing: cancelled, and moved past other operators."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from .dsl import Term, attributes, each, op, rest, tensors
from .lib import BINARY, POINTWISE, POINTWISE_WITH_ATTRS, constant_along, inverse, joined, positive, same, to_rank
from .rule import Rule, RuleSet

x, y, z = tensors("x y z")
p, k, b, e, d, a, s = attributes("p k b e d a s")


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


def _adjacent_slices(x: Term, k: int, b: int, e: int, p: tuple[int, ...], d: tuple[int, ...]) -> Term | None:
    adjacent = all(end == begin for end, begin in zip((e, *d), p, strict=False))
    return op.slice(x, axis=k, begin=b, end=d[-1]) if d and adjacent else None


def _concat_both(x: tuple[Term, ...], y: tuple[Term, ...], k: int, f: Any) -> Term | None:
    rank = x[0].rank
    if any(t.rank != rank for t in x) or any(t.rank > rank for t in y):
        return None
    other = [to_rank(t, rank) for t in y]
    if any(t.shape[k] != u.shape[k] for t, u in zip(other, x, strict=True)):
        return None
    return f(op.concat(*x, axis=k), op.concat(*other, axis=k))


def _concat_left(z: Term, x: tuple[Term, ...], y: Term, k: int, f: Any) -> Term | None:
    alike = all(t.rank == z.rank for t in x) and constant_along(y, [k], z.rank)
    return f(op.concat(z, *x, axis=k), y) if alike else None


CANCEL = RuleSet(
    [
        Rule(
            name="slice-of-concat",
            law="a slice of a concatenation is the concatenation of the parts it covers",
            lhs=op.slice(op.concat(rest("xs"), axis=k), axis=k, begin=b, end=e),
            rhs=_slice_of_concat,
            source="TASO axioms: split of concat",
            simplifies=True,
            shapes=("xs*:.~c", "xs*:.a~"),
        ),
        Rule(
            name="concat-of-slices",
            law="concat(x[b:m], x[m:e]) = x[b:e]",
            lhs=op.concat(op.slice(x, axis=k, begin=b, end=e), each(op.slice(x, axis=k, begin=p, end=d)), axis=k),
            rhs=_adjacent_slices,
            source="TASO axioms: split of concat",
            simplifies=True,
            shapes=("x==:.a9", "x==:.9a", "x==:a9cm"),
            attrs={
                "count": lambda rng: 2,
                "k": lambda rng, x: x.shape.index(9),
                "b": lambda rng: int(rng.integers(2)),
                "e": lambda rng: 3,
                "p": lambda rng, i: 3 * i + 3,
                "d": lambda rng, i: 3 * i + 6,
            },
        ),
        Rule(
            name="slice-of-slice",
            law="x[b:e][c:d] = x[b+c:b+d] along the same axis",
            lhs=op.slice(op.slice(x, axis=k, begin=b, end=e), axis=k, begin=p, end=d),
            rhs=lambda x, k, b, p, d: op.slice(x, axis=k, begin=b + p, end=b + d),
            simplifies=True,
            shapes=("x:.6", "x:.6a", "x:a7b"),
        ),
        Rule(
            name="slice-all",
            law="x[0:n] = x",
            lhs=op.slice(x, axis=k, begin=b, end=e),
            rhs=x,
            when=lambda x, k, b, e: b == 0 and e == x.shape[k],
            simplifies=True,
            shapes=("x:.mn",),
            attrs={
                "k": lambda rng, x: int(rng.integers(len(x.shape))),
                "b": lambda rng, x: 0,
                "e": lambda rng, x: x.shape[-1],
            },
            counterexample="x:6",
        ),
    ]
)


def _past_pointwise() -> Iterator[Rule]:
    for name in POINTWISE + POINTWISE_WITH_ATTRS:
        f, plus = getattr(op, name), positive(name)
        keep: dict[str, Any] = {"attrs": a} if name in POINTWISE_WITH_ATTRS else {}
        yield Rule(
            name=f"concat-of-{name}",
            law=f"concat({name}(x), {name}(y)) = {name}(concat(x, y))",
            lhs=op.concat(each(f(x, **keep)), axis=k),
            rhs=(lambda x, k, f=f: f(op.concat(*x, axis=k)))
            if not keep
            else (lambda x, k, a, f=f: f(op.concat(*x, axis=k), attrs=a[0]) if same(a) else None),
            source="TASO axioms: concat and relu",
            shapes=(f"x{plus}*:.~n", f"x{plus}*:.a~"),
        )
        yield Rule(
            name=f"{name}-of-concat",
            law=f"{name}(concat(x, y)) = concat({name}(x), {name}(y))",
            lhs=f(op.concat(rest("xs"), axis=k), **keep),
            rhs=(lambda xs, k, f=f: op.concat(*map(f, xs), axis=k))
            if not keep
            else (lambda xs, k, a, f=f: op.concat(*[f(t, attrs=a) for t in xs], axis=k)),
            source="TASO axioms: concat and relu",
            shapes=(f"xs{plus}*:.~c", f"xs{plus}*:.a~"),
        )
        yield Rule(
            name=f"{name}-of-slice",
            law=f"{name}(x[b:e]) = {name}(x)[b:e]",
            lhs=f(op.slice(x, attrs=s), **keep),
            rhs=op.slice(f(x, **keep), attrs=s),
            shapes=(f"x{plus}:.ab",),
        )


def _concat_of_binary() -> Iterator[Rule]:
    for name in BINARY:
        f, plus = getattr(op, name), positive(name)
        yield Rule(
            name=f"concat-of-{name}",
            law=f"concat({name}(x, y), {name}(u, v)) = {name}(concat(x, u), concat(y, v))",
            lhs=op.concat(each(f(x, y)), axis=k),
            rhs=lambda x, y, k, f=f: _concat_both(x, y, k, f),
            source="TASO axioms: concat and ewadd/ewmul",
            shapes=(f"x{plus}*:.~c y{plus}*:.~c", f"x{plus}*:.a~c y{plus}*:~c"),
        )
        yield Rule(
            name=f"concat-of-{name}-shared",
            law=f"concat({name}(x, y), {name}(z, y)) = {name}(concat(x, z), y) where y doesn't vary along that axis",
            lhs=op.concat(f(z, y), each(f(x, y)), axis=k),
            rhs=lambda z, x, y, k, f=f: _concat_left(z, x, y, k, f),
            source="TASO axioms: concat and ewadd/ewmul",
            shapes=(f"z{plus}:.7c x{plus}*:.~c y{plus}==:.1C", f"z{plus}:.a7 x{plus}*:.a~ y{plus}==:A1"),
            attrs={"k": lambda rng, z: z.shape.index(7)},
        )
    for name in ("add", "multiply"):
        f = getattr(op, name)
        yield Rule(
            name=f"{name}-slices",
            law=f"{name}(x[:, i], y_i) for all slices i of x = slices of {name}(x, concat(y))",
            lhs=f(op.slice(x, axis=k, begin=b, end=e), y),
            shared=(x,),
            key=lambda x, k, y: (k, y.rank, y.shape[k - x.rank] != 1) if x.rank - k <= y.rank else None,
            pays=lambda y: y.const,
            rhs=lambda x, k, b, e, y, f=f: _biased_slices(x, k[0], b, e, y, f),
            reassociates=False,
            source="TENSAT multi-pattern rules with a bias",
            shapes=("x=:.a9 y!:3", "x=:.9a y!:3A", "x=:.9 y!:.3", "x=:a9 y!:A3"),
            attrs={
                "count": lambda rng: 3,
                "k": lambda rng, x: x.shape.index(9),
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
            shapes=("xs*:.~c", "xs*:.a~"),
        ),
    ]
)

CONCAT = CANCEL + MOTION
