"""Leaves: function inputs, constants, and everything that isn't in the table (opaque)."""

from __future__ import annotations

from typing import Any

from ...errors import IllTyped
from ..operator import REQUIRED, Fusion, Operator, no_flops, register


def _no_meaning(arrays: Any, attrs: Any) -> Any:
    raise IllTyped("a leaf or opaque operator has no meaning of its own: its value must be given")


def _no_emit(exprs: Any, attrs: Any) -> Any:
    raise IllTyped("leaves and opaque operators are emitted by tvm_eqsat.graph.emit from the original expressions")


INPUT = register(
    Operator(
        name="input",
        relax="",
        arity=0,
        # index: position in the region's inputs; weight: known before the first run (num_input)
        schema={"index": REQUIRED, "type": REQUIRED, "weight": False},
        infer=lambda types, a: a.type,
        numpy=_no_meaning,
        emit=_no_emit,
        flops=no_flops,
    )
)

CONSTANT = register(
    Operator(
        name="constant",
        relax="",
        arity=0,
        schema={"value": REQUIRED},  # a Constant
        infer=lambda types, a: a.value.type,
        numpy=lambda arrays, a: a.value.array,
        emit=_no_emit,
        flops=no_flops,
    )
)


class _Opaque(Operator):
    def check_arity(self, count: int) -> None:
        """Any number of operands."""


OPAQUE = register(
    _Opaque(
        name="opaque",
        relax="",
        arity=None,
        # key: which kept expression; field: which tensor of its (flattened) result
        schema={"key": REQUIRED, "field": 0, "type": REQUIRED},
        infer=lambda types, a: a.type,
        numpy=_no_meaning,
        emit=_no_emit,
        flops=no_flops,
        fusion=Fusion.OPAQUE,
    )
)
