"""Reshapes, transposes and broadcasts: composed, cancelled, and moved past elementwise operators."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

from .dsl import Term, attributes, op, tensors
from .lib import BINARY, POINTWISE, POINTWISE_WITH_ATTRS, inverse, is_scalar, permuted, positive
from .rule import Rule, RuleSet

x, y = tensors("x y")
p, q, s, t, a, k = attributes("p q s t a k")


def _moves_only_units(x: Term, p: tuple[int, ...]) -> bool:
    kept = [i for i in p if x.shape[i] != 1]
    return kept == sorted(kept)


def _units_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A permutation that moves only axes of length 1, for the generated tests."""
    axes = range(len(shape))
    return (*[i for i in reversed(axes) if shape[i] == 1], *[i for i in axes if shape[i] != 1])


COMPOSE = RuleSet(
    [
        Rule(
            name="reshape-reshape",
            law="reshape(reshape(x, s), t) = reshape(x, t)",
            lhs=op.reshape(op.reshape(x, shape=s), shape=t),
            rhs=op.reshape(x, shape=t),
            simplifies=True,
            shapes=("x:.abc",),
        ),
        Rule(
            name="reshape-same",
            law="reshape(x, shape of x) = x",
            lhs=op.reshape(x, shape=s),
            rhs=x,
            when=lambda x, s: x.shape == s,
            simplifies=True,
            shapes=("x:.abc",),
            attrs={"s": lambda rng, x: x.shape},
            counterexample="x:222",
        ),
        Rule(
            name="permute-permute",
            law="permute(permute(x, p), q) = permute(x, p[q])",
            lhs=op.permute_dims(op.permute_dims(x, axes=p), axes=q),
            rhs=lambda x, p, q: op.permute_dims(x, axes=[p[i] for i in q]),
            simplifies=True,
            shapes=("x:.abc",),
        ),
        Rule(
            name="permute-same",
            law="permute(x, identity) = x",
            lhs=op.permute_dims(x, axes=p),
            rhs=x,
            when=lambda p: p == tuple(range(len(p))),
            simplifies=True,
            shapes=("x:.abc",),
            attrs={"p": lambda rng, x: tuple(range(len(x.shape)))},
            counterexample="x:234",
        ),
        Rule(
            name="permute-units",
            law="a permutation that moves only axes of length 1 is a reshape",
            lhs=op.permute_dims(x, axes=p),
            rhs=lambda x, p: op.reshape(x, shape=[x.shape[i] for i in p]),
            when=_moves_only_units,
            simplifies=True,
            shapes=("x:1a1b", "x:11a", "x:ABcd", "x:aBC", "x:ABCDE"),
            attrs={"p": lambda rng, x: _units_first(x.shape)},
            counterexample="x:234",
        ),
        Rule(
            name="broadcast-same",
            law="broadcast(x, shape of x) = x",
            lhs=op.broadcast_to(x, shape=s),
            rhs=x,
            when=lambda x, s: x.shape == s,
            simplifies=True,
            shapes=("x:.abc",),
            attrs={"s": lambda rng, x: x.shape},
            counterexample="x:1",
        ),
        Rule(
            name="broadcast-broadcast",
            law="broadcast(broadcast(x, s), t) = broadcast(x, t)",
            lhs=op.broadcast_to(op.broadcast_to(x, shape=s), shape=t),
            rhs=op.broadcast_to(x, shape=t),
            simplifies=True,
            shapes=("x:Aab", "x:AB", "x:bA1"),
        ),
        Rule(
            name="cast-same",
            law="cast(x, dtype of x) = x",
            lhs=op.cast(x, dtype=s),
            rhs=x,
            when=lambda x, s: x.dtype == s,
            simplifies=True,
            shapes=("x:.ab",),
            attrs={"s": lambda rng, x: x.dtype},
            counterexample="x:ab",
        ),
    ]
)


