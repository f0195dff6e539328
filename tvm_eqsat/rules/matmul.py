"""Matrix multiplication: association, distribution, merging, and constants moved into the weights."""

from __future__ import annotations

from typing import Any

from .dsl import Term, attributes, op, rest, tensors
from .lib import is_scalar, only_varies_along, slices, swap_last, total
from .rule import Rule, RuleSet

x, y, z, w, c = tensors("x y z w c")
p, k = attributes("p k")


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
    return (w.rank, w.shape[:-1]) if w.rank >= 2 and w.const and x.rank >= w.rank else None


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
            rhs=_merge_columns,
            source="TENSAT multi-pattern rule 4 (merging Q, K and V)",
            shapes=("x=:ab w!:b~", "x=:nab w!:b~"),
        ),
        Rule(
            name="matmul-share-weight",
            law="x_1 · w, x_2 · w, … = slices of [x_1; x_2; …] · w",
            lhs=op.matmul(x, w),
            shared=(w,),
            key=lambda x, w: (x.rank, x.shape[:-2], x.shape[-1]) if w.rank == 2 and x.rank >= 2 and w.const else None,
            rhs=_merge_rows,
            source="TENSAT multi-pattern rule 5",
            shapes=("x:~b w=!:bc", "x:n~b w=!:bc"),
        ),
        Rule(
            name="matmul-sum-of-products",
            law="x · y + z · w = [x | z] · [y; w]",
            lhs=op.add(op.matmul(x, y), op.matmul(z, w)),
            rhs=_concat_reduction,
            when=lambda y, w: y.const and w.const,
            reassociates=True,
            source="TENSAT: concatenation along the reduced axis",
            shapes=("x:ab y!:bc z:ad w!:dc", "x:nab y!:bc z:nad w!:dc"),
            counterexample="x:ab y:bc z:ad w:dc",
        ),
        Rule(
            name="matmul-of-concat",
            law="[x | z] · w = x · (first rows of w) + z · (last rows of w)",
            lhs=op.matmul(op.concat(rest("xs"), axis=k), w),
            rhs=_split_reduction,
            when=lambda w: w.const,
            reassociates=True,
            source="TENSAT: concatenation along the reduced axis",
            shapes=("xs*:a3 w!:6c", "xs*:na3 w!:6c"),
            attrs={"k": lambda rng, *xs: len(xs[0].shape) - 1, "count": lambda rng: 2},
            counterexample="xs*:a3 w:6c",
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
            when=lambda x, c, w: c.const and w.const and not x.const and only_varies_along(c, x.rank - 1, x.rank),
            reassociates=True,
            shapes=("x:ab c!:b w!:bd", "x:nab c!:b w!:bd"),
            counterexample="x:ab c:b w!:bd",
        ),
        Rule(
            name="matmul-scale-columns",
            law="(x · w) * c = x · (w * c) where the constant c is a scalar or varies along the columns",
            lhs=op.multiply(op.matmul(x, w), c),
            rhs=_scale_weight,
            when=lambda w, c: c.const and w.const,
            reassociates=True,
            shapes=("x:ab w!:bd c!:d", "x:nab w!:bd c!:"),
            counterexample="x:ab w:bd c!:d",
        ),
        Rule(
            name="matmul-scale-rows",
            law="(x * c) · w = x · (w * c^T) where the constant c is a scalar or varies along the reduced axis",
            lhs=op.matmul(op.multiply(x, c), w),
            rhs=_scale_rows,
            when=lambda w, c: c.const and w.const,
            reassociates=True,
            shapes=("x:ab w!:bd c!:b", "x:nab w!:bd c!:"),
            counterexample="x:ab w:bd c!:b",
        ),
        Rule(
            name="matmul-scale-operand",
            law="(x · y) * c = (x * c) · y for a constant scalar c",
            lhs=op.multiply(op.matmul(x, y), c),
            rhs=lambda x, y, c: op.matmul(op.multiply(x, op.reshape(c, shape=())), y),
            when=lambda c: c.const and is_scalar(c),
            reassociates=True,
            source="TASO axioms: smul and matmul",
            shapes=("x:ab y:bc c!:", "x:nab y:nbc c!:"),
            counterexample="x:ab y:bc c:",
        ),
        Rule(
            name="matmul-transpose",
            law="(x · y)^T = y^T · x^T",
            lhs=op.permute_dims(op.matmul(x, y), axes=p),
            rhs=lambda x, y, p: op.matmul(
                op.permute_dims(y, axes=swap_last(y.rank)), op.permute_dims(x, axes=swap_last(x.rank))
            ),
            when=lambda x, y, p: x.rank == y.rank and p == swap_last(len(p)),
            source="TASO axioms: transpose of matmul",
            shapes=("x:ab y:bc", "x:nab y:nbc"),
            attrs={"p": lambda rng, x: swap_last(len(x.shape))},
            counterexample="x:nab y:bc",
        ),
    ]
)


def _matrix(x: Term, c: Term) -> tuple[int, ...]:
    """The shape of c as one row, with as many axes as x."""
    return (1,) * (x.rank - 1) + (x.shape[-1],)
