"""Slices moved towards the inputs: what nobody reads needn't be computed."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from .dsl import Term, attributes, op, rest, tensors
from .lib import BINARY, POINTWISE, POINTWISE_WITH_ATTRS, inverse, part, positive, spatial
from .rule import Rule, RuleSet

x, y, c, w, gamma, beta, mean, variance = tensors("x y c w gamma beta mean variance")
a, s, t, k, p, r, f = attributes("a s t k p r f")


def _unmerged_weight(w: Term) -> bool:
    """What was merged is cut already, into what it was before."""
    return not w.info.merged


def _unmerged_operands(x: Term, y: Term) -> bool:
    return not (x.info.merged or y.info.merged)


def _elementwise() -> Iterator[Rule]:
    for name in POINTWISE + POINTWISE_WITH_ATTRS:
        g, plus = getattr(op, name), positive(name)
        keep: dict[str, Any] = {"attrs": a} if name in POINTWISE_WITH_ATTRS else {}
        yield Rule(
            name=f"slice-of-{name}",
            law=f"{name}(x)[b:e] = {name}(x[b:e])",
            lhs=op.slice(g(x, **keep), attrs=s),
            rhs=g(op.slice(x, attrs=s), **keep),
            shapes=(f"x{plus}:.ab",),
        )
    for name in BINARY:
        g, plus = getattr(op, name), positive(name)
        yield Rule(
            name=f"slice-of-{name}",
            law=f"{name}(x, y)[b:e] = {name}(x[b:e], y[b:e]), operands that broadcast along that axis left as they are",
            lhs=op.slice(g(x, y), attrs=s),
            pays=_unmerged_operands,
            rhs=lambda x, y, s, g=g: g(part(x, s, max(x.rank, y.rank)), part(y, s, max(x.rank, y.rank))),
            shapes=(f"x{plus}:.AB y{plus}:.ab", f"x{plus}:.ab y{plus}:B", f"x{plus}:B y{plus}:.ab"),
        )


def _of_matmul(x: Term, w: Term, s: Any) -> Term | None:
    rank = max(x.rank, w.rank)
    if min(x.rank, w.rank) < 2:
        return None
    if s.axis == rank - 1:
        return op.matmul(x, op.slice(w, attrs=s._replace(axis=w.rank - 1)))
    if s.axis == rank - 2:
        return op.matmul(op.slice(x, attrs=s._replace(axis=x.rank - 2)), w)
    return op.matmul(part(x, s, rank), part(w, s, rank))


def _of_conv(x: Term, w: Term, a: Any, s: Any) -> Term | None:
    if s.axis == a.data_layout.index("N"):
        return op.conv2d(op.slice(x, attrs=s), w, attrs=a)
    if s.axis != a.data_layout.index("C"):
        return None
    filters = op.slice(w, attrs=s._replace(axis=a.kernel_layout.index("O")))
    if a.groups == 1:
        return op.conv2d(x, filters, attrs=a)
    size = w.shape[a.kernel_layout.index("O")] // a.groups
    if s.stride != 1 or s.begin % size or s.end % size:
        return None  # it cuts through a group
    inner = w.shape[a.kernel_layout.index("I")]
    used = op.slice(x, axis=s.axis, begin=s.begin // size * inner, end=s.end // size * inner)
    return op.conv2d(used, filters, attrs=a._replace(groups=(s.end - s.begin) // size))


def _reductions() -> Iterator[Rule]:
    for name in ("sum", "mean", "max", "min"):
        reduce = getattr(op, name)
        yield Rule(
            name=f"slice-of-{name}",
            law=f"{name}(x)[b:e] = {name}(x[b:e]) along an axis that is kept",
            lhs=op.slice(reduce(x, axes=r, keepdims=f), attrs=s),
            rhs=lambda x, r, f, s, reduce=reduce: _of_reduction(reduce, x, r, f, s),
            reassociates=True,
            shapes=("x:.abc",),
            attrs={"r": lambda rng, x: (int(rng.integers(len(x.shape))),)},
        )


def _of_reduction(reduce: Any, x: Term, r: tuple[int, ...], f: bool, s: Any) -> Term | None:
    axis = s.axis if f else [i for i in range(x.rank) if i not in r][s.axis]
    return None if axis in r else reduce(op.slice(x, attrs=s._replace(axis=axis)), axes=r, keepdims=f)


def _pooling() -> Iterator[Rule]:
    for name in ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"):
        pool = getattr(op, name)
        yield Rule(
            name=f"slice-of-{name}",
            law=f"{name}(x)[b:e] = {name}(x[b:e]) along the batch or the channels",
            lhs=op.slice(pool(x, attrs=a), attrs=s),
            rhs=lambda x, a, s, pool=pool: None if s.axis in spatial(a.layout) else pool(op.slice(x, attrs=s), attrs=a),
            shapes=("x:abcd",),
        )


def _normalisations() -> Iterator[Rule]:
    for name in ("softmax", "log_softmax"):
        g = getattr(op, name)
        yield Rule(
            name=f"slice-of-{name}",
            law=f"{name}(x; k)[b:e] = {name}(x[b:e]; k) along another axis than k",
            lhs=op.slice(g(x, axis=k), attrs=s),
            rhs=lambda x, k, s, g=g: None if s.axis == k else g(op.slice(x, attrs=s), axis=k),
            reassociates=True,
            shapes=("x:.ab",),
        )
    yield Rule(
        name="slice-of-layer_norm",
        law="layer_norm(x)[b:e] = layer_norm(x[b:e]) along an axis that isn't normalised",
        lhs=op.slice(op.layer_norm(x, gamma, beta, attrs=a), attrs=s),
        rhs=lambda x, gamma, beta, a, s: (
            None if s.axis in a.axes else op.layer_norm(op.slice(x, attrs=s), gamma, beta, attrs=a)
        ),
        reassociates=True,
        shapes=("x:.abc gamma!:c beta!:c", "x:.abc gamma!:bc beta!:bc"),
    )
    yield Rule(
        name="slice-of-batch_norm",
        law="batch_norm(x, …)[b:e] = batch_norm(x[b:e], …), along the channels with these channels' parameters",
        lhs=op.slice(op.batch_norm(x, gamma, beta, mean, variance, attrs=a), attrs=s),
        rhs=lambda x, gamma, beta, mean, variance, a, s: op.batch_norm(
            op.slice(x, attrs=s),
            *(op.slice(v, attrs=s._replace(axis=0)) if s.axis == a.axis else v for v in (gamma, beta, mean, variance)),
            attrs=a,
        ),
        shapes=("x:abcd gamma!:b beta!:b mean!:b variance+!:b",),
    )


def _of_reshape(x: Term, t: tuple[int, ...], s: Any) -> Term | None:
    """One axis of x holds the sliced axis and nothing in front of it: the cut is one there, in other units."""
    if s.stride != 1:
        return None
    before, unit = prod(t[: s.axis]), prod(t[s.axis + 1 :])
    for i in range(x.rank):
        inner = prod(x.shape[i + 1 :])
        if prod(x.shape[:i]) == before and s.begin * unit % inner == 0 and s.end * unit % inner == 0:
            cut = op.slice(x, axis=i, begin=s.begin * unit // inner, end=s.end * unit // inner)
            return op.reshape(cut, shape=(*t[: s.axis], s.end - s.begin, *t[s.axis + 1 :]))
    return None


def _reshape_of_slice(x: Term, t: tuple[int, ...], s: Any) -> Term | None:
    """The same from the other side: one axis of the reshaped slice holds what is left of the sliced axis."""
    if s.stride != 1:
        return None
    before, unit, size = prod(x.shape[: s.axis]), prod(x.shape[s.axis + 1 :]), x.shape[s.axis]
    for i in range(len(t)):
        inner = prod(t[i + 1 :])
        if prod(t[:i]) == before and not any(v * unit % inner for v in (s.begin, s.end, size)):
            whole = op.reshape(x, shape=(*t[:i], size * unit // inner, *t[i + 1 :]))
            return op.slice(whole, axis=i, begin=s.begin * unit // inner, end=s.end * unit // inner)
    return None


def _along(rng: Any, x: Any, axis: int) -> Any:
    """A slice along one axis, for the generated tests."""
    dim = x.shape[axis]
    begin = int(rng.integers(dim))
    return op.slice.record.make_attrs(axis=axis % len(x.shape), begin=begin, end=int(rng.integers(begin, dim)) + 1)


def _regroups(x: Term, t: tuple[int, ...], s: Any) -> bool:
    """Whether the reshape does more than to insert and remove axes of length 1."""
    sliced = [s.end - s.begin if i == s.axis else d for i, d in enumerate(x.shape)]
    return [d for d in sliced if d != 1] != [d for d in t if d != 1]


def _aligned(rng: Any, *operands: Any) -> Any:
    """A slice at even bounds where possible, for the generated tests."""
    axis = int(rng.integers(len(operands[0].shape)))
    dim = operands[0].shape[axis]
    if dim % 2 or rng.random() < 0.2:
        return _along(rng, operands[0], axis)
    half = _along(rng, operands[0]._replace(shape=tuple(d // 2 for d in operands[0].shape)), axis)
    return half._replace(begin=2 * half.begin, end=2 * half.end)


def _regrouped(rng: Any, *operands: Any) -> tuple[int, ...]:
    """A shape with one axis split in two or merged with the next, for the generated tests."""
    shape = operands[0].shape
    i = int(rng.integers(len(shape)))
    if shape[i] % 2 == 0 and rng.random() < 0.7:
        return (*shape[:i], *((shape[i] // 2, 2) if rng.integers(2) else (2, shape[i] // 2)), *shape[i + 1 :])
    return (*shape[:i], prod(shape[i : i + 2]), *shape[i + 2 :])


def _whole_groups(rng: Any, *operands: Any) -> Any:
    """A slice of some images, or of three of the six filters, for the generated tests."""
    shape = operands[0].shape
    axis = int(rng.choice([0, *[i for i in (1, 3) if shape[i] == 6]]))
    if axis == 0:
        return _along(rng, operands[0], 0)
    begin = 3 * int(rng.integers(2))
    return op.slice.record.make_attrs(axis=axis, begin=begin, end=begin + 3)


def _of_stack(xs: tuple[Term, ...], k: int, s: Any) -> Term:
    if s.axis == k:
        return op.stack(*xs[s.begin : s.end : s.stride], axis=k)
    inner = s._replace(axis=s.axis - (s.axis > k))
    return op.stack(*[op.slice(t, attrs=inner) for t in xs], axis=k)


def _of_where(c: Term, x: Term, y: Term, s: Any) -> Term:
    rank = max(c.rank, x.rank, y.rank)
    return op.where(part(c, s, rank), part(x, s, rank), part(y, s, rank))


SLICES = RuleSet(
    [
        *_elementwise(),
        *_reductions(),
        *_pooling(),
        *_normalisations(),
        Rule(
            name="slice-of-where",
            law="where(c, x, y)[b:e] = where(c[b:e], x[b:e], y[b:e]), as far as they vary along that axis",
            lhs=op.slice(op.where(c, x, y), attrs=s),
            rhs=_of_where,
            shapes=("c?:.AB x:.Ab y:.ab", "c?:B x:.ab y:B"),
        ),
        Rule(
            name="slice-of-matmul",
            law="(x · w)[b:e]: rows of x, columns of w, or matrices of the batch",
            lhs=op.slice(op.matmul(x, w), attrs=s),
            rhs=_of_matmul,
            pays=_unmerged_weight,
            shapes=("x:.ab w:.bc", "x:.ab w:bc", "x:ab w:.bc", "x:Nab w:nbc"),
        ),
        Rule(
            name="slice-of-conv2d",
            law="conv(x, w)[b:e]: a part of the batch, or of the filters (whole groups of them)",
            lhs=op.slice(op.conv2d(x, w, attrs=a), attrs=s),
            rhs=_of_conv,
            pays=_unmerged_weight,
            shapes=("x:n4hw w!:6433", "x:n655 w!:6322", "x:nhw4 w!:3346", "x:n556 w!:2236", "x:n556 w!:6223"),
            attrs={"s": _whole_groups},
        ),
        Rule(
            name="slice-past-concat",
            law="concat(x, y; k)[b:e; j] = concat(x[b:e; j], y[b:e; j]; k) where j isn't k",
            lhs=op.slice(op.concat(rest("xs"), axis=k), attrs=s),
            rhs=lambda xs, k, s: None if s.axis == k else op.concat(*[op.slice(t, attrs=s) for t in xs], axis=k),
            shapes=("xs*:a~c", "xs*:.a~", "xs*:~bc."),
        ),
        Rule(
            name="slice-of-stack",
            law="stack(x, y, …)[b:e] = the stack of the chosen ones, or of a slice of each",
            lhs=op.slice(op.stack(rest("xs"), axis=k), attrs=s),
            rhs=_of_stack,
            shapes=("xs*:.ab",),
        ),
        Rule(
            name="slice-of-permute",
            law="permute(x, p)[b:e; k] = permute(x[b:e; p[k]], p)",
            lhs=op.slice(op.permute_dims(x, axes=p), attrs=s),
            rhs=lambda x, p, s: op.permute_dims(op.slice(x, attrs=s._replace(axis=p[s.axis])), axes=p),
            shapes=("x:.abc",),
        ),
        Rule(
            name="permute-of-slice",
            law="permute(x[b:e; k], p) = permute(x, p)[b:e; p^-1[k]]",
            lhs=op.permute_dims(op.slice(x, attrs=s), axes=p),
            rhs=lambda x, s, p: op.slice(op.permute_dims(x, axes=p), attrs=s._replace(axis=inverse(p)[s.axis])),
            shapes=("x:.abc",),
        ),
        Rule(
            name="slice-of-reshape",
            law="reshape(x, t)[b:e; k] = reshape(x[b':e'; j], t) where axis j of x begins where k does",
            lhs=op.slice(op.reshape(x, shape=t), attrs=s),
            rhs=_of_reshape,
            shapes=("x:.ab4", "x:a4b"),
            attrs={"t": _regrouped, "s": _aligned},
        ),
        Rule(
            name="reshape-of-slice",
            law="reshape(x[b:e; k], t) = reshape(x, t')[b':e'; j] where axis j begins where k does (heads)",
            lhs=op.reshape(op.slice(x, attrs=s), shape=t),
            rhs=_reshape_of_slice,
            pays=_regroups,
            shapes=("x:.a8", "x:a8b", "x:8ab"),
            attrs={"s": _aligned, "t": _regrouped},
        ),
        Rule(
            name="slice-of-broadcast",
            law="broadcast(x, t)[b:e] = broadcast(x[b:e], t[b:e])",
            lhs=op.slice(op.broadcast_to(x, shape=t), attrs=s),
            rhs=lambda x, t, s: op.broadcast_to(
                part(x, s, len(t)),
                shape=[len(range(s.begin, s.end, s.stride)) if i == s.axis else d for i, d in enumerate(t)],
            ),
            shapes=("x:Aab", "x:AB", "x:bA"),
        ),
        Rule(
            name="slices-in-order",
            law="x[…; j][…; k] = x[…; k][…; j] for different axes",
            lhs=op.slice(op.slice(x, attrs=s), attrs=t),
            rhs=op.slice(op.slice(x, attrs=t), attrs=s),
            pays=lambda s, t: s.axis > t.axis,
            simplifies=True,
            shapes=("x:.ab",),
            attrs={"s": lambda rng, x: _along(rng, x, -1), "t": lambda rng, x: _along(rng, x, 0)},
        ),
    ]
)