def _past_pointwise() -> Iterator[Rule]:
    for name in POINTWISE + POINTWISE_WITH_ATTRS:
        f, plus = getattr(op, name), positive(name)
        keep: dict[str, Any] = {"attrs": a} if name in POINTWISE_WITH_ATTRS else {}
        yield Rule(
            name=f"permute-past-{name}",
            law=f"permute({name}(x), p) = {name}(permute(x, p))",
            lhs=op.permute_dims(f(x, **keep), axes=p),
            rhs=f(op.permute_dims(x, axes=p), **keep),
            shapes=(f"x{plus}:.ab",),
        )
        yield Rule(
            name=f"{name}-past-permute",
            law=f"{name}(permute(x, p)) = permute({name}(x), p)",
            lhs=f(op.permute_dims(x, axes=p), **keep),
            rhs=op.permute_dims(f(x, **keep), axes=p),
            shapes=(f"x{plus}:.ab",),
        )
        yield Rule(
            name=f"{name}-past-broadcast",
            law=f"{name}(broadcast(x, s)) = broadcast({name}(x), s)",
            lhs=f(op.broadcast_to(x, shape=s), **keep),
            rhs=op.broadcast_to(f(x, **keep), shape=s),
            shapes=(f"x{plus}:.AB", f"x{plus}:Aab"),
        )
        yield Rule(
            name=f"{name}-past-reshape",
            law=f"{name}(reshape(x, s)) = reshape({name}(x), s)",
            lhs=f(op.reshape(x, shape=s), **keep),
            rhs=op.reshape(f(x, **keep), shape=s),
            shapes=(f"x{plus}:.ab",),
        )


def _past_binary() -> Iterator[Rule]:
    for name in BINARY:
        f, plus = getattr(op, name), positive(name)
        yield Rule(
            name=f"permute-past-{name}",
            law=f"permute({name}(x, y), p) = {name}(permute(x, p), permute(y, p)), operands of lower rank broadcast",
            lhs=op.permute_dims(f(x, y), axes=p),
            rhs=lambda x, y, p, f=f: f(permuted(x, p), permuted(y, p)),
            shapes=(
                f"x{plus}:.ab y{plus}:.AB",
                f"x{plus}:.AB y{plus}:.ab",
                f"x{plus}:.ab y{plus}:B",
                f"x{plus}:B y{plus}:.ab",
            ),
        )
        yield Rule(
            name=f"{name}-past-permute",
            law=f"{name}(permute(x, p), c) = permute({name}(x, permute(c, p^-1)), p) for a constant c",
            lhs=f(op.permute_dims(x, axes=p), y),
            rhs=lambda x, y, p, f=f: (
                op.permute_dims(f(x, permuted(y, inverse(p))), axes=p) if y.rank <= x.rank else None
            ),
            pays=lambda y: y.const,
            shapes=(f"x{plus}:.ab y{plus}!:.1", f"x{plus}:.aa y{plus}!:A", f"x{plus}:aaa y{plus}!:AAA"),
        )
        yield Rule(
            name=f"{name}-of-permutes",
            law=f"{name}(permute(x, p), permute(y, p)) = permute({name}(x, y), p)",
            lhs=f(op.permute_dims(x, axes=p), op.permute_dims(y, axes=p)),
            rhs=op.permute_dims(f(x, y), axes=p),
            shapes=(f"x{plus}:.ab y{plus}:.AB",),
        )
        yield Rule(
            name=f"{name}-of-reshapes",
            law=f"{name}(reshape(x, s), reshape(y, s)) = reshape({name}(x, y), s) for x and y of one shape",
            lhs=f(op.reshape(x, shape=s), op.reshape(y, shape=s)),
            rhs=op.reshape(f(x, y), shape=s),
            when=lambda x, y: x.shape == y.shape,
            shapes=(f"x{plus}:.ab y{plus}:.ab",),
            attrs={"s": lambda rng, x: (x.shape[0], prod(x.shape[1:]))},
            counterexample="x:23 y:32",
        )
        if name not in ("add", "multiply"):  # these commute
            yield Rule(
                name=f"{name}-drops-broadcast-left",
                law=f"{name}(broadcast(x), y) = {name}(x, y) where y has the full shape",
                lhs=f(op.broadcast_to(x, shape=s), y),
                rhs=f(x, y),
                shapes=(f"x{plus}:.AB y{plus}:.ab", f"x{plus}:B y{plus}:.ab"),
                attrs={"s": lambda rng, x, y: y.shape},
            )
        yield Rule(
            name=f"{name}-drops-broadcast",
            law=f"{name}(x, broadcast(y)) = {name}(x, y) where x has the full shape",
            lhs=f(x, op.broadcast_to(y, shape=s)),
            rhs=f(x, y),
            shapes=(f"x{plus}:.ab y{plus}:.AB", f"x{plus}:.ab y{plus}:B"),
            attrs={"s": lambda rng, y, x: x.shape},
        )


