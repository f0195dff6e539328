"""Identities: neutral elements, double application, and cheaper spellings of the same function."""

from __future__ import annotations

import numpy as np

from .dsl import Term, op, rest, tensors
from .lib import is_float, total
from .rule import Rule, RuleSet

x, y, z = tensors("x y z")


def _one_over(c: Term) -> Term:
    return op.divide(np.ones((), c.dtype), c)


def _root_power(x: Term, y: Term) -> Term | None:
    """x^(k/4) as products of square roots: a libm ``powf`` costs as much as dozens of them."""
    half = op.sqrt(x)
    table = {
        0.25: lambda: op.sqrt(half),
        0.5: lambda: half,
        0.75: lambda: op.multiply(half, op.sqrt(half)),
        1.5: lambda: op.multiply(x, half),
    }
    make = table.get(y.fill)
    return make() if make else None


IDENTITIES = RuleSet(
    [
        Rule(
            name="add-commute",
            law="x + y = y + x",
            lhs=op.add(x, y),
            rhs=op.add(y, x),
            shapes=("x:.ab y:.AB", "x:.ab y:B", "x:B y:.ab"),
        ),
        Rule(
            name="multiply-commute",
            law="x * y = y * x",
            lhs=op.multiply(x, y),
            rhs=op.multiply(y, x),
            shapes=("x:.ab y:.AB", "x:.ab y:B", "x:B y:.ab"),
        ),
        Rule(
            name="add-zero",
            law="x + 0 = x",
            lhs=op.add(x, y),
            rhs=x,
            when=lambda y: y.fill == 0,
            simplifies=True,
            shapes=("x:.ab y=0:.ab", "x:.ab y=0:"),
            counterexample="x:ab y=1:ab",
        ),
        Rule(
            name="subtract-zero",
            law="x - 0 = x",
            lhs=op.subtract(x, y),
            rhs=x,
            when=lambda y: y.fill == 0,
            simplifies=True,
            shapes=("x:.ab y=0:b",),
            counterexample="x:ab y=1:b",
        ),
        Rule(
            name="multiply-one",
            law="x * 1 = x",
            lhs=op.multiply(x, y),
            rhs=x,
            when=lambda y: y.fill == 1,
            simplifies=True,
            shapes=("x:.ab y=1:.ab", "x:.ab y=1:"),
            counterexample="x:ab y=2:",
        ),
        Rule(
            name="divide-one",
            law="x / 1 = x",
            lhs=op.divide(x, y),
            rhs=x,
            when=lambda y: y.fill == 1,
            simplifies=True,
            shapes=("x:.ab y=1:",),
            counterexample="x:ab y=2:",
        ),
        Rule(
            name="power-one",
            law="x ^ 1 = x",
            lhs=op.power(x, y),
            rhs=x,
            when=lambda y: y.fill == 1,
            simplifies=True,
            shapes=("x:.ab y=1:",),
            counterexample="x:ab y=2:",
        ),
        Rule(
            name="power-two",
            law="x ^ 2 = x * x",
            lhs=op.power(x, y),
            rhs=op.multiply(x, x),
            when=lambda y: y.fill == 2,
            reassociates=True,
            shapes=("x:.ab y=2:",),
            counterexample="x:ab y=3:",
        ),
        Rule(
            name="power-three",
            law="x ^ 3 = x * x * x",
            lhs=op.power(x, y),
            rhs=op.multiply(op.multiply(x, x), x),
            when=lambda y: y.fill == 3,
            reassociates=True,
            source="tanh approximation of GELU, as exporters write it",
            shapes=("x:.ab y=3:",),
            counterexample="x:ab y=2:",
        ),
        Rule(
            name="power-roots",
            law="x ^ (k/4) = a product of x and its square roots",
            lhs=op.power(x, y),
            rhs=_root_power,
            when=lambda y: y.fill in (0.25, 0.5, 0.75, 1.5),
            reassociates=True,
            shapes=("x+:.ab y=0.75:", "x+:.ab y=0.5:b", "x+:.ab y=0.25:", "x+:.ab y=1.5:"),
            counterexample="x+:ab y=0.3:",
        ),
        Rule(
            name="divide-by-constant",
            law="x / c = x * (1 / c)",
            lhs=op.divide(x, y),
            rhs=lambda x, y: op.multiply(x, _one_over(y)),
            when=lambda y: is_float(y),
            pays=lambda y: y.const,
            reassociates=True,
            shapes=("x:.ab y+!:.AB", "x:B y+!:.ab"),
            counterexample="x#:ab y#+:b",
        ),
        Rule(
            name="subtract-constant",
            law="x - c = x + (-c)",
            lhs=op.subtract(x, y),
            rhs=lambda x, y: op.add(x, op.negative(y)),
            pays=lambda y: y.const,
            shapes=("x:.ab y!:.AB", "x:B y!:.ab"),
        ),
        Rule(
            name="negate-twice",
            law="-(-x) = x",
            lhs=op.negative(op.negative(x)),
            rhs=x,
            simplifies=True,
            shapes=("x:.ab",),
        ),
        Rule(
            name="relu-twice",
            law="relu(relu(x)) = relu(x)",
            lhs=op.relu(op.relu(x)),
            rhs=op.relu(x),
            simplifies=True,
            shapes=("x:.ab",),
        ),
        Rule(
            name="maximum-zero",
            law="max(x, 0) = relu(x)",
            lhs=op.maximum(x, y),
            rhs=op.relu(x),
            when=lambda x, y: y.fill == 0 and is_float(x),
            shapes=("x:.ab y=0:",),
            counterexample="x:ab y=1:",
        ),
        Rule(
            name="concat-single",
            law="concat(x) = x",
            lhs=op.concat(x, axis=0),
            rhs=x,
            simplifies=True,
            shapes=("x:.ab",),
        ),
        Rule(
            name="sum-of-stack",
            law="sum over the stacking axis of stack(x, y, …) = x + y + …",
            lhs=op.sum(op.stack(rest("xs"), axis=0), axes=(0,), keepdims=False),
            rhs=lambda xs: total(xs),
            reassociates=True,
            source="ONNX Sum as Relax imports it",
            shapes=("xs*:.ab",),
        ),
        Rule(
            name="add-constants",
            law="(x + c) + d = x + (c + d)",
            lhs=op.add(op.add(x, y), z),
            rhs=lambda x, y, z: op.add(x, op.add(y, z)),
            pays=lambda y, z: y.const and z.const,
            reassociates=True,
            shapes=("x:.ab y!:.AB z!:.AB", "x:.AB y!:b z!:.ab", "x:.ab y!: z!:B"),
        ),
        Rule(
            name="multiply-constants",
            law="(x * c) * d = x * (c * d)",
            lhs=op.multiply(op.multiply(x, y), z),
            rhs=lambda x, y, z: op.multiply(x, op.multiply(y, z)),
            pays=lambda y, z: y.const and z.const,
            reassociates=True,
            shapes=("x:.ab y!:.AB z!:.AB", "x:.AB y!:b z!:.ab", "x:.ab y!: z!:B"),
        ),
        Rule(
            name="scale-bias",
            law="(x + c) * d = x * d + c * d",
            lhs=op.multiply(op.add(x, y), z),
            rhs=lambda x, y, z: op.add(op.multiply(x, z), op.multiply(y, z)),
            pays=lambda x, y, z: y.const and z.const and not x.const,
            reassociates=True,
            shapes=("x:.ab y!:.AB z!:.AB", "x:.AB y!:b z!:.ab", "x:.ab y!: z!:B"),
        ),
        Rule(
            name="common-factor",
            law="x * z + y * z = (x + y) * z",
            lhs=op.add(op.multiply(x, z), op.multiply(y, z)),
            rhs=op.multiply(op.add(x, y), z),
            reassociates=True,
            source="TASO axioms: distributivity of ewmul over ewadd",
            shapes=("x:.ab y:.AB z:.AB", "x:.AB y:b z:.ab", "x:.ab y: z:B"),
        ),
    ]
)
