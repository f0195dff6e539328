"""Operators that say they are linear are so, exactly: checked in fractions and in integers."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.graph.operand_types import cases, values
from tvm_eqsat.graph.operator import Operator
from tvm_eqsat.graph.ops import OPERATORS

LINEAR = {name: record.linear_in for name, record in OPERATORS.items() if record.linear_in}
# Linear as well, but they divide: ``linear_in`` promises exactness in integers, so these don't claim it.
DIVIDING = {
    "divide": (0,),
    "mean": (0,),
    "winograd_weight": (0,),
    **{f"{kind}_pool{n}d": (0,) for kind in ("avg", "adaptive_avg") for n in (1, 2, 3)},
}


def _apply(record: Operator, attrs: Any, rest: list[np.ndarray], changed: Mapping[int, np.ndarray]) -> np.ndarray:
    return np.asarray(record.numpy([changed.get(i, operand) for i, operand in enumerate(rest)], attrs))


def _fractions(array: np.ndarray) -> np.ndarray:
    return np.array([Fraction(int(v)) for v in array.flat] + [None], object)[:-1].reshape(array.shape)


def _whole(operand: np.ndarray) -> np.ndarray:
    """An operand that stays as it is while others change: a whole number, not 0, where it takes part in arithmetic."""
    return np.where(np.trunc(operand) == 0, 1, operand).astype(int) if operand.dtype.kind == "f" else operand


@pytest.mark.parametrize("name", [*LINEAR, *DIVIDING])
def test_exactly_linear(name: str) -> None:
    """f(3x - y/2) = 3 f(x) - f(y)/2 in fractions, and f(x) is the same in int64."""
    record = OPERATORS[name]
    rng = np.random.default_rng(0)
    checked = 0
    for number, (types, attrs) in enumerate(cases(name)[:6]):
        if not record.linear_if(attrs):
            continue
        checked += 1
        positions = {**LINEAR, **DIVIDING}[name] if record.arity is not None else tuple(range(len(types)))
        # The operands that stay: whole numbers where they are multiplied or divided by, not 0.
        rest = [
            np.where(np.trunc(a) == 0, 1, a).astype(int) if a.dtype.kind == "f" else a for a in values(name, number)
        ]
        for group in [positions] if record.jointly_linear else [(i,) for i in positions]:
            x, y = ({i: rng.integers(-9, 10, types[i].shape) for i in group} for _ in range(2))
            exact_x, exact_y = ({i: _fractions(a) for i, a in side.items()} for side in (x, y))
            mixed = {i: np.asarray(3 * exact_x[i] - exact_y[i] / 2) for i in group}
            image = _apply(record, attrs, rest, exact_x)
            assert (_apply(record, attrs, rest, mixed) == 3 * image - _apply(record, attrs, rest, exact_y) / 2).all()
            if name in LINEAR:
                whole = _apply(record, attrs, rest, x)
                assert whole.dtype == np.int64
                assert (whole == image).all()
    assert checked


def test_some_operators_are_linear_only_with_some_attributes() -> None:
    pad = OPERATORS["pad"]
    assert pad.linear_if(pad.make_attrs(pad_width=(1, 1)))
    assert not pad.linear_if(pad.make_attrs(pad_width=(1, 1), value=2.0))