def _bias_over_reshape(x: Term, y: Term, s: tuple[int, ...]) -> Term | None:
    """``y`` varies only along trailing axes that the reshape leaves alone."""
    kept = 0
    while kept < min(x.rank, len(s)) and x.shape[-1 - kept] == s[-1 - kept]:
        kept += 1
    if any(d != 1 for d in y.shape[: max(0, y.rank - kept)]):
        return None
    bias = y if y.rank <= kept else op.reshape(y, shape=y.shape[y.rank - kept :])
    return op.reshape(op.add(x, bias), shape=s)


def _scale_past() -> Iterator[Rule]:
    for name, attr in (("reshape", "shape"), ("permute_dims", "axes"), ("broadcast_to", "shape")):
        g = getattr(op, name)
        yield Rule(
            name=f"scale-past-{name}",
            law=f"{name}(x) * c = {name}(x * c) for a constant scalar c",
            lhs=op.multiply(g(x, **{attr: s}), y),
            rhs=lambda x, y, s, g=g, attr=attr: g(op.multiply(x, op.reshape(y, shape=())), **{attr: s}),
            when=lambda y: is_scalar(y),
            pays=lambda y: y.const,
            source="TASO axioms: smul commutes with transpose and reshape",
            shapes=("x:.ab y!:", "x:.ab y!:1"),
            counterexample="x:222 y:2",
        )


MOTION = RuleSet(
    [
        *_past_pointwise(),
        *_past_binary(),
        *_scale_past(),
        Rule(
            name="bias-past-reshape",
            law="reshape(x, s) + c = reshape(x + c, s) where c varies only along trailing axes that s keeps",
            lhs=op.add(op.reshape(x, shape=s), y),
            rhs=_bias_over_reshape,
            pays=lambda y: y.const,
            shapes=("x:.abc y!:c", "x:abc y!:", "x:abc y!:bc"),
            attrs={"s": lambda rng, x: (x.shape[0] * x.shape[1], *x.shape[2:])},
        ),
        Rule(
            name="softmax-past-reshape",
            law="softmax(reshape(x, s); last axis) = reshape(softmax(x; last axis), s) where s keeps the last axis",
            lhs=op.softmax(op.reshape(x, shape=s), axis=k),
            rhs=lambda x, s: op.reshape(op.softmax(x, axis=x.rank - 1), shape=s),
            when=lambda x, s, k: k == len(s) - 1 and x.rank > 0 and x.shape[-1] == s[-1],
            shapes=("x:.abc",),
            attrs={
                "s": lambda rng, x: (x.shape[0] * x.shape[1], *x.shape[2:]),
                "k": lambda rng, *ts: len(ts[0].shape) - 1,
            },
            counterexample="x:234",
        ),
    ]
)

SHAPE = COMPOSE + MOTION
