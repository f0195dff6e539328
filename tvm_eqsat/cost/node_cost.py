"""Prices of e-nodes: what one more operator adds to a program, in its best fusion context.

Extraction adds these up before anything is lowered, so each price must hold without knowing the neighbours. It follows
what TVM's FuseOps does (TVM 0.27, checked by tests):

* a convolution, matmul, pooling, mean, softmax or normalisation starts a kernel and takes in the elementwise and
  broadcasting operators that follow it: those cost what they compute and the *other* operands they read;
* a sum, max, … takes in what precedes it elementwise, nothing that follows;
* permute, slice, concat, pad, … fuse with each other and with elementwise neighbours, but never into a convolution
  or matmul: they cost reading and writing their tensor;
* a reshape is a view.

A chain of movements shares one kernel, and so does a movement with elementwise operators that would need one anyway:
there the price is too high. ``movement`` scales it; extracting with several values gives candidates for either case,
and pricing candidates after real fusion (:mod:`.pricing`) decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..egraph.egraph import EGraph
from ..egraph.frozen import FrozenEGraph
from ..graph.operator import OPERATORS, Fusion
from ..graph.types import TensorType, ValueType
from .calibration import Calibration
from .machine import Machine
from .node_work import OP_CALLS, node_work
from .roofline import Kind, Work, busy_seconds, seconds

#: Price of an operator that costs nothing at run time but shouldn't be added for nothing.
_VIEW = 1e-9


class NodeInfo(Protocol):
    """What a price depends on, of an operand or result (the e-graph's analysis data)."""

    @property
    def type(self) -> TensorType | ValueType:
        """Its type."""

    @property
    def const(self) -> int:
        """0: depends on the inputs; 1: on weights and constants only; 2: on constants only."""


class NodeCost:
    """Marginal prices of e-nodes on one machine; remembers them.

    Parameters
    ----------
    machine : Machine
        Figures of the target.
    fold_limit : int
        Bytes up to which a constant result is computed at compile time.
    movement : float
        Share of a data movement's own price that is charged: 1 if it needs a kernel of its own, 0 if it always
        shares its neighbours'.
    calibration : Calibration, optional
        What measured kernels say: it scales the roofline time of whatever starts a kernel. What an operator adds at the
        end of another one's loops was never measured by itself.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        fold_limit: int = 256 << 20,
        movement: float = 1.0,
        calibration: Calibration | None = None,
    ) -> None:
        self.machine = machine
        self.fold_limit = fold_limit
        self.movement = movement
        self.calibration = calibration
        self._call = machine.overhead + machine.launch  # of a kernel that is the same in every program
        self._memory: dict[Any, float] = {}

    def __call__(self, op: str, attrs: tuple[Any, ...], ins: Sequence[NodeInfo], out: NodeInfo) -> float:
        """Price of one e-node.

        Parameters
        ----------
        op : str
            Operator name of the table.
        attrs : tuple
            Its canonical attributes.
        ins, out : NodeInfo
            Operands and result.

        Returns
        -------
        float
            Seconds.
        """
        if op == "opaque":
            return self._call
        if not ins:
            return 0.0
        key = (op, attrs, *ins)
        price = self._memory.get(key)
        if price is None:
            price = self._memory[key] = self._price(op, attrs, ins, out)
        return price

    def _price(self, op: str, attrs: tuple[Any, ...], ins: Sequence[NodeInfo], out: NodeInfo) -> float:
        types, result = [i.type for i in ins if not isinstance(i.type, ValueType)], out.type
        if isinstance(result, ValueType) or len(types) < len(ins):
            return self._call
        # A member of a constant e-class may still compute it from activations: only the operands tell.
        const = min(i.const for i in ins)
        if const == 1 or (const == 2 and result.bytes() <= self.fold_limit):
            return 0.0
        fusion = OPERATORS[op].fusion
        if fusion <= Fusion.BROADCAST:
            return self._epilogue(op, attrs, types, result)
        work = node_work(op, attrs, types, result)
        if work is None:
            return _VIEW
        factor = 1.0 if self.calibration is None else self.calibration.factor(work, self.machine)
        price = factor * seconds(self.machine, work) + self.machine.overhead
        return self.movement * price + _VIEW if fusion == Fusion.INJECTIVE else price

    def _epilogue(self, op: str, attrs: Any, types: list[TensorType], out: TensorType) -> float:
        """An operator at the end of its producer's loops: the largest operand is still in registers."""
        others = sum(t.bytes() for t in types) - max(t.bytes() for t in types)
        work = Work(
            Kind.STREAM,
            others,
            more_flops=OPERATORS[op].flops(types, out, attrs),
            calls=OP_CALLS.get(op, 0) * out.numel(),
            dtype=out.dtype,
        )
        return busy_seconds(self.machine, work) + _VIEW


def priced(egraph: EGraph, frozen: FrozenEGraph, cost: NodeCost) -> FrozenEGraph:
    """A frozen e-graph with the price of every e-node.

    Parameters
    ----------
    egraph : EGraph
        Where it was frozen, not changed since; it has the facts of the e-classes.
    frozen : FrozenEGraph
        The e-graph.
    cost : NodeCost
        The prices, in seconds.
    """
    data = [egraph.data(c) for c in frozen.class_key]
    nodes = zip(frozen.node_op, frozen.node_attrs, frozen.node_children, frozen.node_class, strict=True)
    return frozen.with_costs([cost(op, attrs, [data[k] for k in kids], data[c]) for op, attrs, kids, c in nodes])
