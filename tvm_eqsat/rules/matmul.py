"""Matrix multiplication: association, distribution, merging, and constants moved into the weights."""

from __future__ import annotations

from math import prod
from typing import Any

from .dsl import Term, attributes, each, op, rest, tensors
from .lib import is_scalar, only_varies_along, permuted, slices, total
from .rule import Rule, RuleSet

x, y, z, w, c = tensors("x y z w c")
p, k, t = attributes("p k t")


def _merge_columns(x: Term, w: tuple[Term, ...]) -> list[Term]:
    merged = op.matmul(x, op.concat(*w, axis=w[0].rank - 1))
    return slices(merged, merged.rank - 1, [t.shape[-1] for t in w])


def _merge_rows(x: tuple[Term, ...], w: Term) -> list[Term]:
    axis = x[0].rank - 2
    merged = op.matmul(op.concat(*x, axis=axis), w)
    return slices(merged, merged.rank - 2, [t.shape[axis] for t in x])


def _split_reduction(xs: tuple[Term, ...], w: Term, k: int) -> Term | None:
    if k != xs[0].rank - 1 or w.rank < 2:
        return None
    return total(
        [op.matmul(t, part) for t, part in zip(xs, slices(w, w.rank - 2, [t.shape[k] for t in xs]), strict=True)]
    )


def _concat_reduction(x: Term, y: Term, z: Term, w: Term) -> Term | None:
    if x.rank < 2 or x.rank != z.rank or y.rank != w.rank or y.rank < 2:
        return None
    return op.matmul(op.concat(x, z, axis=x.rank - 1), op.concat(y, w, axis=y.rank - 2))


def _scale_weight(x: Term, w: Term, c: Term) -> Term | None:
    """c is a scalar or varies along the output columns: it scales the columns of w."""
    if w.rank < 2 or not only_varies_along(c, max(x.rank, w.rank) - 1, max(x.rank, w.rank)):
        return None
    column = op.reshape(c, shape=()) if is_scalar(c) else op.reshape(c, shape=(c.shape[-1],))
    return op.matmul(x, op.multiply(w, column))


def _scale_rows(x: Term, w: Term, c: Term) -> Term | None:
    """c varies along the reduced axis: it scales the rows of w."""
    if w.rank < 2 or not only_varies_along(c, x.rank - 1, x.rank):
        return None
    row = op.reshape(c, shape=()) if is_scalar(c) else op.reshape(c, shape=(c.shape[-1], 1))
    return op.matmul(x, op.multiply(w, row))


def _bias_through(x: Term, y: Term, w: Term) -> Term | None:
    return op.add(op.matmul(x, w), op.matmul(y, w)) if y.rank >= 2 else None


def _weights_concat(w: Term, x: Term) -> Any:
    return (w.rank, w.shape[:-1]) if x.rank >= w.rank >= 2 else None


def _matrix(x: Term, c: Term) -> tuple[int, ...]:
    """The shape of c as one row, with as many axes as x."""
    return (1,) * (x.rank - 1) + (x.shape[-1],)


def _keeps_matrices(p: tuple[int, ...]) -> bool:
    """Whether the last two axes stay last, in either order."""
    return len(p) >= 2 and set(p[-2:]) == {len(p) - 2, len(p) - 1}


def _transposed(x: Term, y: Term, p: tuple[int, ...]) -> Term:
    rank = len(p)
    if p[-1] == rank - 1:
        return op.matmul(permuted(x, p), permuted(y, p))
    return op.matmul(permuted(y, p), permuted(x, p))


def _concat_of_batches(x: tuple[Term, ...], w: tuple[Term, ...], k: int) -> Term | None:
    rank = x[0].rank
    if any(t.rank != rank for t in (*x, *w)) or k >= rank - 2:
        return None
    if any(t.shape[k] != u.shape[k] for t, u in zip(x, w, strict=True)):
        return None
    return op.matmul(op.concat(*x, axis=k), op.concat(*w, axis=k))


def _stacked_heads(x: tuple[Term, ...], w: tuple[Term, ...], k: int) -> Term | None:
    rank, heads = x[0].rank, len(x)
    if any(t.shape != x[0].shape for t in x) or any(t.shape != w[0].shape for t in w):
        return None
    if w[0].rank != rank or rank < 2 or k < rank - 2 or heads < 2:
        return None
    product = op.matmul(op.stack(*x, axis=rank - 2), op.stack(*w, axis=rank - 2))
    *batch, _, rows, columns = product.shape
    if k == rank - 2:
        return op.reshape(product, shape=(*batch, heads * rows, columns))
    turned = op.permute_dims(product, axes=(*range(rank - 2), rank - 1, rank - 2, rank))
    return op.reshape(turned, shape=(*batch, rows, heads * columns))


