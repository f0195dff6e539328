"""What the e-graph knows of every e-class: its type, whether it is constant, its value if all elements share one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import EqSatError, IllTyped
from ..graph.operator import OPERATORS
from ..graph.tensor_graph import TensorGraph
from ..graph.types import TensorType, ValueType

#: Values of :attr:`Info.const`.
ACTIVATION, WEIGHT, CONSTANT = 0, 1, 2

# Operators that move or repeat elements, so that a tensor filled with one value stays filled with it.
_MOVES = frozenset({"reshape", "permute_dims", "broadcast_to", "slice", "concat", "stack", "take"})
# Operators that make a larger weight out of others.
_MERGES = frozenset({"concat", "pad"})


class Info(NamedTuple):
    """Analysis data of an e-class.

    Attributes
    ----------
    type : TensorType or ValueType
        The type that every member has.
    const : int
        2 if some member is computed from constants alone, 1 if from weights (parameters known before the first
        run), 0 otherwise.
    fill : number or None
        The value of every element, where it is known.
    merged : bool
        Whether it is a weight that exists only because others were concatenated or enlarged. Rules that merge don't
        take such weights again: k operators are merged in one step, not in every order.
    """

    type: TensorType | ValueType
    const: int
    fill: Any = None
    merged: bool = False

    @property
    def shape(self) -> tuple[Any, ...]:
        """The tensor's shape."""
        if isinstance(self.type, ValueType):
            raise IllTyped(f"a value of type {self.type} has no shape")
        return self.type.shape


class TensorAnalysis:
    """E-graph analysis over the operator table: type inference and constness.

    Ill-typed nodes are refused when they are added, so a wrong right-hand side never enters the e-graph.
    """

    def make(self, op: str, attrs: tuple[Any, ...], children: Sequence[Info]) -> Info | None:
        """Data of ``op`` applied to operands with the given data; None if it doesn't apply."""
        record = OPERATORS[op]
        try:
            record.check_arity(len(children))
            types: list[Any] = [c.type for c in children]
            if op != "opaque" and ValueType in map(type, types):
                return None
            out = record.infer(types, attrs)
        except (IllTyped, TypeError):
            # TypeError: arithmetic on a symbolic dimension
            return None
        if op == "constant":
            return Info(out, CONSTANT, attrs[0].fill)
        if op == "full":
            return Info(out, CONSTANT, attrs[OPERATORS["full"].field_index("value")])
        if op == "input":
            return Info(out, WEIGHT if attrs[2] else ACTIVATION)
        if op == "opaque":
            return Info(out, ACTIVATION)
        fill = None
        if op in _MOVES:
            fill = children[0].fill
            if op in ("concat", "stack") and any(c.fill != fill for c in children):
                fill = None
        const = min([c.const for c in children], default=CONSTANT)
        return Info(out, const, fill, const > ACTIVATION and (op in _MERGES or any([c.merged for c in children])))

    def merge(self, a: Info, b: Info) -> Info:
        """Data of the union of two e-classes.

        Raises
        ------
        EqSatError
            Their types differ: the rule that united them is wrong.
        """
        if a.type != b.type:
            raise EqSatError(f"a rule united tensors of different types: {a.type} and {b.type}")
        if a == b:
            return a
        return Info(a.type, max(a.const, b.const), a.fill if a.fill is not None else b.fill, a.merged and b.merged)


def facts_of(graph: TensorGraph) -> dict[int, Info]:
    """What the e-graph would know of every live node of a program.

    Raises
    ------
    IllTyped
        An operator doesn't apply to its operands.
    """
    analysis = TensorAnalysis()
    facts: dict[int, Info] = {}
    for i in graph.live():
        node = graph.nodes[i]
        made = analysis.make(node.op, node.attrs, [facts[c] for c in node.inputs])
        if made is None:
            raise IllTyped(f"{node.op} doesn't apply to its operands")
        facts[i] = made
    return facts
