"""Random legal instances of a rule, from its own record: what the generated tests run on.

``Rule.shapes`` holds one line for each family of instances: ``"x:nab w!:b~"``. Each word is a tensor variable, flags,
a colon and one character for each axis:

========  ====================================================================================
``a``     a letter: a random size, the same wherever the letter appears in the line
``3``     a digit: that size
``~``     a random size, drawn anew for each member or operand
``!``     the tensor is a constant (otherwise an input)
``+``     all its elements are positive
``=0``    all its elements have that value (and it is a constant)
``*``     the variable stands for several operands
``=``     in a k-way rule, the tensor is the same for every member (``shared``)
``==``    under ``each(…)``, the tensor is the same for every operand
========  ====================================================================================

Several operands, and the members of a k-way rule, are two or three, or as many as ``attrs["count"]`` says.
Attributes that the pattern leaves open come from ``Rule.attrs`` (functions whose parameters are ``rng``, ``i`` for the
member's number, names of tensor variables for their types, or ``*operands``) or else from ``Operator.sample``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..egraph.egraph import EGraph
from ..egraph.pattern import AttrVar, Each, Pat, Rest, Var
from ..errors import IllTyped, RuleError
from ..graph.operator import OPERATORS
from ..graph.tensor_graph import Constant
from ..graph.types import TensorType
from ..rules.analysis import TensorAnalysis
from ..rules.rule import Rule

_WORD = re.compile(
    r"(?P<name>[A-Za-z_]+)(?P<flags>[!+*]*)(?P<fill>=-?[\d.]+)?(?P<same>={0,2})(?P<more>!?):(?P<dims>\S*)$"
)


@dataclass
class Instance:
    """A left side in an e-graph of its own.

    Attributes
    ----------
    egraph : EGraph
        Holds nothing but the left side (of every member, for k-way rules).
    roots : list of int
        The e-classes that the rule must find.
    values : dict of int to numpy.ndarray
        For each input's index, random values.
    """

    egraph: EGraph
    roots: list[int] = field(default_factory=list)
    values: dict[int, np.ndarray] = field(default_factory=dict)


def sample(rule: Rule, line: str, rng: np.random.Generator, *, free_attrs: bool = False, tries: int = 200) -> Instance:
    """A random legal instance of a rule's left side.

    Parameters
    ----------
    rule : Rule
        The rule.
    line : str
        One of its ``shapes``, or its ``counterexample``.
    rng : numpy.random.Generator
        Decides everything random.
    free_attrs : bool
        Draw attributes from the operators alone, not from ``Rule.attrs``.
    tries : int
        How many random draws to make before giving up.

    Raises
    ------
    RuleError
        No legal instance was found, or the line is malformed.
    """
    for _ in range(tries):
        try:
            return _Sampler(rule, line, rng, free_attrs).build()
        except IllTyped:
            continue
    raise RuleError(f"rule {rule.name!r}: no legal instance of shapes {line!r} in {tries} tries")


class _Sampler:
    def __init__(self, rule: Rule, line: str, rng: np.random.Generator, free_attrs: bool) -> None:
        self.rule = rule
        self.rng = rng
        self.samplers: dict[str, Callable[..., Any]] = {} if free_attrs else dict(rule.attrs)
        self.words = {}
        for word in line.split():
            match = _WORD.match(word)
            if not match:
                raise RuleError(f"rule {rule.name!r}: {word!r} in shapes {line!r} isn't NAME[flags]:dims")
            self.words[match["name"]] = match
        self.sizes: dict[Any, int] = {}
        self.out = Instance(EGraph(TensorAnalysis()))
        self.member = 0
        self.tensors: dict[Any, tuple[int, TensorType]] = {}
        self.attrs: dict[str, Any] = {}

    def build(self) -> Instance:
        for number in range(self._count() if self.rule.shared else 1):
            self.member, self.attrs = number, {}
            self.out.roots.append(self._pattern(self.rule.lhs, None)[0])
        return self.out

    # -- tensors --

    def _tensor(self, name: str, part: int | None) -> tuple[int, TensorType]:
        """The e-class of a tensor variable, made on first sight."""
        word = self.words.get(name)
        if word is None:
            raise RuleError(f"rule {self.rule.name!r}: shapes don't mention the tensor {name!r}")
        same = word["same"] or ""
        member = None if same else self.member
        part = None if same == "==" else part
        key = (name, member, part)
        if key not in self.tensors:
            self.tensors[key] = self._leaf(word, part)
        return self.tensors[key]

    def _size(self, letter: str, part: int | None) -> int:
        if letter.isdigit():
            return int(letter)
        if letter == "~":
            return self.sizes.setdefault((self.member, part), int(self.rng.integers(1, 5)))
        if letter in self.samplers or letter in self.rule.attrs:
            return int(self._call(self.rule.attrs[letter], ()))
        return self.sizes.setdefault(letter, int(self.rng.integers(2, 6)))

    def _leaf(self, word: re.Match[str], part: int | None) -> tuple[int, TensorType]:
        flags = word["flags"] + word["more"]
        shape = tuple(self._size(letter, part) for letter in word["dims"])
        kind = TensorType(shape, "float64")
        values = self.rng.integers(1, 9, shape) if "+" in flags else self.rng.integers(-8, 9, shape)
        array = values.astype("float64")
        if word["fill"]:
            array = np.full(shape, float(word["fill"][1:]))
        if "!" in flags or word["fill"]:
            attrs = OPERATORS["constant"].make_attrs(value=Constant(array))
            return self._add("constant", attrs, []), kind
        index = len(self.out.values)
        self.out.values[index] = array
        return self._add("input", OPERATORS["input"].make_attrs(index=index, type=kind), []), kind

    def _add(self, op: str, attrs: tuple[Any, ...], children: list[int]) -> int:
        egraph = self.out.egraph
        found = egraph.add(egraph.sym(op, attrs), children)
        if found < 0:
            raise IllTyped(f"{op} doesn't apply here")
        return found

    # -- the pattern --

    def _pattern(self, pattern: Any, part: int | None) -> tuple[int, TensorType]:
        if isinstance(pattern, Var):
            return self._tensor(pattern.name, part)
        operands: list[tuple[int, TensorType]] = []
        for child in pattern.children:
            if isinstance(child, Rest | Each):
                for i in range(self._count()):
                    if isinstance(child, Rest):
                        operands.append(self._tensor(child.name, i))
                    else:
                        outer, self.member, kept = self.member, i, self.attrs
                        self.attrs = dict(kept)
                        operands.append(self._pattern(child.pattern, i))
                        self.member, self.attrs = outer, kept
            else:
                operands.append(self._pattern(child, part))
        attrs = self._attributes(pattern, [t for _, t in operands])
        cls = self._add(pattern.op, attrs, [c for c, _ in operands])
        return cls, self.out.egraph.data(cls).type

    def _count(self) -> int:
        """How many members, or operands of a variadic operator."""
        if "count" in self.rule.attrs:
            return int(self._call(self.rule.attrs["count"], ()))
        return int(self.rng.integers(2, 4))

    def _attributes(self, pattern: Pat, operands: list[TensorType]) -> tuple[Any, ...]:
        record = OPERATORS[pattern.op]
        drawn: list[Any] = []

        def draw() -> Any:
            if not drawn:
                if record.sample is None:
                    raise RuleError(f"operator {record.name!r} needs a sampler to be used in rule tests")
                drawn.append(record.sample(self.rng, operands))
            return drawn[0]

        if isinstance(pattern.attrs, AttrVar):
            return self._attribute(pattern.attrs.name, operands, draw)
        values = {}
        for name, value in zip(record.schema, pattern.attrs or (), strict=True):
            if isinstance(value, AttrVar):
                value = self._attribute(value.name, operands, lambda: getattr(draw(), name))  # noqa: B023 (called at once)
            values[name] = value
        return record.make_attrs(**values)

    def _attribute(self, name: str, operands: list[TensorType], draw: Callable[[], Any]) -> Any:
        if name not in self.attrs:
            sampler = self.samplers.get(name)
            self.attrs[name] = self._call(sampler, operands) if sampler else draw()
        return self.attrs[name]

    def _call(self, fn: Callable[..., Any], operands: Any) -> Any:
        given: list[Any] = []
        for name, parameter in inspect.signature(fn).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                continue
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                given.extend(operands)
            elif name == "rng":
                given.append(self.rng)
            elif name == "i":
                given.append(self.member)
            else:
                given.append(self._tensor(name, None)[1])
        return fn(*given)