def _matrix_permutation(rng: Any, rank: int) -> tuple[int, ...]:
    """A permutation that keeps the matrices, for the generated tests."""
    return (*rng.permutation(rank - 2).tolist(), *(rng.permutation(2) + rank - 2).tolist())


def _merged_axes(rng: Any, x: Any) -> tuple[int, ...]:
    """A shape with some leading axes merged, for the generated tests."""
    cut = int(rng.integers(1, len(x.shape)))
    return (prod(x.shape[:cut]), *x.shape[cut:-1], x.shape[-1])


MATMUL = RuleSet(
    [
        Rule(
            name="matmul-associate-right",
            law="(x · y) · z = x · (y · z)",
            lhs=op.matmul(op.matmul(x, y), z),
            rhs=op.matmul(x, op.matmul(y, z)),
            when=lambda x, y, z: min(x.rank, y.rank, z.rank) >= 2,
            reassociates=True,
            source="TASO axioms: matmul is associative",
            shapes=("x:ab y:bc z:cd", "x:nab y:bc z:cd"),
            counterexample="x:nab y:bc z:c",
        ),
        Rule(
            name="matmul-associate-left",
            law="x · (y · z) = (x · y) · z",
            lhs=op.matmul(x, op.matmul(y, z)),
            rhs=op.matmul(op.matmul(x, y), z),
            when=lambda x, y, z: min(x.rank, y.rank, z.rank) >= 2,
            reassociates=True,
            source="TASO axioms: matmul is associative",
            shapes=("x:ab y:bc z:cd", "x:nab y:bc z:cd"),
            counterexample="x:b y:bc z:cd",
        ),
        Rule(
            name="matmul-share-input",
            law="x · y_1, x · y_2, … = slices of x · [y_1 | y_2 | …]",
            lhs=op.matmul(x, w),
            shared=(x,),
            key=_weights_concat,
            pays=lambda w: w.const,
            rhs=_merge_columns,
            source="TENSAT multi-pattern rule 4 (merging Q, K and V)",
            shapes=("x=:ab w!:b~", "x=:nab w!:b~"),
        ),
        Rule(
            name="matmul-share-weight",
            law="x_1 · w, x_2 · w, … = slices of [x_1; x_2; …] · w",
            lhs=op.matmul(x, w),
            shared=(w,),
            key=lambda x, w: (x.rank, x.shape[:-2], x.shape[-1]) if w.rank == 2 and x.rank >= 2 else None,
            pays=lambda w: w.const,
            rhs=_merge_rows,
            source="TENSAT multi-pattern rule 5",
            shapes=("x:~b w=!:bc", "x:n~b w=!:bc"),
        ),
        Rule(
            name="matmul-sum-of-products",
            law="x · y + z · w = [x | z] · [y; w]",
            lhs=op.add(op.matmul(x, y), op.matmul(z, w)),
            rhs=_concat_reduction,
            pays=lambda y, w: y.const and w.const,
            reassociates=True,
            source="TENSAT: concatenation along the reduced axis",
            shapes=("x:ab y!:bc z:ad w!:dc", "x:nab y!:bc z:nad w!:dc"),
        ),
        Rule(
            name="matmul-of-concat",
            law="[x | z] · w = x · (first rows of w) + z · (last rows of w)",
            lhs=op.matmul(op.concat(rest("xs"), axis=k), w),
            rhs=_split_reduction,
            pays=lambda w: w.const,
            reassociates=True,
            source="TENSAT: concatenation along the reduced axis",
            shapes=("xs*:a3 w!:6c", "xs*:na3 w!:6c"),
            attrs={"k": lambda rng, *xs: len(xs[0].shape) - 1, "count": lambda rng: 2},
        ),
        Rule(
            name="matmul-factor-left",
            law="x · y + x · z = x · (y + z)",
            lhs=op.add(op.matmul(x, y), op.matmul(x, z)),
            rhs=op.matmul(x, op.add(y, z)),
            reassociates=True,
            source="TASO axioms: matmul is linear",
            shapes=("x:ab y:bc z:bc",),
        ),
        Rule(
            name="matmul-factor-right",
            law="x · w + y · w = (x + y) · w",
            lhs=op.add(op.matmul(x, w), op.matmul(y, w)),
            rhs=op.matmul(op.add(x, y), w),
            reassociates=True,
            source="TASO axioms: matmul is linear",
            shapes=("x:ab y:ab w:bc",),
        ),
        Rule(
            name="matmul-bias-through",
            law="(x + c) · w = x · w + c · w for constants c and w",
            lhs=op.matmul(op.add(x, c), w),
            rhs=lambda x, c, w: _bias_through(x, op.broadcast_to(c, shape=_matrix(x, c)), w),
            when=lambda x, c: only_varies_along(c, x.rank - 1, x.rank),
            pays=lambda x, c, w: c.const and w.const and not x.const,
            reassociates=True,
            shapes=("x:ab c!:b w!:bd", "x:nab c!:b w!:bd"),
            counterexample="x:ab c:a1 w!:bd",
        ),
        Rule(
            name="matmul-scale-columns",
            law="(x · w) * c = x · (w * c) where the constant c is a scalar or varies along the columns",
            lhs=op.multiply(op.matmul(x, w), c),
            rhs=_scale_weight,
            pays=lambda w, c: c.const and w.const,
            reassociates=True,
            shapes=("x:ab w!:bd c!:d", "x:nab w!:bd c!:"),
        ),
        Rule(
            name="matmul-scale-rows",
            law="(x * c) · w = x · (w * c^T) where the constant c is a scalar or varies along the reduced axis",
            lhs=op.matmul(op.multiply(x, c), w),
            rhs=_scale_rows,
            pays=lambda w, c: c.const and w.const,
            reassociates=True,
            shapes=("x:ab w!:bd c!:b", "x:nab w!:bd c!:"),
        ),
        Rule(
            name="matmul-scale-operand",
            law="(x · y) * c = (x * c) · y for a constant scalar c",
            lhs=op.multiply(op.matmul(x, y), c),
            rhs=lambda x, y, c: op.matmul(op.multiply(x, op.reshape(c, shape=())), y),
            when=lambda c: is_scalar(c),
            pays=lambda c: c.const,
            reassociates=True,
            source="TASO axioms: smul and matmul",
            shapes=("x:ab y:bc c!:", "x:nab y:nbc c!:"),
            counterexample="x:ab y:bc c:c",
        ),
        Rule(
            name="matmul-transpose",
            law="(x · y)^T = y^T · x^T, and permuted batches are batches of permuted operands",
            lhs=op.permute_dims(op.matmul(x, y), axes=p),
            rhs=_transposed,
            when=lambda x, y, p: x.rank >= 2 and y.rank >= 2 and _keeps_matrices(p),
            source="TASO axioms: transpose of matmul",
            shapes=("x:ab y:bc", "x:nab y:nbc", "x:mnab y:mnbc", "x:mnab y:nbc", "x:ab y:mnbc"),
            attrs={"p": lambda rng, *ts: _matrix_permutation(rng, len(ts[0].shape))},
            counterexample="x:nab y:nbc",
        ),
        Rule(
            name="matmul-of-transposes",
            law="x^T · y^T = (y · x)^T, and permuted operands give permuted batches",
            lhs=op.matmul(op.permute_dims(x, axes=p), op.permute_dims(y, axes=p)),
            rhs=lambda x, y, p: op.permute_dims(op.matmul(x, y) if p[-1] == len(p) - 1 else op.matmul(y, x), axes=p),
            when=_keeps_matrices,
            source="TASO axioms: transpose of matmul",
            shapes=("x:ab y:ca", "x:nab y:nca", "x:nab y:nbc", "x:mnab y:mnca"),
            attrs={"p": lambda rng, x: _matrix_permutation(rng, len(x.shape))},
            counterexample="x:aaa y:aaa",
        ),
        Rule(
            name="matmul-past-reshape",
            law="reshape(x, t) · w = reshape(x · w) for a matrix w, where the reshape keeps the last axis",
            lhs=op.matmul(op.reshape(x, shape=t), w),
            rhs=lambda x, t, w: op.reshape(op.matmul(x, w), shape=(*t[:-1], w.shape[1])),
            when=lambda x, t, w: w.rank == 2 and min(x.rank, len(t)) >= 2 and x.shape[-1] == t[-1],
            shapes=("x:nab w:bc", "x:mnab w:bc"),
            attrs={"t": lambda rng, x: _merged_axes(rng, x)},
            counterexample="x:nab w:nbc",
        ),
        Rule(
            name="matmul-drops-broadcast-left",
            law="broadcast(x) · y = x · y where y has the batch that x is repeated for",
            lhs=op.matmul(op.broadcast_to(x, shape=t), y),
            rhs=op.matmul(x, y),
            when=lambda x, t: x.rank >= 2 and x.shape[-2:] == t[-2:],
            shapes=("x:ab y:nbc", "x:1ab y:nbc"),
            attrs={"t": lambda rng, x, y: (y.shape[0], *x.shape[-2:])},
            counterexample="x:1 y:nbc",
        ),
        Rule(
            name="matmul-drops-broadcast-right",
            law="x · broadcast(y) = x · y where x has the batch that y is repeated for",
            lhs=op.matmul(x, op.broadcast_to(y, shape=t)),
            rhs=op.matmul(x, y),
            when=lambda y, t: y.rank >= 2 and y.shape[-2:] == t[-2:],
            shapes=("x:nab y:bc", "x:nab y:1bc"),
            attrs={"t": lambda rng, y, x: (x.shape[0], *y.shape[-2:])},
            counterexample="x:na1 y:1",
        ),
        Rule(
            name="concat-of-matmul-columns",
            law="[x · y | x · z] = x · [y | z]",
            lhs=op.concat(op.matmul(x, y), each(op.matmul(x, w)), axis=k),
            rhs=lambda x, y, w, k: (
                op.matmul(x, op.concat(y, *w, axis=y.rank - 1))
                if min(x.rank, y.rank) >= 2 and k == max(x.rank, y.rank) - 1
                else None
            ),
            source="TASO axioms: concat and matmul",
            shapes=("x==:.ab y:b3 w:b~", "x==:ab y:mb3 w:mb~", "x==:nab y:nb3 w:nb~"),
            attrs={"k": lambda rng, *ts: len(ts[0].shape) - 1},
        ),
        Rule(
            name="concat-of-matmul-rows",
            law="[x · w; y · w] = [x; y] · w",
            lhs=op.concat(op.matmul(y, w), each(op.matmul(x, w)), axis=k),
            rhs=lambda x, y, w, k: (
                op.matmul(op.concat(y, *x, axis=y.rank - 2), w)
                if min(y.rank, w.rank) >= 2 and k == max(y.rank, w.rank) - 2
                else None
            ),
            source="TASO axioms: concat and matmul",
            shapes=("y:.3b x:.~b w==:bc", "y:3b x:~b w==:mbc", "y:n3b x:n~b w==:nbc"),
            attrs={"k": lambda rng, *ts: len(ts[0].shape) - 2},
        ),
        Rule(
            name="concat-of-matmul-batches",
            law="[x · y; z · w] = [x; z] · [y; w] along an axis of the batch",
            lhs=op.concat(each(op.matmul(x, w)), axis=k),
            rhs=_concat_of_batches,
            source="TASO axioms: concat and matmul",
            shapes=("x:~ab w:~bc", "x:m~ab w:m~bc", "x:~mab w:~mbc", "x:~mab w:~1bc"),
            attrs={"k": lambda rng, *ts: int(rng.integers(len(ts[0].shape) - 2))},
        ),
        Rule(
            name="concat-of-heads",
            law="[x_1 · w_1 | x_2 · w_2 | …] = one batched product of the stacks, transposed and reshaped",
            lhs=op.concat(each(op.matmul(x, w)), axis=k),
            rhs=_stacked_heads,
            source="attention written head by head",
            shapes=("x:ab w:bc", "x:nab w:nbc"),
            attrs={"k": lambda rng, *ts: len(ts[0].shape) - 1 - int(rng.integers(2))},
        ),
        Rule(
            name="stack-of-matmul",
            law="stack(x_1 · w_1, x_2 · w_2, …) = stack(x_1, x_2, …) · stack(w_1, w_2, …)",
            lhs=op.stack(each(op.matmul(x, w)), axis=k),
            rhs=lambda x, w, k: (
                op.matmul(op.stack(*x, axis=k), op.stack(*w, axis=k))
                if all(t.rank == u.rank for t, u in zip(x, w, strict=True)) and k <= x[0].rank - 2
                else None
            ),
            shapes=("x:ab w:bc", "x:nab w:nbc", "x:mnab w:mnbc"),
            attrs={"k": lambda rng, *ts: int(rng.integers(len(ts[0].shape) - 1))},
        ),
    ]
)
