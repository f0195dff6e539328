"""What an operator *is*: one record holds everything the system knows of it."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import IllTyped, OptionError
from .types import TensorType


class Fusion(IntEnum):
    """TVM's operator pattern kinds (``relay/op_attr_types.h``, kept by Relax): what FuseOps may join."""

    ELEMWISE = 0
    BROADCAST = 1
    INJECTIVE = 2
    REDUCE = 3
    OUT_EWISE_FUSABLE = 4
    OPAQUE = 8


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()

Attrs = tuple  # an instance of Operator.make_attrs: a namedtuple, hashable, values in canonical form
Types = Sequence[TensorType]


def no_flops(ins: Types, out: TensorType, attrs: Attrs) -> float:
    """FLOPs of an operator that only moves data."""
    return 0.0


def elementwise_flops(ins: Types, out: TensorType, attrs: Attrs) -> float:
    """FLOPs of an operator that computes each output element once."""
    return float(out.numel())


@dataclass(frozen=True)
class Operator:
    """One operator.

    Parameters
    ----------
    name : str
        Name inside this package, e.g. ``"conv2d"``.
    relax : str
        The Relax operator that it stands for, e.g. ``"relax.nn.conv2d"``; empty for leaves.
    arity : int or None
        Number of tensor operands; None for any number from one up (``concat``).
    schema : mapping of str to object
        Attribute names, in canonical order, with their defaults (or ``REQUIRED``).
    infer : callable(types, attrs) -> TensorType
        Output type; raises :class:`~tvm_eqsat.errors.IllTyped` where the operator doesn't apply.
    numpy : callable(arrays, attrs) -> numpy.ndarray
        Reference meaning, in the operands' dtype (also used to fold constants, and with object or integer
        arrays for exact arithmetic where ``linear_in`` isn't empty).
    emit : callable(exprs, attrs) -> relax.Expr
        The Relax expression.
    read : callable(relax.Call) -> (list of relax.Expr, Attrs) or None
        The inverse of ``emit``: operands and canonical attributes; None where this call is outside of what the
        record models (it is then kept opaque).
    flops : callable(types, out, attrs) -> float
        Floating-point operations of one evaluation.
    fusion : Fusion
        TVM's pattern kind after legalisation.
    linear_in : tuple of int
        Operand positions in which the operator is linear, each with the others fixed (all operands of ``add``
        are jointly linear: see ``jointly_linear``). Empty if it isn't polynomial, or divides (``mean``: exact
        arithmetic then needs fractions); ``(0,)`` stands for every operand where their number is free.
    jointly_linear : bool
        Whether the operator is linear in all operands together (``add``, ``concat``, ``reshape``), rather than
        in each one separately (``multiply``, ``matmul``).
    linear_if : callable(attrs) -> bool
        Whether ``linear_in`` holds with these attributes (``pad`` by something else than zero is only affine).
    sample : callable(rng, types) -> Attrs, optional
        Random legal attributes for operands of these types, for generated tests.
    """

    name: str
    relax: str
    arity: int | None
    infer: Callable[[Types, Any], TensorType]
    numpy: Callable[[Sequence[np.ndarray], Any], np.ndarray]
    emit: Callable[[list[Any], Any], Any]
    read: Callable[[Any], tuple[list[Any], Attrs] | None] = lambda call: None
    schema: Mapping[str, Any] = field(default_factory=dict)
    flops: Callable[[Types, TensorType, Any], float] = elementwise_flops
    fusion: Fusion = Fusion.OPAQUE
    linear_in: tuple[int, ...] = ()
    jointly_linear: bool = False
    linear_if: Callable[[Any], bool] = lambda attrs: True
    sample: Callable[[np.random.Generator, Types], Attrs] | None = None

    def __post_init__(self) -> None:
        cls = namedtuple(f"{self.name}_attrs", list(self.schema))  # type: ignore[misc]
        object.__setattr__(self, "schema", MappingProxyType(dict(self.schema)))
        object.__setattr__(self, "_attrs", cls)

    def make_attrs(self, **values: Any) -> Attrs:
        """Canonical attributes: defaults filled in, sequences as tuples.

        Raises
        ------
        OptionError
            An attribute is unknown or missing.
        """
        unknown = set(values) - set(self.schema)
        if unknown:
            raise OptionError(
                f"{self.name} has no attribute {', '.join(sorted(unknown))}; it has {', '.join(self.schema) or 'none'}"
            )
        full = []
        for name, default in self.schema.items():
            value = values.get(name, default)
            if value is REQUIRED:
                raise OptionError(f"{self.name} needs the attribute {name!r}")
            full.append(tuple(value) if isinstance(value, list) else value)
        return self._attrs(*full)  # type: ignore[attr-defined]

    def field_index(self, name: str) -> int:
        """Position of an attribute in the canonical tuple."""
        return list(self.schema).index(name)

    def check_arity(self, count: int) -> None:
        """Raise :class:`IllTyped` if the operator can't have ``count`` operands."""
        if (self.arity is None and count < 1) or (self.arity is not None and count != self.arity):
            raise IllTyped(f"{self.name} takes {self.arity or 'one or more'} operands, not {count}")


OPERATORS: dict[str, Operator] = {}
BY_RELAX_NAME: dict[str, Operator] = {}


def register(operator: Operator) -> Operator:
    """Add an operator to the table.

    Raises
    ------
    OptionError
        The name, or the Relax operator, is taken.
    """
    if operator.name in OPERATORS:
        raise OptionError(f"an operator named {operator.name!r} is already registered")
    if operator.relax and operator.relax in BY_RELAX_NAME:
        raise OptionError(f"{operator.relax} is already read by {BY_RELAX_NAME[operator.relax].name!r}")
    OPERATORS[operator.name] = operator
    if operator.relax:
        BY_RELAX_NAME[operator.relax] = operator
    return operator
