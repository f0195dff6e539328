"""How rules are written: typed variables, and one builder per operator that serves both sides.

On a left side, ``op.matmul(x, w)`` with variables is a *pattern*. On a right side written as a function, the same
call with :class:`Term` arguments adds the node to the e-graph and returns its e-class, whose shape can be asked::

    x, p, q = tensors("x"), *attributes("p q")
    Rule(
        name="permute-permute",
        law="permute(permute(x, p), q) = permute(x, p[q])",
        lhs=op.permute_dims(op.permute_dims(x, axes=p), axes=q),
        rhs=lambda x, p, q: op.permute_dims(x, axes=[p[i] for i in q]),
        shapes=("x:abc",),
    )
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..egraph.egraph import EGraph
from ..egraph.pattern import AttrVar, Each, Pat, Rest, Var
from ..errors import IllTyped, RuleError
from ..graph.operator import REQUIRED, Operator
from ..graph.ops import OPERATORS
from ..graph.tensor_graph import Constant
from ..graph.types import TensorType
from .analysis import Info

__all__ = ["Builder", "Term", "attributes", "each", "op", "rest", "tensors"]


def tensors(names: str) -> Any:
    """Variables that each stand for one tensor: ``x, w = tensors("x w")``."""
    found = tuple(Var(name) for name in names.split())
    return found[0] if len(found) == 1 else found


def attributes(names: str) -> Any:
    """Variables that each stand for one attribute value, or for all attributes (``attrs=a``)."""
    found = tuple(AttrVar(name) for name in names.split())
    return found[0] if len(found) == 1 else found


def rest(name: str) -> Rest:
    """Variable for all operands of a variadic operator; the right side gets a tuple."""
    return Rest(name)


def each(pattern: Pat) -> Each:
    """Every operand of a variadic operator matches ``pattern``; its variables become tuples."""
    return Each(pattern)


_KNOWN = 20_000  # attribute tuples of one operator that are remembered


class Builder:
    """Where the terms of one rule application go: an e-graph and the rule's provenance id.

    It notes what is added, so that the same can be added for other operands that look alike.

    Attributes
    ----------
    classes : list of int
        E-classes of the operands that were given, then of the nodes that were added: terms are numbered so.
    steps : list of (int, tuple of int)
        Symbol and numbers of the operands of every node that was added.
    general : bool
        Whether nothing but types and other facts of the given operands, and of what these imply, decided the steps.
    """

    __slots__ = ("_egraph", "classes", "general", "steps", "why")

    def __init__(self, egraph: EGraph, why: int = 0) -> None:
        self._egraph = egraph
        self.why = why
        self.classes: list[int] = []
        self.steps: list[tuple[int, tuple[int, ...]]] = []
        self.general = True

    @property
    def egraph(self) -> EGraph:
        """The e-graph. A rule that looks into it sees more than facts of its operands."""
        self.general = False
        return self._egraph

    def given(self, cls: int) -> Term:
        """The term of an operand."""
        cls = self._egraph.find(cls)
        self.classes.append(cls)
        return Term(self, cls, len(self.classes) - 1)

    def add(self, name: str, attrs: tuple[Any, ...], operands: Sequence[Term]) -> Term:
        """Add one node.

        Raises
        ------
        IllTyped
            The operator doesn't apply to these operands.
        """
        egraph = self._egraph
        sym = egraph.symbols.intern(name, attrs)
        step = (sym, tuple([term._number for term in operands]))
        egraph.add_all([step], self.classes, self.why)
        found = self.classes[-1]
        if found < 0:
            self.classes.pop()
            raise _Refused(name, [term.type for term in operands])
        if egraph.facts[found] != egraph.implied((sym, *[term._cls for term in operands])):
            self.general = False  # more is known of this class than of others that are made like it
        self.steps.append(step)
        return Term(self, found, len(self.classes) - 1)


class _Refused(IllTyped):
    """Raised very often, read by hardly anyone: it makes its message when it is asked for."""

    def __str__(self) -> str:
        name, types = self.args
        return f"{name} doesn't apply to {', '.join(map(str, types))}"


class Term:
    """An e-class seen from a rule: its type and facts, ready to be an operand. Builders make them."""

    __slots__ = ("_cls", "_info", "_number", "builder")

    def __init__(self, builder: Builder, cls: int, number: int) -> None:
        self.builder = builder
        self._cls = cls
        self._number = number
        self._info: Info | None = None

    @property
    def cls(self) -> int:
        """The e-class. A rule that looks at it sees more than facts."""
        self.builder.general = False
        return self._cls

    @property
    def info(self) -> Info:
        """The analysis data, as it was when it was first asked for."""
        found = self._info
        if found is None:
            found = self._info = self.builder._egraph.data(self._cls)
        return found

    @property
    def type(self) -> TensorType:
        """Shape and dtype."""
        return self.info.type  # type: ignore[return-value]

    @property
    def shape(self) -> tuple[Any, ...]:
        """The shape; a symbolic dimension raises IllTyped when a rule calculates with it."""
        return self.info.shape

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.info.shape)

    @property
    def dtype(self) -> str:
        """TVM dtype."""
        return self.type.dtype

    @property
    def const(self) -> bool:
        """Whether it is known before the first run (constants or weights)."""
        return self.info.const > 0

    @property
    def fill(self) -> Any:
        """The value of every element, or None."""
        return self.info.fill


class _OperatorBuilder:
    """Builds patterns or terms of one operator."""

    __slots__ = ("_known", "record")

    def __init__(self, record: Operator) -> None:
        self.record = record
        self._known: dict[tuple[Any, ...], Any] = {}

    def __call__(self, *operands: Any, attrs: Any = None, **named: Any) -> Any:
        for operand in operands:
            if type(operand) is Term:
                builder = operand.builder
                break
        else:
            return self._pattern(operands, attrs, named)
        if attrs is None:
            attrs = self._canonical(named)
        terms = [a if type(a) is Term else _constant(builder, a) for a in operands]
        return builder.add(self.record.name, attrs, terms)

    def _canonical(self, named: dict[str, Any]) -> Any:
        """Attributes by name in canonical form; rules ask for the same ones again and again."""
        key = tuple([(k, tuple(v) if type(v) is list else v) for k, v in named.items()])
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            found = self._known[key] = self.record.make_attrs(**named)
        return found

    def _pattern(self, operands: tuple[Any, ...], attrs: Any, named: dict[str, Any]) -> Pat:
        if attrs is not None:
            return Pat(self.record.name, operands, attrs)
        missing = [k for k, v in self.record.schema.items() if v is REQUIRED and k not in named]
        if missing:
            raise RuleError(f"the pattern {self.record.name}(…) must name the attribute {missing[0]!r} or take attrs=…")
        return Pat(self.record.name, operands, tuple(self.record.make_attrs(**named)))


def _constant(builder: Builder, value: Any) -> Term:
    record = OPERATORS["constant"]
    return builder.add("constant", record.make_attrs(value=Constant(np.asarray(value))), [])


class _Operators:
    """``op.NAME`` is the builder of the operator NAME."""

    def __getattr__(self, name: str) -> _OperatorBuilder:
        record = OPERATORS.get(name)
        if record is None:
            raise RuleError(f"no operator is named {name!r}; the table has: {', '.join(sorted(OPERATORS))}")
        found = _OperatorBuilder(record)
        setattr(self, name, found)
        return found


op = _Operators()
